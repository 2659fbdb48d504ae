"""Verifying: every shard of a directory against its receipt, its plan and its own content."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from primitives.fields import InputError
from shards.bake import render_again
from shards.categories import read_parquet
from shards.directory import (
    CARD,
    INDEX,
    INFO,
    Directory,
    Receipt,
    open_directory,
    other_versions,
    read_categories,
)
from shards.index import index_table, info, read_receipts
from shards.plan import Shard, plan_shards, samples_of, select_shards
from shards.png import head, is_whole
from shards.spec import SPLITS, Spec
from shards.workers import Progress, count_workers, in_parallel

Image = npt.NDArray[np.uint8]

_AT_MOST = 5
"""Problems told of one shard, and images named of one kind."""

_NOT_RENDERED = "is not what the spec renders here"
_EXTRA = {".tar": "no shard of this dataset; readers that take all tars would read it"}


@dataclass(frozen=True)
class Verified:
    """What a verification found.

    shards, images : how many were checked and found to be there.
    problems : a line each; none is good.
    notes : a line each, of images that a formula may give, and that a person may wish to look at.
    rerendered, seed : how many images were rendered again and compared, and the seed that they were chosen by.
    damaged : the shards that are to be made again, in the plan's order.
    extra : files that look like a shard's, and are not in the plan.
    is_index_wrong : whether what is written last, once all shards are there, is missing or says something else.
    """

    directory: Directory
    shards: int
    images: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    rerendered: int
    seed: int
    damaged: tuple[Shard, ...]
    extra: tuple[Path, ...]
    is_index_wrong: bool


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
                    file = tar.extractfile(member) if member.isreg() else None
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
        return f"{_NOT_RENDERED} ({n_other:,} of {image.size:,} pixels differ)" if n_other else None


def _samples_problem(spec: Spec, shard: Shard, content: bytes, drawn: dict[int, Any]) -> str | None:
    """Return what is wrong with the table of a shard's images, or None."""
    category, instance = samples_of(spec, shard)
    table = read_parquet(content)
    for name, expected in (("category", category), ("instance", instance)):
        if name not in table.column_names or table.column(name).to_pylist() != expected.tolist():
            return f"`{name}` is not the plan's"
    for field in spec.rules.DRAWN_SCHEMA:
        if field.name not in table.column_names:
            return f"`{field.name}` is missing"
    for k, expected in drawn.items():
        row = table.slice(k, 1).to_pylist()[0]
        if tuple(row[name] for name in expected._fields) != tuple(expected):
            return f"has another row for {category[k]:06}_{instance[k]:06} than what is drawn for that image"
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


def _check_files(directory: Directory, shard: Shard, receipt: Receipt, seen: _Tar, problems: list[str]) -> None:
    """Note what is wrong with a shard's two files."""
    tar, samples = directory.tar(shard), directory.samples(shard)
    content = _read(tar, receipt.sha256, receipt.bytes, problems)
    if content is not None:
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != receipt.md5 and not problems:
            problems.append(f"{tar.name}: its MD5 is not its receipt's, which was edited")
        try:
            found = seen.problems(content)
            problems += [f"{tar.name}: {problem}" for problem, _ in zip(found, range(_AT_MOST), strict=False)]
        except (tarfile.TarError, ValueError, OverflowError, OSError) as error:
            problems.append(f"{tar.name}: is not a tar that can be read: {error}")
    content = _read(samples, receipt.samples_sha256, None, problems)
    if content is not None:
        try:
            problem = _samples_problem(directory.spec, shard, content, seen.drawn)
        except (pa.ArrowException, OSError, ValueError) as error:
            problem = f"is not a Parquet file that can be read: {' '.join(str(error).split())}"
        if problem:
            problems.append(f"samples/{samples.name}: {problem}")


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
        (INFO, lambda path: json.loads(path.read_bytes()), info(directory, receipts)),
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


def _extra(directory: Directory) -> list[Path]:
    """Return the files that are named like a shard's, and are of none in the plan."""
    names = {shard.name for shard in plan_shards(directory.spec)}
    found = [
        path
        for pattern in ("*.tar", "samples/*.parquet", "receipts/*.json")
        for path in sorted(directory.path.glob(pattern))
    ]
    return [path for path in found if path.stem not in names and path.stem.split("-")[0] in SPLITS]


def _chosen(shards: list[Shard], n: int, seed: int) -> dict[Shard, list[int]]:
    """Choose `n` images at random; return their positions in each shard, in order."""
    ends = np.cumsum([shard.samples for shard in shards])
    total = int(ends[-1]) if shards else 0
    positions = np.sort(np.random.default_rng(seed).choice(total, min(n, total), replace=False))
    numbers = np.searchsorted(ends, positions, side="right")
    found: dict[Shard, list[int]] = {}
    for number, position in zip(numbers.tolist(), positions.tolist(), strict=True):
        shard = shards[number]
        found.setdefault(shard, []).append(position - int(ends[number]) + shard.samples)
    return found


