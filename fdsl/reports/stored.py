"""What the files of a baked directory tell about all its images."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fdsl.dataset.plan import Shard, plan_shards
from fdsl.primitives.errors import InputError
from fdsl.reports.histogram import Histogram
from fdsl.reports.sample import parameter_histograms
from shards.directory import N_READERS, Directory
from shards.events import Advanced, Finished, Listener, Started, ignore
from shards.layout import receipt_file, shard_files, tar_file
from shards.removed import is_removed, removed_to
from shards.samples import read_samples

Floats = npt.NDArray[np.float64]

_MAX_INTERVALS = 48


@dataclass(frozen=True, eq=False)
class Rates:
    """Images per second over the time of a bake.

    Attributes
    ----------
    edges : float64 (intervals + 1,), s; borders of equal intervals, from the first receipt on
    images_per_s : float64 (intervals,)
    """

    edges: Floats
    images_per_s: Floats


@dataclass(frozen=True, eq=False)
class Stored:
    """What the files of a baked directory tell.

    Attributes
    ----------
    n_shards : number of shards of the plan
    n_done : number of shards that are baked
    n_images_done : number of their images
    tar_bytes : size of their tars, by split
    rates : from the times at which the receipts were stored; None with fewer than two times
    parameters : of all their images, by name
    """

    n_shards: int
    n_done: int
    n_images_done: int
    tar_bytes: dict[str, Histogram]
    rates: Rates | None
    parameters: dict[str, Histogram]


def read_stored(directory: Directory, listener: Listener = ignore) -> Stored:
    """Read the samples tables of all baked shards.

    A few are read at a time.

    Lists the files of the store. Reads no tar and no receipt.

    Raises
    ------
    InputError
        A samples table is damaged, or shards were removed after shipping.
    """
    entries, planned = directory.entries(), plan_shards(directory.spec)
    if n_removed := sum(is_removed(shard, entries) for shard in planned):
        place = removed_to(directory.store)
        raise InputError(
            f"`{directory.store.url}` has {n_removed:,} shards only at {place}; `fdsl report {shlex.quote(place)}` reads them"
        )
    done = [shard for shard in planned if all(name in entries for name in shard_files(shard))]
    tar_bytes: dict[str, Histogram] = {}
    parameters = parameter_histograms(directory.dataset)
    listener(Started("read", directory.spec.name, "shards", len(done)))
    for shard, table in _tables(directory, done):
        tar_bytes.setdefault(shard.split, Histogram(is_whole=True)).add(entries[tar_file(shard)].n_bytes or 0)
        for name, histogram in parameters.items():
            histogram.add(table.column(name).to_numpy())
        listener(Advanced(1, shard.name))
    listener(Finished("read"))
    times = [entries[receipt_file(shard)].modified for shard in done]
    n_images = sum(shard.n_samples for shard in done)
    return Stored(len(planned), len(done), n_images, tar_bytes, bake_rates(done, times), parameters)


def _tables(directory: Directory, shards: Sequence[Shard]) -> Iterator[tuple[Shard, pa.Table]]:
    """Yield the samples table of each shard, in order.

    Reads several at a time, since a remote store takes long to answer.
    """
    with ThreadPoolExecutor(N_READERS) as pool:
        for start in range(0, len(shards), N_READERS):  # no more are held than these
            some = shards[start : start + N_READERS]
            yield from zip(some, pool.map(partial(read_samples, directory), some), strict=True)


def bake_rates(shards: Sequence[Shard], times: Sequence[float]) -> Rates | None:
    """Return images per second over time; None with fewer than two times.

    A shard's images count at the time of its receipt. Those of the first receipt count not at all: they were made before.

    Parameters
    ----------
    times : when each shard's receipt was stored, s
    """
    if len(set(times)) < 2:
        return None
    at, n_images = np.array(times) - min(times), np.array([shard.n_samples for shard in shards])
    later = at > 0
    n_intervals = min(_MAX_INTERVALS, max(1, int(later.sum()) // 2))
    counts, edges = np.histogram(at[later], n_intervals, (0.0, float(at.max())), weights=n_images[later])
    return Rates(edges, counts / np.diff(edges))
