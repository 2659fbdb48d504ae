"""Verifying: every shard of a directory against its receipt, its plan and its own content."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from primitives.fields import InputError
from shards.categories import read_parquet
from shards.directory import CARD, INDEX, INFO, Directory, Receipt, open_directory, read_categories
from shards.index import index_table, info, read_receipts
from shards.plan import Shard, plan_shards, samples_of, select_shards
from shards.png import head, is_whole
from shards.spec import SPLITS, Spec
from shards.workers import Progress, count_workers, in_parallel

_AT_MOST = 5
"""Problems told of one shard."""


@dataclass(frozen=True)
class Verified:
    """What a verification found.

    shards, images : how many were checked and found to be there. problems : a line each; none is good.
    """

    directory: Directory
    shards: int
    images: int
    problems: tuple[str, ...]


def _image_problem(spec: Spec, payload: bytes) -> str | None:
    """Return what is wrong with a PNG file, or None."""
    size, depth = spec.size_px, spec.rules.BIT_DEPTH
    if not payload.startswith(head(size, size, depth)):
        return f"is not a {size} x {size} px grey PNG of {depth} bit"
    if not is_whole(payload, size, size, depth):  # OpenCV, the independent reader, would add lines of its own
        return "cannot be decoded, or was written by something else"
    image = cv2.imdecode(np.frombuffer(payload, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.shape != (size, size):
        return "cannot be decoded"
    return None


def _tar_problems(spec: Spec, shard: Shard, content: bytes) -> Iterator[str]:
    """Yield what is wrong with a tar's members: names in the plan's order, labels, images."""
    category, instance = samples_of(spec, shard)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        members = iter(tar)
        for c, i in zip(category.tolist(), instance.tolist(), strict=True):
            for ending in ("png", "cls"):
                name = f"{c:06}_{i:06}.{ending}"
                member = next(members, None)
                if member is None:
                    yield f"ends before {name}"
                    return
                file = tar.extractfile(member) if member.isreg() else None
                if member.name != name or file is None:
                    yield f"has {member.name!r} where {name} should stand"
                    return
                payload = file.read()
                if ending == "cls" and payload != b"%d" % c:
                    yield f"{name} is {payload[:20]!r}; the label is {c}"
                elif ending == "png" and (problem := _image_problem(spec, payload)):
                    yield f"{name} {problem}"
        if (extra := next(members, None)) is not None:
            yield f"goes on with {extra.name!r} after its last sample"


def _samples_problem(spec: Spec, shard: Shard, content: bytes) -> str | None:
    """Return what is wrong with the table of a shard's images, or None."""
    category, instance = samples_of(spec, shard)
    table = read_parquet(content)
    for name, expected in (("category", category), ("instance", instance)):
        if name not in table.column_names or table.column(name).to_pylist() != expected.tolist():
            return f"`{name}` is not the plan's"
    for field in spec.rules.DRAWN_SCHEMA:
        if field.name not in table.column_names:
            return f"`{field.name}` is missing"
    return None


def _read(path: Path, sha256: str, n_bytes: int | None, problems: list[str]) -> bytes | None:
    """Return a file's content, having noted where it differs from its receipt; None if it is not there."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        problems.append(f"{path.name}: missing")
        return None
    except OSError as error:
        problems.append(f"{path.name}: cannot be read: {error.strerror}")
        return None
    if n_bytes is not None and len(content) != n_bytes:
        problems.append(f"{path.name}: {len(content):,} bytes; its receipt says {n_bytes:,}")
    elif hashlib.sha256(content).hexdigest() != sha256:
        problems.append(f"{path.name}: its SHA-256 is not its receipt's: one of the two was changed after the bake")
    return content


def verify_shard(directory: Directory, shard: Shard) -> tuple[int, list[str]]:
    """Return how many images a shard's receipt promises, and what is wrong with the shard, a line each."""
    tar, samples = directory.tar(shard), directory.samples(shard)
    try:
        receipt = directory.read_receipt(shard)
    except InputError as error:
        return 0, [str(error)]
    if receipt is None:
        return 0, [f"{tar.name}: has no receipt"]
    problems: list[str] = []
    content = _read(tar, receipt.sha256, receipt.bytes, problems)
    if content is not None:
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != receipt.md5 and not problems:
            problems.append(f"{tar.name}: its MD5 is not its receipt's, which was edited")
        try:
            found = _tar_problems(directory.spec, shard, content)
            problems += [f"{tar.name}: {problem}" for problem, _ in zip(found, range(_AT_MOST), strict=False)]
        except (tarfile.TarError, ValueError, OverflowError, OSError) as error:
            problems.append(f"{tar.name}: is not a tar that can be read: {error}")
    content = _read(samples, receipt.samples_sha256, None, problems)
    if content is not None:
        try:
            problem = _samples_problem(directory.spec, shard, content)
        except (pa.ArrowException, OSError, ValueError) as error:
            problem = f"is not a Parquet file that can be read: {' '.join(str(error).split())}"
        if problem:
            problems.append(f"samples/{samples.name}: {problem}")
    return receipt.samples, problems


