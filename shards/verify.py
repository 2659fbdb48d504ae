"""Verifying: every shard of a directory, and the files that are written once all are there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from primitives.fields import InputError
from shards.categories import read_parquet
from shards.content import NOT_RENDERED, Findings, verify_shard
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
from shards.plan import SHARD_NAME, Shard, plan_shards, samples_of, select_shards
from shards.spec import SPLITS, Spec
from shards.workers import Progress, count_workers, in_parallel

_AT_MOST = 5
"""Images, or shards, named of one kind."""

_STRANGE = {".tar": "no shard of this dataset; readers that take all tars would read it"}


@dataclass(frozen=True)
class Verified:
    """What a verification found.

    shards, images : how many were checked and found to be there.
    problems : a line each; none is good.
    notes : a line each, of images that a formula may give, and that a person may wish to look at.
    rerendered, seed : how many images were rendered again and compared, and the seed that they were chosen by.
    damaged : the shards that are to be made again, in the plan's order.
    extra : the files that are named as a shard's, and are not in the plan. strangers : those that a reader may take for one.
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
    strangers: tuple[Path, ...]
    is_index_wrong: bool


def _index_problems(directory: Directory) -> Iterator[str]:
    """Yield what is wrong with the files that are written once all shards are there."""
    try:
        receipts = read_receipts(directory)
    except InputError:
        return
    if len(receipts) < len(plan_shards(directory.spec)):
        return
    files = {name: directory.path / name for name in (INDEX, INFO, CARD)}
    missing = [name for name, path in files.items() if not path.is_file() or not path.stat().st_size]
    if missing:
        yield f"{', '.join(missing)}: missing or empty, though all shards are there; `fdsl repair` writes the index again"
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
    names = _few(", ".join(shard.name for shard in missing[:_AT_MOST]), len(missing))
    return [f"{len(missing):,} of {len(chosen):,} shards are not baked: {names}"]


def _strangers(directory: Directory) -> list[Path]:
    """Return the tars, tables and receipts that begin with a split's name, and are of no shard in the plan."""
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
        if NOT_RENDERED not in problem:
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
    strangers = _strangers(directory) if is_whole_dataset else []
    extra = [path for path in strangers if SHARD_NAME.fullmatch(path.stem) and path.is_file()]
    index_problems = list(_index_problems(directory)) if is_whole_dataset else []
    right = {shard for shard, found in zip(there, findings, strict=True) if not found.problems}
    problems = [
        *_not_baked(chosen, there),
        *_explained(directory, findings),
        *(
            f"{path.relative_to(directory.path)}: {_STRANGE.get(path.suffix, 'belongs to no shard')}"
            for path in strangers
        ),
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
        strangers=tuple(path for path in strangers if path not in extra),
        is_index_wrong=bool(index_problems),
    )
