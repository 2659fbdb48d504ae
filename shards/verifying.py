"""Verifying: checks every shard and the index of a directory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fdsl.dataset.live import N_PIXELS
from fdsl.dataset.parquet import parse_parquet
from fdsl.dataset.plan import SHARD_NAME, Shard, plan_shards, select_shards
from fdsl.dataset.spec import SPLITS, Spec
from fdsl.primitives.errors import InputError
from fdsl.primitives.validation import check_whole_number
from shards.checking import Findings, check_shard, stored_pixels_sha256, unchecked
from shards.directory import Directory, Unseen, open_directory, output_store, stored_directory
from shards.events import Advanced, Finished, ItemFailed, Listener, Started, ignore
from shards.executors.contract import Executor, Failed, require_executor
from shards.executors.local import LocalExecutor
from shards.executors.signals import uninterrupted
from shards.index import index_table, info, info_before_0_2
from shards.layout import CARD, CATEGORIES, INDEX, INFO, RECEIPTS, SAMPLES, SHIPPED, receipt_file, shard_files, tar_file
from shards.manifest import Manifest, read_manifest
from shards.notes import image_notes
from shards.problems import Kind, Problem
from shards.receipts import Receipt
from shards.removed import is_removed, removed_note, removed_to
from shards.sharing import require_shared
from shards.stores.contract import Entry, Store

_INDEX_BYTES, _INDEX_ROW_BYTES = 2**20, 2**10
"""Limits of the size of shards.parquet and of _info.json: without shards, and added per shard."""


@dataclass(frozen=True)
class Verified:
    """Result of a verification.

    Attributes
    ----------
    n_shards : selected shards that have a receipt
    n_images : number of images that these receipts name
    problems : what is wrong
    notes : lines on empty, full and duplicate images, which the formulas can produce
    n_rerendered : images rendered again and compared
    format : format of the dataset; one of an older format cannot be repaired
    hash : identity of the dataset
    n_train : images of train
    pixels_sha256 : of the stored pixels of its first images, if all shards were checked and nothing is wrong
    """

    n_shards: int
    n_images: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    n_rerendered: int
    format: int
    hash: str = ""
    n_train: int = 0
    pixels_sha256: str | None = None


def verify(
    out: Path | str,
    *,
    executor: Executor | None = None,
    split: str = "all",
    shards: str | None = None,
    rerender: int = 0,
    seed: int = 0,
    listener: Listener = ignore,
) -> Verified:
    """Check a baked directory, or some of its shards.

    Writes nothing. A shard is right if its files have the hashes of its receipt, its members and labels are those of the
    plan, in order, and its images decode at the spec's size. Without `split` and `shards`,
    missing shards, surplus files and a wrong index are problems too.

    Parameters
    ----------
    executor : one local process per processor by default
    split, shards : which shards; see `select_shards`
    rerender : number of images to render again and compare pixel by pixel
    seed : selects these images
    listener : called with each event

    Raises
    ------
    InputError
        The directory holds no dataset, or its spec was edited.
    """
    executor = LocalExecutor(listener=listener) if executor is None else executor
    require_executor(executor)
    store = output_store(out)
    manifest = read_manifest(store)
    selection = Selection(manifest.spec, split, shards, rerender, seed)
    if rerender:
        manifest.require_current(store)
    try:
        directory = stored_directory(store, manifest)
    except InputError as error:
        return Verified(0, 0, (lost_categories(store, error),), (), 0, manifest.format)
    return verify_shards(directory, manifest, selection, executor, listener)


class Selection:
    """What to verify: some shards, and some images to render again.

    Attributes
    ----------
    shards : in the plan's order
    is_everything : all shards were selected
    n_rerendered : number of images to render again
    seed : selects these images

    Raises
    ------
    InputError
        `split`, `shards`, `rerender` or `seed` is wrong.
    """

    def __init__(self, spec: Spec, split: str, shards: str | None, rerender: int, seed: int) -> None:
        check_whole_number("rerender", rerender, 0)
        check_whole_number("seed", seed, 0)
        self.shards = select_shards(spec, split, shards)
        self.is_everything = split == "all" and shards is None
        self.n_rerendered, self.seed = rerender, seed

    def positions(self, shards: list[Shard]) -> dict[Shard, list[int]]:
        """Draw images to render again.

        Returns their positions in each shard, ascending.
        """
        ends = np.cumsum([shard.n_samples for shard in shards])
        n_total = int(ends[-1]) if shards else 0
        rng = np.random.default_rng(self.seed)
        numbers = np.sort(rng.choice(n_total, min(self.n_rerendered, n_total), replace=False))
        positions: dict[Shard, list[int]] = {}
        for k, number in zip(np.searchsorted(ends, numbers, side="right").tolist(), numbers.tolist(), strict=True):
            positions.setdefault(shards[k], []).append(number - int(ends[k]) + shards[k].n_samples)
        return positions


def lost_categories(store: Store, error: InputError) -> Problem:
    """Return the problem of a lost or edited categories table."""
    return Problem(Kind.CATEGORIES, CATEGORIES, str(error).removeprefix(f"`{store.locate(CATEGORIES)}` "))


def verify_shards(
    directory: Directory, manifest: Manifest, selection: Selection, executor: Executor, listener: Listener
) -> Verified:
    """Check the selected shards of an open directory; see `verify`."""
    require_shared(directory.store, executor)
    chosen = selection.shards
    entries = directory.entries()
    names = {name.rstrip("/") for name in entries}
    removed = [shard for shard in chosen if is_removed(shard, entries)]
    here = [shard for shard in chosen if {receipt_file(shard), tar_file(shard)} & names]
    existing = [shard for shard in here if not is_removed(shard, entries)]
    positions = selection.positions(existing)
    if positions:
        with uninterrupted():
            directory.spec.family_module.compile_kernels()
    findings = _check_shards(directory, existing, positions, executor, listener)
    unbaked = set(chosen).difference(existing, removed)
    problems = [Problem(Kind.UNBAKED, f"{shard.name}.tar", "is not baked") for shard in chosen if shard in unbaked]
    lost, removed_notes = _check_removed(directory, removed)
    problems += lost
    problems += _explained((problem for finding in findings for problem in finding.problems), manifest)
    if selection.is_everything:
        problems += [*_surplus_files(directory, entries), *_index_problems(directory)]
    is_whole = selection.is_everything and not problems and not removed
    return Verified(
        n_shards=sum(finding.n_images > 0 for finding in findings),
        n_images=sum(finding.n_images for finding in findings),
        problems=tuple(problems),
        notes=(*removed_notes, *image_notes(directory.spec, existing, findings)),
        n_rerendered=sum(map(len, positions.values())),
        format=manifest.format,
        hash=directory.dataset.hash,
        n_train=directory.spec.n_images("train"),
        pixels_sha256=stored_pixels_sha256(directory, N_PIXELS) if is_whole else None,
    )


def _check_removed(directory: Directory, removed: list[Shard]) -> tuple[list[Problem], list[str]]:
    """Return the problems and notes of shards that were removed after shipping.

    Lists the place that has them; reads none. Raises InputError if it holds no dataset: it may not be mounted.
    """
    if not removed:
        return [], []
    place, receipts = removed_to(directory.store), directory.receipts(removed)
    try:
        entries = open_directory(place).entries()
    except InputError:
        raise InputError(
            f"`{directory.store.locate(SHIPPED)}`: {place} has {len(removed):,} shards, but holds no dataset now;"
            " mount it, or delete this file to bake them again"
        ) from None

    def is_there(shard: Shard) -> bool:
        is_whole = shard in receipts and all(name in entries for name in shard_files(shard))
        return is_whole and entries[tar_file(shard)].n_bytes == receipts[shard].bytes

    lost = [shard for shard in removed if not is_there(shard)]
    detail = f"was removed after shipping, and is not whole at {place}"
    note = removed_note(place, len(removed) - len(lost))
    return [Problem(Kind.SHARD, tar_file(shard), detail) for shard in lost], [note]


def _check_shards(
    directory: Directory,
    shards: list[Shard],
    positions: dict[Shard, list[int]],
    executor: Executor,
    listener: Listener,
) -> list[Findings]:
    """Return the findings of each shard, in order."""
    tasks: list[tuple[Shard, Collection[int]]] = [(shard, tuple(positions.get(shard, ()))) for shard in shards]
    findings: dict[Shard, Findings] = {}
    listener(Started("verify", directory.spec.name, "images", sum(shard.n_samples for shard in shards)))
    with closing(executor.run(partial(check_shard, directory), tasks)) as outcomes:
        for outcome in outcomes:
            shard = outcome.item[0]
            if isinstance(outcome, Failed):
                if isinstance(outcome.error, Unseen | ConnectionError):  # of no shard in particular
                    raise outcome.error
                findings[shard] = unchecked(shard, outcome.error)
                listener(ItemFailed(shard.name, str(outcome.error)))
            else:
                findings[shard] = outcome.result
                listener(Advanced(shard.n_samples, shard.name))
    listener(Finished("verify"))
    return [findings[shard] for shard in shards]


def _explained(problems: Iterable[Problem], manifest: Manifest) -> Iterator[Problem]:
    """Yield problems, those of pixels with their likely cause."""
    differs = manifest.other_versions()
    cause = (
        f"it was baked with other versions: {differs}" if differs else "edited, or this machine computes differently"
    )
    for problem in problems:
        is_of_pixels = problem.kind == Kind.PIXELS
        yield problem._replace(detail=f"{problem.detail}; {cause}") if is_of_pixels else problem


def _surplus_files(directory: Directory, entries: dict[str, Entry]) -> Iterator[Problem]:
    """Yield shard-like files outside the plan."""
    planned = {shard.name for shard in plan_shards(directory.spec)}
    for prefix, ending in (("", ".tar"), (f"{SAMPLES}/", ".parquet"), (f"{RECEIPTS}/", ".json")):
        pattern = re.compile(rf"{prefix}(({'|'.join(SPLITS)})(-[^/]*)?){re.escape(ending)}/?")
        for name, entry in sorted(entries.items()):
            match = pattern.fullmatch(name)
            if match is None or match[1] in planned:
                continue
            detail = "belongs to no shard of this dataset"
            if ending == ".tar":
                detail += "; loaders that read all tars would read it"
            is_named_like_ours = SHARD_NAME.fullmatch(match[1]) and entry.n_bytes is not None
            yield Problem(Kind.EXTRA if is_named_like_ours else Kind.FOREIGN, name.rstrip("/"), detail)


def _index_problems(directory: Directory) -> Iterator[Problem]:
    """Yield problems of the index, if all shards are done."""
    planned = plan_shards(directory.spec)
    receipts = list(directory.receipts(planned).values())
    if len(receipts) < len(planned):
        return
    for name in (INDEX, INFO, CARD):
        entry = directory.store.stat(name)
        if entry is None or not entry.n_bytes:
            yield Problem(Kind.INDEX, name, "is missing or empty, although all shards are done")
        elif not _agrees(directory, name, receipts):
            yield Problem(Kind.INDEX, name, "contradicts the receipts: it was edited")


def _agrees(directory: Directory, name: str, receipts: list[Receipt]) -> bool:
    """Return whether an index file agrees with the receipts.

    The card is for people and is not compared.
    """
    readers: dict[str, tuple[Callable[[bytes], Any], tuple[Any, ...]]] = {
        INDEX: (partial(parse_parquet, n_rows=len(receipts)), (index_table(receipts),)),
        INFO: (json.loads, (info(directory, receipts), info_before_0_2(directory, receipts))),
    }
    if name not in readers:
        return True
    read, accepted = readers[name]
    try:
        content = read(directory.store.read(name, _INDEX_BYTES + _INDEX_ROW_BYTES * len(receipts)))
    except (ValueError, RecursionError, OSError):
        return False
    return any(content == expected for expected in accepted)