def _index_problems(directory: Directory) -> Iterator[str]:
    """Yield what is wrong with the files that are written once all shards are there."""
    try:
        receipts = read_receipts(directory)
    except InputError:
        return
    if len(receipts) < len(plan_shards(directory.spec)):
        return
    missing = [name for name in (INDEX, INFO, CARD) if not (directory.path / name).is_file()]
    if missing:
        yield f"{', '.join(missing)}: missing, though all shards are there; `fdsl bake` writes the index again"
        return
    yield from _stale(directory, receipts)


def _stale(directory: Directory, receipts: list[Receipt]) -> Iterator[str]:
    checks: tuple[tuple[str, Callable[[Path], Any], Any], ...] = (
        (INDEX, lambda path: read_parquet(path.read_bytes()), index_table(receipts)),
        (INFO, lambda path: json.loads(path.read_text()), info(directory, receipts)),
    )
    for name, read, expected in checks:
        try:
            same = read(directory.path / name) == expected
        except (pa.ArrowException, ValueError, RecursionError, OSError):
            same = False
        if not same:
            yield f"{name}: does not say what the receipts say; it was edited"


def _not_baked(chosen: list[Shard], there: list[Shard]) -> list[str]:
    found = set(there)
    missing = [shard for shard in chosen if shard not in found]
    if not missing:
        return []
    names = ", ".join(shard.name for shard in missing[:_AT_MOST]) + (", ..." if len(missing) > _AT_MOST else "")
    return [f"{len(missing):,} of {len(chosen):,} shards are not baked: {names}"]


def _strangers(directory: Directory) -> Iterator[str]:
    names = {directory.tar(shard).name for shard in plan_shards(directory.spec)}
    for path in sorted(directory.path.glob("*.tar")):
        if path.name not in names and path.name.split("-")[0] in SPLITS:
            yield f"{path.name}: no shard of this dataset; readers that take all tars would read it"


def verify(
    out: Path | str,
    *,
    workers: int | None = None,
    split: str = "all",
    window: str | None = None,
    show: bool = False,
) -> Verified:
    """Check a baked directory, or some of its shards; nothing is written.

    A shard is right if its tar and its table have the receipt's hashes, its members are the plan's in the plan's order, its
    labels are its categories, and its images decode at the spec's size. Without `window` and `split`, a shard that is not
    baked, a tar too many and an index that differs from the receipts are problems too.

    Raises
    ------
    InputError
        The directory holds no dataset, or its spec or categories were edited.
    """
    directory = open_directory(Path(out))
    read_categories(directory)
    chosen = select_shards(directory.spec, split, window)
    there = [shard for shard in chosen if directory.receipt(shard).exists() or directory.tar(shard).exists()]
    problems = _not_baked(chosen, there)
    shards = images = 0
    tasks = ((directory, shard) for shard in there)
    n_workers = min(count_workers(workers), max(1, len(there)))
    with (
        Progress(sum(shard.samples for shard in there), "images", "verify", show) as progress,
        in_parallel(verify_shard, tasks, n_workers, ordered=True) as results,
    ):
        for shard, (n_images, found) in zip(there, results, strict=True):
            images += n_images
            shards += n_images > 0
            problems += found
            progress.advance(shard.samples)
    if split == "all" and window is None:
        problems += [*_strangers(directory), *_index_problems(directory)]
    return Verified(directory, shards, images, tuple(problems))
