"""How far a bake is, seen from any machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fdsl.dataset.plan import Shard, plan_shards
from fdsl.primitives.errors import InputError
from shards.directory import Directory, open_directory
from shards.layout import INFO, failure_file, receipt_file, shard_files, tar_file
from shards.removed import is_removed, removed_to
from shards.stores.contract import Entry

_WINDOW_S = 600.0
"""Time before the newest receipt over which the rate is measured."""

_MAX_NOTES = 100
"""Notes that are read; reading thousands would take minutes."""

_NOTE_BYTES = 2**16
"""Limit of the size of a note on a failure."""


@dataclass(frozen=True)
class Status:
    """How far a bake is.

    Attributes
    ----------
    name : name of the dataset
    hash : identity of the dataset
    n_shards : number of shards of the plan
    n_images : number of images of the plan
    n_images_done : number of images of the shards that are done
    n_bytes_done : size of their tars that are here
    n_removed : shards that are done, and were removed here after shipping
    removed_to : the place that has them; None if there are none
    missing : names of the shards that are not done
    failures : those of them that failed, by name, with the machine and the reason; the first hundred
    images_per_s : over the last ten minutes before the newest receipt, by all machines; None with fewer than two receipts
    idle_s : seconds since the newest receipt, by this machine's clock; None without receipts
    is_complete : all shards are done and the index is written
    """

    name: str
    hash: str
    n_shards: int
    n_images: int
    n_images_done: int
    n_bytes_done: int
    n_removed: int
    removed_to: str | None
    missing: tuple[str, ...]
    failures: dict[str, str]
    images_per_s: float | None
    idle_s: float | None
    is_complete: bool

    @property
    def seconds_left(self) -> float | None:
        """Time until all images are done.

        None if the rate is unknown.
        """
        return None if not self.images_per_s else (self.n_images - self.n_images_done) / self.images_per_s


def read_status(out: Path | str) -> Status:
    """Return how far the bake of a dataset is.

    Lists the files of its store. Reads no shard and no receipt: `verify` does.

    Parameters
    ----------
    out : a folder, s3://BUCKET/FOLDER or ssh://USER@HOST:PORT/FOLDER

    Raises
    ------
    InputError
        It holds no dataset.
    """
    directory = open_directory(out)
    entries, planned = directory.entries(), plan_shards(directory.spec)
    removed = {shard for shard in planned if is_removed(shard, entries)}
    done = [shard for shard in planned if shard in removed or all(name in entries for name in shard_files(shard))]
    is_done = set(done)
    missing = [shard for shard in planned if shard not in is_done]
    times = [entries[receipt_file(shard)].modified for shard in done]
    return Status(
        name=directory.spec.name,
        hash=directory.dataset.hash,
        n_shards=len(planned),
        n_images=sum(shard.n_samples for shard in planned),
        n_images_done=sum(shard.n_samples for shard in done),
        n_bytes_done=sum(entries[tar_file(shard)].n_bytes or 0 for shard in is_done - removed),
        n_removed=len(removed),
        removed_to=removed_to(directory.store) if removed else None,
        missing=tuple(shard.name for shard in missing),
        failures=_failures(directory, missing, entries),
        images_per_s=_rate(done, times),
        idle_s=max(0.0, time.time() - max(times)) if times else None,
        is_complete=not missing and INFO in entries,
    )


def _rate(shards: Sequence[Shard], times: Sequence[float]) -> float | None:
    """Return images per second over the last window."""
    recent = sorted(
        (at, shard.n_samples) for at, shard in zip(times, shards, strict=True) if at >= max(times) - _WINDOW_S
    )
    if len(recent) < 2 or recent[-1][0] == recent[0][0]:
        return None
    return sum(n_images for _, n_images in recent[1:]) / (recent[-1][0] - recent[0][0])


def _failures(directory: Directory, missing: Sequence[Shard], entries: dict[str, Entry]) -> dict[str, str]:
    """Return why shards failed, by name."""
    failed = [shard for shard in missing if failure_file(shard) in entries]
    reasons = {}
    for shard in failed[:_MAX_NOTES]:
        with suppress(FileNotFoundError):  # baked meanwhile
            try:
                content = directory.store.read(failure_file(shard), _NOTE_BYTES)
            except InputError as error:
                content = str(error).encode()
            reasons[shard.name] = content.decode(errors="replace").strip()
    return reasons
