"""Checks one shard against its receipt, its plan and its spec."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from fdsl.dataset.parquet import Unreadable
from fdsl.dataset.plan import Shard, image_names, plan_shards
from fdsl.primitives.errors import InputError
from shards.directory import Directory
from shards.layout import receipt_file, samples_file, tar_file
from shards.members import Blank, TarCheck, max_tar_bytes, read_images
from shards.problems import Kind, Problem
from shards.receipts import MAX_BYTES, Receipt
from shards.samples import max_bytes, table_problem
from shards.stores.contract import StoredFile
from shards.stores.uploading import Unreachable

_BUFFER = 2**17

T = TypeVar("T")


class Findings(NamedTuple):
    """Result of checking one shard.

    Attributes
    ----------
    n_images : number of images its receipt promises
    problems : list of Problem
    blank : keys of the empty and of the full images
    digests : uint64 (images,), of the PNG files; shorter if the tar is broken
    """

    n_images: int
    problems: list[Problem]
    blank: Blank
    digests: npt.NDArray[np.uint64]


def check_shard(directory: Directory, task: tuple[Shard, Collection[int]]) -> Findings:
    """Check a shard.

    Parameters
    ----------
    task : the shard, and the positions of the images to render again and compare
    """
    try:
        return _check(directory, *task)
    except Unreachable:  # the connection was lost amid a file
        return _check(directory, *task)


def _check(directory: Directory, shard: Shard, positions: Collection[int]) -> Findings:
    check = _ShardCheck(directory, shard, positions)
    try:
        receipt = directory.read_receipt(shard)
        if receipt is None:
            check.add(tar_file(shard), "has no receipt")
        else:
            check.check_files(receipt)
    except InputError as error:
        receipt, name = None, receipt_file(shard)
        check.add(name, str(error).removeprefix(f"`{directory.store.locate(name)}` "))
    tar = check.tar
    digests = np.frombuffer(b"".join(tar.digests), dtype=np.uint64)
    return Findings(receipt.samples if receipt else 0, check.problems, tar.blank, digests)


def unchecked(shard: Shard, error: Exception) -> Findings:
    """Return the findings of a shard whose check failed."""
    problem = Problem(Kind.SHARD, f"{shard.name}.tar", f"could not be checked: {error}")
    return Findings(0, [problem], Blank([], []), np.empty(0, dtype=np.uint64))


def stored_pixels_sha256(directory: Directory, n_images: int) -> str:
    """Return the SHA-256 of the first stored pixels of train.

    The images were checked before.
    """
    sha256, dataset = hashlib.sha256(), directory.dataset
    for shard in plan_shards(directory.spec, "train"):
        n_wanted = max(0, min(n_images, shard.stop) - shard.start)
        if n_wanted:
            with directory.store.open(tar_file(shard)) as file:
                for image in islice(read_images(dataset, shard, _Hashed(file)), n_wanted):
                    sha256.update(image.data)
    return sha256.hexdigest()


class _Hashed:
    """A file whose content is hashed as it is read."""

    def __init__(self, file: StoredFile) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def read(self, n_bytes: int, /) -> bytes:
        """Return the next bytes; fewer at the end only."""
        content = self._file.read(n_bytes)
        while len(content) < n_bytes and (more := self._file.read(n_bytes - len(content))):
            content += more
        self.sha256.update(content)
        return content


class _ShardCheck:
    """The check of one shard, and the problems it has found."""

    def __init__(self, directory: Directory, shard: Shard, positions: Collection[int]) -> None:
        self.directory, self.shard = directory, shard
        self.tar = TarCheck(directory.dataset, shard, positions)
        self.problems: list[Problem] = []

    def add(self, path: str, detail: str, kind: Kind = Kind.SHARD) -> None:
        """Record a problem."""
        self.problems.append(Problem(kind, path, detail))

    def check_files(self, receipt: Receipt) -> None:
        """Check the receipt's bytes, the tar and the table."""
        name = receipt_file(self.shard)
        if self.directory.store.read(name, MAX_BYTES) != receipt.to_json().encode():
            self.add(name, "was reformatted: a bake writes the same values in another way")
        self._check_tar(receipt)
        self._check_table(receipt)

    def _check_tar(self, receipt: Receipt) -> None:
        name, limit = tar_file(self.shard), max_tar_bytes(self.directory.spec, self.shard)
        if receipt.bytes > limit:
            self.add(name, f"its receipt says {receipt.bytes:,} bytes; a bake writes at most {limit:,}")
            return
        sizes = range(receipt.bytes, receipt.bytes + 1)
        self.problems += self._read(name, receipt.sha256, sizes, lambda file: self.tar.problems(file, name)) or []

    def _check_table(self, receipt: Receipt) -> None:
        name, spec, limit = samples_file(self.shard), self.directory.spec, max_bytes(self.shard.n_samples)
        content = self._read(name, receipt.samples_sha256, range(limit + 1), lambda file: file.read(limit))
        if content is None:
            return
        try:
            problem = table_problem(content, spec, image_names(spec, self.shard), self.tar.variants)
        except Unreadable as error:
            problem = str(error)
        except UnicodeDecodeError as error:
            problem = f"holds a text that is not UTF-8: {error}"
        if problem:
            self.add(name, problem)

    def _read(self, name: str, sha256: str, sizes: range, use: Callable[[_Hashed], T]) -> T | None:
        """Read a file; record how it differs from its receipt.

        Return what `use` makes of the file; None if it cannot be read or has none of these sizes.
        """
        try:
            with self.directory.store.open(name) as file:
                if file.n_bytes not in sizes:
                    rule = f"its receipt says {sizes[0]:,}" if len(sizes) == 1 else "far too many for its images"
                    self.add(name, f"{file.n_bytes:,} bytes; {rule}")
                    return None
                hashed = _Hashed(file)
                result = use(hashed)
                while hashed.read(_BUFFER):
                    pass
        except InputError:
            self.add(name, "is not a regular file")
            return None
        except FileNotFoundError:
            self.add(name, "missing")
            return None
        except ConnectionError:
            raise
        except OSError as error:
            self.add(name, f"cannot be read: {error.strerror}")
            return None
        if hashed.sha256.hexdigest() != sha256:
            self.add(name, "its SHA-256 is not the receipt's: the file or the receipt changed after the bake")
        return result
