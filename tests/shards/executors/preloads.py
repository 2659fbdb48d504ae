"""Scripts that Dask workers run first, to make them hold or fail at a known moment."""

from __future__ import annotations

from pathlib import Path

HOLD = """
import os, pathlib, time
from shards import baking

def patch(folder, bake_shard, pack):
    def held(dataset, names, tar):
        variants = pack(dataset, names, tar)
        try:
            (folder / "first").mkdir()
        except FileExistsError:
            return variants
        (folder / f"pid-{os.getpid()}").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
        return variants

    def announced(directory, shard):
        try:
            return bake_shard(directory, shard)
        finally:  # the command deletes unfinished files when it ends, so a late writer may fail
            (folder / f"ended-{os.getpid()}").touch()

    baking._pack_images, baking.bake_shard = held, announced

if baking.bake_shard.__name__ == "bake_shard":  # Dask runs a script twice
    patch(pathlib.Path("FOLDER"), baking.bake_shard, baking._pack_images)
"""
"""Makes a worker hold the first shard, when its hidden file is nearly whole, until `go` exists."""

POISON = """
import os, signal
from shards import baking

def patch(bake_shard):
    def poisoned(directory, shard):
        if shard.name == "train-000003":
            os.kill(os.getpid(), signal.SIGKILL)
        return bake_shard(directory, shard)

    baking.bake_shard = poisoned

if baking.bake_shard.__name__ == "bake_shard":  # Dask runs a script twice
    patch(baking.bake_shard)
"""
"""Makes one shard kill its worker."""

FULL = """
import errno
from shards import baking

def patch(bake_shard):
    def failing(directory, shard):
        if shard.name == "train-000003":
            raise OSError(errno.ENOSPC, "No space left on device")  # names no file, as that of a temporary one
        return bake_shard(directory, shard)

    baking.bake_shard = failing

if baking.bake_shard.__name__ == "bake_shard":  # Dask runs a script twice
    patch(baking.bake_shard)
"""
"""Makes one shard fill the worker's temporary folder."""


def preload(folder: Path, script: str) -> tuple[str, str]:
    """Options of a worker that runs a script first."""
    file = folder / "preload.py"
    file.write_text(script.replace("FOLDER", str(folder)))
    return "--preload", str(file)


def holder(folder: Path) -> int | None:
    """The worker that holds a shard."""
    return next((int(file.name.removeprefix("pid-")) for file in folder.glob("pid-*")), None)
