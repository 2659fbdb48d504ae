"""Bakes into a bucket that is simulated, on workers that take no time.

Shows what the command itself costs: the real `fdsl.bake`, with its planner, receipts and index, without rendering.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fdsl import Dataset, Spec, bake, parse_spec, search_categories
from fdsl.dataset.plan import Shard, plan_shards
from shards import baking
from shards.directory import Directory
from shards.executors.contract import Done, Item, Outcomes, Result
from shards.layout import receipt_file, samples_file, shard_files, tar_file
from shards.stores.contract import Entry
from shards.stores.uploading import Uploading

_KEYS_PER_LIST = 1000
"""Names in an answer of S3."""


class SimulatedBucket(Uploading):
    """A bucket in memory.

    The files of some shards are made in advance. They appear when their shard is finished, so that a bake is not charged for
    them.

    Parameters
    ----------
    shards : may be finished, in this order
    dataset_hash : of the dataset that they belong to

    Attributes
    ----------
    requests : number by kind, as `shards.stores.s3` would send them
    n_finished : number of shards whose files are visible
    """

    url = "s3://simulated"

    def __init__(self, shards: Sequence[Shard] = (), dataset_hash: str = "") -> None:
        self.requests: Counter[str] = Counter()
        self.n_finished = 0
        self._files: dict[str, bytes] = {}
        self._later = {
            name: (k, content)
            for k, shard in enumerate(shards)
            for name, content in zip(shard_files(shard), (b"", b"", _receipt(shard, dataset_hash)), strict=True)
        }

    @property
    def n_files(self) -> int:
        """Number of files, finished or not."""
        return len(self._files) + len(self._later)

    def _send(self, name: str, path: Path, sha256: str, exclusive: bool) -> None:
        self.requests["PUT"] += 1
        self.stat(name)
        if exclusive and name in self._files:
            raise FileExistsError
        self._files[name] = path.read_bytes()

    def _content(self, name: str) -> bytes | None:
        k, content = self._later.get(name, (self.n_finished, b""))
        return content if k < self.n_finished else self._files.get(name)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return a file's content; see `Store.read`."""
        self.requests["GET"] += 1
        content = self._content(name)
        if content is None:
            raise FileNotFoundError(name)
        return content

    def open(self, name: str) -> Any:
        """Refuse: a bake reads no shard."""
        raise NotImplementedError

    def stat(self, name: str) -> Entry | None:
        """Return a file's size; see `Store.stat`."""
        self.requests["HEAD"] += 1
        content = self._content(name)
        return None if content is None else Entry(len(content))

    def entries(self, folder: str = "") -> dict[str, Entry]:
        """Return the files of a folder; see `Store.entries`."""
        found = {name: Entry(len(content)) for name, content in self._files.items() if _folder(name) == folder}
        for name, (k, content) in self._later.items():
            if k < self.n_finished and _folder(name) == folder:
                found[name] = Entry(len(content))
        self.requests["LIST"] += max(1, -(-len(found) // _KEYS_PER_LIST))
        return found

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        self.requests["DELETE"] += 1
        self._files.pop(name, None)

    def sweep(self) -> None:
        """Do nothing; see `Store.sweep`."""

    def locate(self, name: str) -> str:
        """Return a file's URL."""
        return f"{self.url}/{name}"

    loader_url = locate


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _receipt(shard: Shard, dataset_hash: str) -> bytes:
    """Return the receipt of a shard whose tar is empty."""
    hashes = {"sha256": 64 * "0", "samples_sha256": 64 * "0", "spec": dataset_hash}
    record = {"shard": tar_file(shard), "split": shard.split, "samples": shard.n_samples, "bytes": 0, **hashes}
    return json.dumps(record).encode()


class InstantExecutor:
    """Finishes each shard of a simulated bucket at once; runs any other task."""

    def __init__(self, bucket: SimulatedBucket) -> None:
        self._bucket = bucket

    def run(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Outcomes[Item, Any]:
        """Yield the outcome of each item; see `Executor.run`."""
        for item in items:
            if isinstance(item, Shard):
                self._bucket.n_finished += 1
                yield Done(item, None)
            else:
                yield Done(item, task(item))


@cache
def dataset_of(n_shards: int, images_per_shard: int) -> Dataset:
    """Return a dataset of 1,000 categories.

    Their number must divide the number of images.
    """
    n_categories = 1000
    spec = parse_spec(
        {
            "name": "simulated",
            "family": "rcdb",
            "categories": n_categories,
            "instances": {"train": n_shards * images_per_shard // n_categories},
            "shards": {"samples": images_per_shard},
        }
    )
    assert len(plan_shards(spec)) == n_shards
    return Dataset(spec, search_categories(spec).table)


@dataclass(frozen=True)
class Cost:
    """What a bake cost its own process, without the workers.

    Attributes
    ----------
    amount : what was measured
    requests : to the bucket, by kind
    n_files : in the bucket at the end
    """

    amount: float
    requests: Counter[str]
    n_files: int


def simulated_bake(dataset: Dataset, measured: Callable[[Callable[[], object]], float]) -> Cost:
    """Bake a dataset; return what a measure says about the command."""
    bucket = SimulatedBucket(plan_shards(dataset.spec), dataset.hash)

    def run() -> None:
        executor = InstantExecutor(bucket)
        done = bake(dataset.spec, bucket.url, categories=dataset.table, executor=executor)
        assert done.n_missing == 0

    with patch.object(baking, "output_store", lambda out: bucket):
        return Cost(measured(run), bucket.requests, bucket.n_files)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def peak_bytes(work: Callable[[], object]) -> float:
    """Return the most memory that is allocated at a time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def n_calls(work: Callable[[], object]) -> float:
    """Count function calls, Python's and C's, in all threads."""
    with _counting() as counts:
        work()
    return sum(counts)


@contextmanager
def _counting() -> Iterator[list[int]]:
    counts: list[int] = []
    here = threading.local()

    def count(frame: object, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            if not hasattr(here, "k"):
                here.k = len(counts)
                counts.append(0)
            counts[here.k] += 1

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        yield counts
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def worker_requests(spec: Spec) -> Counter[str]:
    """Return the requests of a worker that bakes one shard."""
    bucket, shard = SimulatedBucket(), plan_shards(spec)[0]
    baking.bake_shard(Directory(bucket, Dataset(spec, search_categories(spec).table)), shard)
    assert all(bucket.stat(name) for name in (tar_file(shard), samples_file(shard), receipt_file(shard)))
    return bucket.requests - Counter(HEAD=3)
