"""Memory of a loader worker does not grow with the dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from trainer.batches import Batches
from trainer.data import Rendered, loader
from trainer.images import TrainTransform
from trainer.recipe import Recipe

fdsl: Any = pytest.importorskip("fdsl", reason="the toolkit is not installed here")

MOST = 300 << 20
"""Bytes of a worker of its own and its part of shared ones."""


def used(worker: psutil.Process) -> int:
    """Return a process's proportional share of memory, bytes."""
    found: int = worker.memory_full_info().pss
    return found


@pytest.mark.slow
def test_worker_of_21_million_images_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And does not grow from batch to batch."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    others = set(psutil.Process().children())
    images = Rendered(fdsl.open("rcdb-21k"), "rcdb-21k", TrainTransform(Recipe()), 0)
    batches = loader(images, Batches(images.n, 32, seed=1, repeats=3), 1, pin=False)
    (worker,) = set(psutil.Process().children()) - others
    next(batches), next(batches)
    before = used(worker)
    for _ in range(6):
        next(batches)
    assert images.n == 21_000_000
    assert before < MOST
    assert used(worker) < before + (16 << 20)
