"""Memory of a loader worker does not grow with the dataset."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.conftest import ROOT

pytest.importorskip("fdsl", reason="the toolkit is not installed here")

MOST = 300 << 20
"""Bytes of a worker of its own and its part of shared ones."""

MEASURE = """
import json, os, fdsl, psutil, trainer
from trainer.batches import Batches
from trainer.data import Rendered, loader
from trainer.images import TrainTransform
from trainer.recipe import Recipe
images = Rendered(fdsl.open("rcdb-21k"), "rcdb-21k", TrainTransform(Recipe()), 0)
batches = loader(images, Batches(images.n, 32, seed=1, repeats=3), 1, pin=False)
(worker,) = psutil.Process().children()
used = []
for _ in range(8):
    next(batches)
    used.append(worker.memory_full_info().pss)
print(json.dumps([images.n, *used]), flush=True)
os.kill(worker.pid, 9), os._exit(0)  # workers ignore signals
"""


@pytest.mark.slow
def test_worker_of_21_million_images_is_small(tmp_path: Path) -> None:
    """In a process of its own: a worker shares the memory of what the process before it has loaded."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    n_images, _, warm, *used = json.loads(done.stdout)
    assert n_images == 21_000_000
    assert max(warm, *used) < MOST
    assert max(used) < warm + (16 << 20)