def _twins(spec: Spec, shards: list[Shard], digests: list[npt.NDArray[np.uint64]]) -> str | None:
    """Return a line on the images that are equal to another one, or None if there are none."""
    values = np.sort(np.concatenate([np.empty(0, dtype=np.uint64), *digests]))
    twice = np.unique(values[1:][values[1:] == values[:-1]])
    if not len(twice):
        return None
    keys: dict[int, list[str]] = {}
    for shard, each in zip(shards, digests, strict=True):
        at = np.flatnonzero(np.isin(each, twice))
        category, instance = samples_of(spec, shard)
        for k in at.tolist():
            keys.setdefault(int(each[k]), []).append(f"{category[k]:06}_{instance[k]:06}")
    examples = ", ".join(" = ".join(equal[:3]) for equal in list(keys.values())[:_AT_MOST])
    return f"{sum(map(len, keys.values())):,} images are not the only ones of their kind: {_few(examples, len(keys))}"


def _few(examples: str, n: int) -> str:
    return examples + (", ..." if n > _AT_MOST else "")


def _notes(spec: Spec, shards: list[Shard], findings: list[Findings]) -> Iterator[str]:
    """Yield a line on images without anything drawn, on those without background, and on those that are equal."""
    for full, what in enumerate(("empty: nothing is drawn", "full: no background is left")):
        keys = [key for each in findings for key in each.blank[full]]
        if keys:
            yield f"{len(keys):,} of the images are {what}: {_few(', '.join(keys[:_AT_MOST]), len(keys))}"
    if line := _twins(spec, shards, [each.digests for each in findings]):
        yield line


def _explained(directory: Directory, findings: list[Findings]) -> Iterator[str]:
    """Yield the problems of all shards; what renders otherwise here may do so for its versions."""
    for problem in (problem for found in findings for problem in found.problems):
        if _NOT_RENDERED not in problem:
            yield problem
        elif differs := other_versions(directory):
            yield f"{problem}; it was baked with other versions: {differs}"
        else:
            yield f"{problem}; it was edited after the bake, or this machine computes otherwise"


def verify(
    out: Path | str,
    *,
    workers: int | None = None,
    split: str = "all",
    window: str | None = None,
    rerender: int = 0,
    seed: int = 0,
    show: bool = False,
) -> Verified:
    """Check a baked directory, or some of its shards; nothing is written.

    A shard is right if its tar and its table have the receipt's hashes, its members are the plan's in the plan's order, its
    labels are its categories, and its images decode at the spec's size. Without `window` and `split`, a shard that is not
    baked, a file too many and an index that differs from the receipts are problems too.

    Parameters
    ----------
    workers, split, window, show : as in `bake`
    rerender : how many images, chosen at random by `seed`, are rendered again from the spec and compared pixel by pixel

    Raises
    ------
    InputError
        The directory holds no dataset, or its spec or categories were edited.
    """
    directory = open_directory(Path(out))
    read_categories(directory)
    chosen = select_shards(directory.spec, split, window)
    there = [shard for shard in chosen if directory.receipt(shard).exists() or directory.tar(shard).exists()]
    positions = _chosen(there, rerender, seed)
    if rerender:
        directory.spec.rules.warm()
    tasks = ((directory, shard, positions.get(shard, ())) for shard in there)
    n_workers = min(count_workers(workers), max(1, len(there)))
    findings: list[Findings] = []
    with (
        Progress(sum(shard.samples for shard in there), "images", "verify", show) as progress,
        in_parallel(verify_shard, tasks, n_workers, ordered=True) as results,
    ):
        for shard, found in zip(there, results, strict=True):
            findings.append(found)
            progress.advance(shard.samples)
    is_whole_dataset = split == "all" and window is None
    extra = _extra(directory) if is_whole_dataset else []
    index_problems = list(_index_problems(directory)) if is_whole_dataset else []
    right = {shard for shard, found in zip(there, findings, strict=True) if not found.problems}
    problems = [
        *_not_baked(chosen, there),
        *_explained(directory, findings),
        *(f"{path.relative_to(directory.path)}: {_EXTRA.get(path.suffix, 'belongs to no shard')}" for path in extra),
        *index_problems,
    ]
    return Verified(
        directory,
        shards=sum(found.images > 0 for found in findings),
        images=sum(found.images for found in findings),
        problems=tuple(problems),
        notes=tuple(_notes(directory.spec, there, findings)),
        rerendered=sum(map(len, positions.values())),
        seed=seed,
        damaged=tuple(shard for shard in chosen if shard not in right),
        extra=tuple(extra),
        is_index_wrong=bool(index_problems),
    )
