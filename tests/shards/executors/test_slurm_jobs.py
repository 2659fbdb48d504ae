"""Bakes by a real Slurm: the script as printed, a killed task, a lost node, and a shard that always fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fdsl import bake, load_spec
from tests.processes import wait_for
from tests.shards.conftest import FDSL, SERIAL, small_mapping, snapshot
from tests.slurm import Slurm, running_slurm

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]

COMMAND = f"""#!{sys.executable} -P
import os, pathlib, signal
from cli import main
from shards import baking

folder, pack = pathlib.Path(__file__).parent, baking._pack_images

def disturbed(dataset, names, tar):
    variants = pack(dataset, names, tar)
    try:
        (folder / "first").mkdir()
    except FileExistsError:
        return variants
    (folder / "node").write_text(os.environ["SLURMD_NODENAME"])
    DISTURBANCE

if os.environ.get("SLURM_ARRAY_TASK_ID") == "2":
    baking._pack_images = disturbed
main()
"""
"""`fdsl`, of which part 2 is disturbed, once, when its shard is nearly whole."""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A Slurm with two nodes."""
    yield from running_slurm(tmp_path_factory.mktemp("slurm"))


class Place:
    """A folder with a spec of four shards, where a user of Slurm works."""

    def __init__(self, folder: Path, slurm: Slurm) -> None:
        self.folder, self.slurm = folder, slurm
        mapping = small_mapping("rcdb", name="small", categories=2, shards={"samples": 8})
        (folder / "small.yaml").write_text(yaml.safe_dump(mapping))
        self.out = folder / "out"

    def run(self, *command: str | Path, script: str | None = None) -> str:
        """Run a command on a login node; return what it prints."""
        environment = {**os.environ, **self.slurm.environment, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, input=script, env=environment, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def command(self, disturbance: str) -> Path:
        """Return a command `fdsl` of which a part is disturbed."""
        path = self.folder / "bin" / "fdsl"
        path.parent.mkdir()
        path.write_text(COMMAND.replace("DISTURBANCE", disturbance))
        path.chmod(0o755)
        return path

    def logs(self, pattern: str) -> list[str]:
        """Return the texts of log files, in the order of the jobs."""
        paths = (self.folder / "slurm-small").glob(pattern)
        return [path.read_text() for path in sorted(paths, key=lambda path: (len(path.name), path.name))]

    def n_tasks(self, part: int) -> int:
        """Return how many arrays had a part."""
        return len(self.logs(f"*_{part}.log"))

    def is_whole(self) -> bool:
        """Return whether the files are those of a bake in one process."""
        bake(load_spec(self.folder / "small.yaml"), self.folder / "local", executor=SERIAL)
        return snapshot(self.out) == snapshot(self.folder / "local")


@pytest.fixture
def place(tmp_path: Path, slurm: Slurm) -> Place:
    """A new folder."""
    return Place(tmp_path, slurm)


def test_printed_script_bakes_all(place: Place) -> None:
    """The categories are searched once, before the tasks start."""
    script = place.run(FDSL, "slurm", "small.yaml", "-o", "out", "--parts", "4")
    place.run("bash", script=script)
    place.slurm.wait_until_done()
    assert place.is_whole()
    assert [place.n_tasks(part) for part in (1, 2, 3, 4)] == [1, 1, 1, 1]
    assert not any("search" in log for log in place.logs("*"))
    (following,) = place.logs("next-*")
    assert "the dataset is complete" in following


def test_killed_task_is_baked_in_the_next_round(place: Place) -> None:
    command = place.command("os.kill(os.getpid(), signal.SIGKILL)")
    place.run(command, "slurm", "small.yaml", "-o", "out", "--parts", "4", "--submit", "--", "--comment=a b")
    place.slurm.wait_until_done()
    assert place.is_whole()
    assert [place.n_tasks(part) for part in (1, 2, 3, 4)] == [1, 2, 1, 1]


def test_tasks_of_a_lost_node_are_baked_by_another(place: Place) -> None:
    """Slurm itself starts them again, in the same round."""
    command = place.command("signal.pause()")
    place.run(command, "slurm", "small.yaml", "-o", "out", "--parts", "4", "--submit")
    mark = place.folder / "bin" / "node"
    wait_for(lambda: mark.exists() and mark.read_text())
    place.slurm.lose_node(mark.read_text())
    place.slurm.wait_until_done()
    place.slurm.start_node(mark.read_text())
    assert place.is_whole()
    assert [place.n_tasks(part) for part in (1, 2, 3, 4)] == [1, 1, 1, 1]


def test_shard_that_always_fails_ends_the_rounds(place: Place) -> None:
    """A folder stands in the place of its tar."""
    place.run(FDSL, "slurm", "small.yaml", "-o", "out", "--parts", "4", "--rounds", "2")
    (place.out / "train-000001.tar").mkdir()
    place.run(FDSL, "slurm", "small.yaml", "-o", "out", "--parts", "4", "--rounds", "2", "--submit")
    place.slurm.wait_until_done()
    assert [place.n_tasks(part) for part in (1, 2, 3, 4)] == [1, 2, 1, 1]
    assert place.logs("next-*")[-1].splitlines()[-1] == (
        f"fdsl: {place.out}: 1 shard missing and no --rounds left: train-000001; `fdsl status {place.out}` and the log"
        " files say why"
    )
    assert not (place.out / "_info.json").exists()
    assert len(json.loads(place.run(FDSL, "status", "out", "--json"))["missing"]) == 1
