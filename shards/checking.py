"""Checks one shard against its receipt, its plan and its spec."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fdsl.dataset.categories import parse_parquet
from fdsl.dataset.plan import Shard, image_key, image_names
from fdsl.primitives.errors import InputError
from shards.directory import Directory
from shards.layout import RECEIPTS, SAMPLES
from shards.members import Blank, TarCheck
from shards.problems import Kind, Problem
from shards.receipts import Receipt

_TABLE_BYTES, _ROW_BYTES = 2**20, 2**10
"""Upper bound on the size of a table of image parameters, with a large margin."""


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
    shard, positions = task
    check = _ShardCheck(directory, shard, positions)
    try:
        receipt = directory.read_receipt(shard)
        if receipt is None:
            check.add(f"{shard.name}.tar", "has no receipt")
        else:
            check.check_files(receipt)
    except InputError as error:
        receipt = None
        check.add(f"{RECEIPTS}/{shard.name}.json", str(error).removeprefix(f"`{directory.receipt(shard)}` "))
    tar = check.tar
    digests = np.frombuffer(b"".join(tar.digests), dtype=np.uint64)
    return Findings(receipt.samples if receipt else 0, check.problems, tar.blank, digests)


def unchecked(shard: Shard, error: Exception) -> Findings:
    """Return the findings of a shard whose check failed."""
    problem = Problem(Kind.SHARD, f"{shard.name}.tar", f"could not be checked: {error}")
    return Findings(0, [problem], Blank([], []), np.empty(0, dtype=np.uint64))


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
        path = self.directory.receipt(self.shard)
        if path.read_bytes() != receipt.to_json().encode():
            self.add(f"{RECEIPTS}/{path.name}", "was reformatted: a bake writes the same values in another way")
        self._check_tar(receipt)
        self._check_table(receipt)

    def _check_tar(self, receipt: Receipt) -> None:
        path = self.directory.tar(self.shard)
        content = self._read(path, path.name, receipt.sha256, receipt.bytes, is_exact=True)
        if content is not None:
            self.problems += self.tar.problems(content, path.name)

    def _check_table(self, receipt: Receipt) -> None:
        path = self.directory.samples(self.shard)
        name = f"{SAMPLES}/{path.name}"
        n_bytes = _TABLE_BYTES + _ROW_BYTES * self.shard.n_samples
        content = self._read(path, name, receipt.samples_sha256, n_bytes, is_exact=False)
        if content is None:
            return
        try:
            problem = self._table_problem(content)
        except (pa.ArrowException, OSError, ValueError) as error:
            problem = f"is not a readable Parquet file: {' '.join(str(error).split())}"
        if problem:
            self.add(name, problem)

    def _table_problem(self, content: bytes) -> str | None:
        """Return what is wrong with a samples table, or None."""
        table = parse_parquet(content)
        for name in ("key", "category", "instance", *self.directory.spec.family_module.VARIANT_SCHEMA.names):
            if table.column_names.count(name) != 1:
                return f"`{name}` is missing or a duplicate"
        names = image_names(self.directory.spec, self.shard)
        keys = [image_key(*name) for name in names]
        columns: dict[str, list[Any]] = {
            "key": keys,
            "category": [category for category, _ in names],
            "instance": [instance for _, instance in names],
        }
        for name, values in columns.items():
            if table.column(name).to_pylist() != values:
                return f"`{name}` differs from the plan"
        for k, variant in self.tar.variants.items():
            row = table.slice(k, 1).to_pylist()[0]
            if tuple(row[name] for name in variant._fields) != tuple(variant):
                return f"the row of {keys[k]} is not what the spec draws for this image"
        return None

    def _read(self, path: Path, name: str, sha256: str, n_bytes: int, is_exact: bool) -> bytes | None:
        """Read a file and record how it differs from its receipt.

        Return None if it is missing or too large.
        """
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                self.add(name, "is not a regular file")
                return None
            if status.st_size > n_bytes or (is_exact and status.st_size != n_bytes):
                rule = f"its receipt says {n_bytes:,}" if is_exact else "far too many for its images"
                self.add(name, f"{status.st_size:,} bytes; {rule}")
                return None
            content = path.read_bytes()
        except FileNotFoundError:
            self.add(name, "missing")
            return None
        except OSError as error:
            self.add(name, f"cannot be read: {error.strerror}")
            return None
        if hashlib.sha256(content).hexdigest() != sha256:
            self.add(name, "its SHA-256 is not its receipt's: the file or its receipt changed after the bake")
        return content
