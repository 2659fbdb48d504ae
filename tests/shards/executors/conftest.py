"""A Dask cluster for the tests of a session, and empty ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shards.executors.cluster import ABSENT, IS_INSTALLED, Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler with two workers, for all tests that leave it as it is."""
    yield from running_cluster(tmp_path_factory.mktemp("cluster"), n_workers=2)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler without workers, of one test."""
    yield from running_cluster(tmp_path / "cluster", n_workers=0)


def running_cluster(folder: Path, n_workers: int) -> Iterator[Cluster]:
    """Yield a cluster; stop it at the end."""
    if not IS_INSTALLED:
        pytest.skip(ABSENT)
    cluster = Cluster(folder)
    try:
        cluster.start_scheduler()
        for _ in range(n_workers):
            cluster.start_worker()
        yield cluster
    finally:
        cluster.stop()
