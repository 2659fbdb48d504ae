"""One shard's files against its receipt, its plan, and what the spec renders."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from primitives.fields import InputError
from shards.bake import render_again
from shards.categories import read_parquet
from shards.directory import Directory, Receipt
from shards.plan import Shard, samples_of
from shards.png import head, is_whole
from shards.spec import Spec

Image = npt.NDArray[np.uint8]

NOT_RENDERED = "is not what the spec renders here"

_AT_MOST = 5
"""Problems told of one tar."""

_TABLE_BYTES, _ROW_BYTES = 2**20, 2**10
"""Far more than the table of a shard's images needs."""


class Findings(NamedTuple):
    """What was found of one shard.

    images : how many its receipt promises.
    problems : a line each. blank : the keys of images that are all background, and of those that have none.
    digests : uint64 (images,), of the PNG files; fewer where the tar is broken.
    """

    images: int
    problems: list[str]
    blank: tuple[list[str], list[str]]
    digests: npt.NDArray[np.uint64]


def _decoded(spec: Spec, payload: bytes) -> Image | str:
    """Return the image of a PNG file, or what is wrong with it."""
    size, depth = spec.size_px, spec.rules.BIT_DEPTH
    if not payload.startswith(head(size, size, depth)):
        return f"is not a {size} x {size} px grey PNG of {depth} bit"
    if not is_whole(payload, size, size, depth):  # OpenCV, the independent reader, would add lines of its own
        return "cannot be decoded, or was written by something else"
    image = cv2.imdecode(np.frombuffer(payload, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.shape != (size, size):
        return "cannot be decoded"
    return cast(Image, image)


class _Tar:
    """A shard's tar, read from its first member to its last.

    digests, blank : as in Findings. drawn : of the images that were rendered again, by their positions in the shard.
    """

    def __init__(self, directory: Directory, shard: Shard, rerender: Collection[int]) -> None:
        self._directory, self._shard, self._rerender = directory, shard, frozenset(rerender)
        self.digests: list[bytes] = []
        self.blank: tuple[list[str], list[str]] = [], []
        self.drawn: dict[int, Any] = {}

    def problems(self, content: bytes) -> Iterator[str]:
        """Yield what is wrong with the members: names in the plan's order, labels, images."""
        category, instance = samples_of(self._directory.spec, self._shard)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            members = iter(tar)
            for k, (c, i) in enumerate(zip(category.tolist(), instance.tolist(), strict=True)):
                for ending in ("png", "cls"):
                    name = f"{c:06}_{i:06}.{ending}"
                    member = next(members, None)
                    if member is None:
                        yield f"ends before {name}"
                        return
                    is_plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
                    file = tar.extractfile(member) if is_plain else None
                    if member.name != name or file is None:
                        yield f"has {member.name!r} where {name} should stand"
                        return
                    payload = file.read()
                    if ending == "cls" and payload != b"%d" % c:
                        yield f"{name} is {payload[:20]!r}; the label is {c}"
                    elif ending == "png" and (problem := self._look(k, c, i, payload)):
                        yield f"{name} {problem}"
            if (extra := next(members, None)) is not None:
                yield f"goes on with {extra.name!r} after its last sample"

    def _look(self, k: int, category: int, instance: int, payload: bytes) -> str | None:
        """Take note of an image; return what is wrong with it."""
        spec = self._directory.spec
        self.digests.append(hashlib.blake2b(payload, digest_size=8).digest())
        image = _decoded(spec, payload)
        if isinstance(image, str):
            return image
        is_drawn = image != spec.rules.BACKGROUND
        if not is_drawn.any() or is_drawn.all():
            self.blank[bool(is_drawn.any())].append(f"{category:06}_{instance:06}")
        if k not in self._rerender:
            return None
        again, self.drawn[k] = render_again(self._directory, category, instance)
        n_other = np.count_nonzero(again != image)
        return f"{NOT_RENDERED} ({n_other:,} of {image.size:,} pixels differ)" if n_other else None


def _samples_problem(spec: Spec, shard: Shard, content: bytes, drawn: dict[int, Any]) -> str | None:
    """Return what is wrong with the table of a shard's images, or None."""
    category, instance = samples_of(spec, shard)
    table = read_parquet(content)
    for name in ("key", "category", "instance", *spec.rules.DRAWN_SCHEMA.names):
        if table.column_names.count(name) != 1:
            return f"`{name}` is missing, or stands there twice"
    keys = [f"{c:06}_{i:06}" for c, i in zip(category.tolist(), instance.tolist(), strict=True)]
    for name, expected in (("key", keys), ("category", category.tolist()), ("instance", instance.tolist())):
        if table.column(name).to_pylist() != expected:
            return f"`{name}` is not the plan's"
    for k, what in drawn.items():
        row = table.slice(k, 1).to_pylist()[0]
        if tuple(row[name] for name in what._fields) != tuple(what):
            return f"has another row for {keys[k]} than what is drawn for that image"
    return None


def _read(path: Path, name: str, sha256: str, n_bytes: int, is_exact: bool, problems: list[str]) -> bytes | None:
    """Return a file's content, having noted where it differs from its receipt; None if there is none of `n_bytes` or less."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            problems.append(f"{name}: is no regular file")
            return None
        if status.st_size > n_bytes or (is_exact and status.st_size != n_bytes):
            expected = f"its receipt says {n_bytes:,}" if is_exact else "far too many for its images"
            problems.append(f"{name}: {status.st_size:,} bytes; {expected}")
            return None
        content = path.read_bytes()
    except FileNotFoundError:
        problems.append(f"{name}: missing")
        return None
    except OSError as error:
        problems.append(f"{name}: cannot be read: {error.strerror}")
        return None
    if hashlib.sha256(content).hexdigest() != sha256:
        problems.append(f"{name}: its SHA-256 is not its receipt's: one of the two was changed after the bake")
    return content


def _check_files(directory: Directory, shard: Shard, receipt: Receipt, seen: _Tar, problems: list[str]) -> None:
    """Note what is wrong with a shard's two files."""
    tar, samples = directory.tar(shard), directory.samples(shard)
    if directory.receipt(shard).read_bytes() != receipt.to_json().encode():
        problems.append(f"receipts/{shard.name}.json: is not written as a bake writes it: it was edited")
    content = _read(tar, tar.name, receipt.sha256, receipt.bytes, True, problems)
    if content is not None:
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != receipt.md5 and not problems:
            problems.append(f"{tar.name}: its MD5 is not its receipt's, which was edited")
        try:
            found = seen.problems(content)
            problems += [f"{tar.name}: {problem}" for problem, _ in zip(found, range(_AT_MOST), strict=False)]
        except (tarfile.TarError, ValueError, OverflowError, RecursionError, OSError) as error:
            problems.append(f"{tar.name}: is not a tar that can be read: {error}")
    most = _TABLE_BYTES + _ROW_BYTES * shard.samples
    content = _read(samples, f"samples/{samples.name}", receipt.samples_sha256, most, False, problems)
    if content is not None:
        try:
            problem = _samples_problem(directory.spec, shard, content, seen.drawn)
        except (pa.ArrowException, OSError, ValueError) as error:
            problem = f"is not a Parquet file that can be read: {' '.join(str(error).split())}"
        if problem:
            problems.append(f"samples/{samples.name}: {problem}")


def verify_shard(directory: Directory, shard: Shard, rerender: Collection[int] = ()) -> Findings:
    """Return what is wrong with a shard; the images at some positions in it are rendered again and compared."""
    seen = _Tar(directory, shard, rerender)
    problems: list[str] = []
    n_images = 0
    try:
        receipt = directory.read_receipt(shard)
        if receipt is None:
            problems.append(f"{shard.name}.tar: has no receipt")
        else:
            n_images = receipt.samples
            _check_files(directory, shard, receipt, seen, problems)
    except InputError as error:
        problems.append(str(error))
    return Findings(n_images, problems, seen.blank, np.frombuffer(b"".join(seen.digests), dtype=np.uint64))
