"""Repairing: what a verification finds wrong is made again, and nothing else."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from primitives.fields import InputError
from shards.bake import bake_shards
from shards.categories import check_table, sample_categories, table_sha256
from shards.directory import (
    CARD,
    CATEGORIES,
    INDEX,
    INFO,
    Directory,
    open_directory,
    read_categories,
    restore_categories,
)
from shards.index import write_index
from shards.lock import locked
from shards.plan import Shard, plan_shards, select_shards
from shards.verify import verify


@dataclass(frozen=True)
class Repaired:
    """What a repair found and did, or would do.

    problems : a line each, as `verify` tells them.
    categories : whether the categories table is made again. With a dry run, the shards are then not looked at.
    made : the shards that are made again. removed : the files that are named as a shard's, and are of none.
    left : the names of files that a reader may take for a shard; whose they are is not for us to say.
    index : whether what is written last is written again.
    """

    directory: Directory
    problems: tuple[str, ...]
    categories: bool
    made: tuple[Shard, ...]
    removed: tuple[Path, ...]
    left: tuple[str, ...]
    index: bool


def _refuse_obstacles(directory: Directory, shards: list[Shard]) -> None:
    """Raise InputError, naming them, if folders stand where files should, or what is no folder where one should."""
    files = [place(shard) for shard in shards for place in (directory.tar, directory.samples, directory.receipt)]
    files += [directory.path / name for name in (CATEGORIES, INDEX, INFO, CARD)]
    folders = [directory.samples(shards[0]).parent, directory.receipt(shards[0]).parent]
    wrong = [path for path in files if path.is_dir()] + [
        path for path in folders if path.exists() and not path.is_dir()
    ]
    if wrong:
        names = ", ".join(str(path.relative_to(directory.path)) for path in wrong)
        raise InputError(f"`{directory.path}`: {names}: a folder in a file's place, or a file in a folder's; remove it")


def _categories_problem(directory: Directory) -> str | None:
    try:
        read_categories(directory)
    except InputError as error:
        return str(error)
    return None


def _restore(directory: Directory, table: pa.Table | None, workers: int | None, show: bool) -> None:
    """Put the categories table in its place again: the one that is given, or as the spec samples it."""
    spec = directory.spec
    if table is None:
        table = sample_categories(spec, workers, show).table
    restore_categories(directory, table)


def _make(directory: Directory, shards: tuple[Shard, ...], workers: int | None, show: bool) -> None:
    """Make shards again. They are not done from now on, so that a repair that is cut off is gone on with."""
    for shard in shards:
        directory.receipt(shard).unlink(missing_ok=True)
    bake_shards(directory, list(shards), workers, show, of=sum(shard.samples for shard in shards))


def repair(
    out: Path | str,
    *,
    table: pa.Table | None = None,
    workers: int | None = None,
    split: str = "all",
    window: str | None = None,
    rerender: int = 0,
    seed: int = 0,
    dry_run: bool = False,
    show: bool = False,
) -> Repaired:
    """Make again what `verify` finds missing or wrong in a directory, to the bytes of an undisturbed bake.

    Parameters
    ----------
    table : the categories, should theirs be wrong and not be sampled from the spec
    workers, split, window, rerender, seed, show : as in `verify`
    dry_run : change nothing

    Raises
    ------
    InputError
        The directory holds no dataset, its spec was edited, its categories are wrong and cannot be sampled, or another
        process bakes one of the shards.
    WorkerDied, OSError
        As in `bake`; calling again goes on.
    """
    directory = open_directory(Path(out))
    if table is not None:
        table = check_table(directory.spec, table, "the categories table")
        if table_sha256(table) != directory.categories_sha256:
            raise InputError(f"the categories table that is given is not the one of `{out}`")
    plan, chosen = plan_shards(directory.spec), select_shards(directory.spec, split, window)
    with nullcontext() if dry_run else locked(directory.path, plan.index(chosen[0]), len(chosen)):
        categories = _categories_problem(directory)
        _refuse_obstacles(directory, chosen)
        if categories and dry_run:
            return Repaired(directory, (categories,), True, (), (), (), False)
        if categories:
            _restore(directory, table, workers, show)
        found = verify(out, workers=workers, split=split, window=window, rerender=rerender, seed=seed, show=show)
        if not dry_run:
            for path in found.extra:
                path.unlink()
            if chosen == plan:
                directory.sweep(everything=True)
            _make(directory, found.damaged, workers, show)
        damaged = set(found.damaged)
        is_complete = all(shard in damaged or directory.is_done(shard) for shard in plan)
        index = found.is_index_wrong or (bool(damaged) and is_complete)
        if index and not dry_run:
            write_index(directory)
    problems = (*([categories] if categories else []), *found.problems)
    names = tuple(str(path.relative_to(directory.path)) for path in found.strangers)
    return Repaired(directory, problems, bool(categories), found.damaged, found.extra, names, index)
