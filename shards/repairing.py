"""Repairing: bakes what a verification finds missing or wrong."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from fdsl.dataset.plan import Shard, plan_shards
from fdsl.primitives.errors import InputError
from shards.baking import bake_shards
from shards.claiming import claim_directory, given_dataset
from shards.directory import Directory, output_store, reserve, stored_directory
from shards.events import Listener, ignore
from shards.executors.contract import Executor, require_executor
from shards.executors.local import LocalExecutor
from shards.index import write_index
from shards.layout import CARD, CATEGORIES, INDEX, INFO, RECEIPTS, SAMPLES, receipt_file, shard_files
from shards.manifest import read_manifest
from shards.problems import TO_BAKE, Kind, Problem
from shards.searching import search_table
from shards.stores.contract import Store
from shards.verifying import Selection, lost_categories, verify_shards


@dataclass(frozen=True)
class Repaired:
    """What a repair did, or would do.

    Attributes
    ----------
    other_versions : first difference from the versions that began the bake, or None
    problems : as `verify` finds them
    restored_categories : whether the categories table is written again. A dry run then looks no further.
    baked : shards that are baked again
    deleted : files that are named like shards but not in the plan, relative to the directory
    foreign : shard-like files that a bake never writes, relative to the directory; reported, never deleted
    wrote_index : whether the index is written again
    failures : shards that failed, by name, with the reason
    """

    other_versions: str | None
    problems: tuple[Problem, ...]
    restored_categories: bool
    baked: tuple[Shard, ...]
    deleted: tuple[str, ...]
    foreign: tuple[str, ...]
    wrote_index: bool
    failures: dict[str, str]


def repair(
    out: Path | str,
    *,
    categories: pa.Table | Path | str | None = None,
    executor: Executor | None = None,
    split: str = "all",
    shards: str | None = None,
    rerender: int = 0,
    seed: int = 0,
    dry_run: bool = False,
    listener: Listener = ignore,
) -> Repaired:
    """Bake what `verify` finds missing or wrong.

    The result has the bytes of an undisturbed bake.

    Parameters
    ----------
    categories : categories table or the path of its Parquet file, if the directory's is lost and a search does not find it
    executor, split, shards, rerender, seed, listener : as in `verify`
    dry_run : change nothing

    Raises
    ------
    InputError
        The directory holds no dataset, its spec was edited, its categories are lost, or another process bakes one of the
        shards.
    OSError
        As in `bake`; calling again resumes.
    """
    store, executor = output_store(out), LocalExecutor(listener=listener) if executor is None else executor
    require_executor(executor)
    manifest = read_manifest(store)
    manifest.require_current(store)
    spec = manifest.spec
    given = given_dataset(spec, categories)
    if given and given.categories_sha256 != manifest.categories_sha256:
        raise InputError(
            f"`{given.source}` does not hold the categories that `{out}` was begun with; give the original table"
        )
    selection = Selection(spec, split, shards, rerender, seed)
    if not dry_run:
        store.preflight((SAMPLES, RECEIPTS))
    with nullcontext() if dry_run else reserve(store, spec, selection.shards):
        _refuse_obstacles(store, selection.shards)
        lost: tuple[Problem, ...] = ()
        try:
            directory = stored_directory(store, manifest)
        except InputError as error:
            lost = (lost_categories(store, error),)
            if dry_run:
                return Repaired(manifest.other_versions(), lost, True, (), (), (), False, {})
            search = partial(search_table, executor=executor, listener=listener)
            directory = claim_directory(store, spec, given, search, replace_table=True)
        result = verify_shards(directory, manifest, selection, executor, listener)
        work = _Work(directory, selection, result.problems)
        failures = {} if dry_run else work.carry_out(executor, listener)
    return Repaired(
        manifest.other_versions(),
        problems=(*lost, *result.problems),
        restored_categories=bool(lost),
        baked=tuple(shard for shard in work.to_bake if shard.name not in failures),
        deleted=work.to_delete,
        foreign=work.foreign,
        wrote_index=work.needs_index and not failures,
        failures=failures,
    )


def _refuse_obstacles(store: Store, shards: list[Shard]) -> None:
    """Refuse folders in place of files, and the reverse."""
    entries = {name for folder in ("", SAMPLES, RECEIPTS) for name in store.entries(folder)}
    files = [CATEGORIES, INDEX, INFO, CARD, *(name for shard in shards for name in shard_files(shard))]
    wrong = [name for name in files if f"{name}/" in entries]
    wrong += [name for name in (SAMPLES, RECEIPTS) if name in entries]
    if wrong:
        names = ", ".join(wrong)
        raise InputError(
            f"`{store.url}`: {names}: a folder in place of a file, or a file in place of a folder; remove it"
        )


class _Work:
    """What must be baked, deleted and written to solve problems."""

    def __init__(self, directory: Directory, selection: Selection, problems: tuple[Problem, ...]) -> None:
        self._directory, self._planned = directory, plan_shards(directory.spec)
        self._is_everything = selection.is_everything
        damaged = {problem.shard for problem in problems if problem.kind in TO_BAKE}
        self.to_bake = [shard for shard in selection.shards if shard.name in damaged]
        self.to_delete = tuple(problem.path for problem in problems if problem.kind == Kind.EXTRA)
        self.foreign = tuple(problem.path for problem in problems if problem.kind == Kind.FOREIGN)
        is_wrong = any(problem.kind == Kind.INDEX for problem in problems)
        done = {shard.name for shard in directory.all_finished(self._planned)}
        will_be_complete = all(shard.name in damaged | done for shard in self._planned)
        self.needs_index = is_wrong or (bool(damaged) and will_be_complete)

    def carry_out(self, executor: Executor, listener: Listener) -> dict[str, str]:
        """Delete, bake and write the index; return the failures by shard."""
        if self._is_everything:
            self._directory.store.sweep()
        for name in self.to_delete:
            self._directory.store.delete(name)
        for shard in self.to_bake:  # deletes their receipts first, so an interrupted repair resumes
            self._directory.store.delete(receipt_file(shard))
        failures = bake_shards(self._directory, self.to_bake, self.to_bake, executor, listener)
        if self.needs_index and not failures:
            write_index(self._directory, list(self._directory.receipts(self._planned).values()))
        return failures
