"""Processes killed again and again, a directory that turns read-only, a clock that jumps: the same bytes in the end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fdsl import Spec
from tests.commands import error_line, succeeded
from tests.processes import PATIENCE_S, EndedEarly, descendants, kill_all, running, wait_for, workers_of
from tests.shards.conftest import snapshot
from tests.shards.interruptions import (
    MAX_TRIES,
    N_SHARDS,
    Interrupted,
    Moment,
    finished,
    interrupt,
    interrupted_bake,
    n_receipts,
    shard_is_written,
    shards_done,
    started,
    workers_exist,
    workers_import,
)
from tests.shards.test_faults import assert_ends_with

pytestmark = pytest.mark.slow

N_KILLS = 8
"""Kills of the command, and kills of a worker, at least."""


def lock_exists(process: subprocess.Popen[str], out: Path) -> bool:
    """Return whether the bake has begun."""
    return (out / ".bake.lock").exists()


def kill_some(file: Path, out: Path, rng: random.Random, n_killed: dict[str, int]) -> None:
    """Bake; kill a worker, then the command, each at a random moment. Count the kills."""
    n_done = n_receipts(out)
    moments: list[Moment] = [workers_import, workers_exist, shard_is_written]
    moments += [shards_done(min(n_done + n, N_SHARDS)) for n in (1, 2, 5)]
    first, second = rng.choice([lock_exists, *moments]), rng.choice(moments)
    with started("bake", file, "-o", out) as process:
        try:
            wait_for(lambda: first(process, out), process)
            if workers := workers_of(process.pid):
                os.kill(rng.choice(workers), signal.SIGKILL)
                n_killed["worker"] += 1
                wait_for(lambda: set(workers_of(process.pid)) - set(workers), process)
                wait_for(lambda: second(process, out), process)
        except (EndedEarly, ProcessLookupError):
            assert process.wait(timeout=PATIENCE_S) == 0, process.communicate()
            return
        process.send_signal(signal.SIGSTOP)  # starts no more processes
        processes = descendants(process.pid)
        process.kill()
        n_killed["command"] += process.wait(timeout=PATIENCE_S) == -signal.SIGKILL
        if rng.random() < 0.5:
            kill_all(processes)
        wait_for(lambda: not processes & set(running()))


def test_killed_processes_lose_nothing(slow_file: Path, slow_whole: dict[str, str], tmp_path: Path) -> None:
    """Nothing half-written ever has a final name, and a finished file stays."""
    rng, n_killed = random.Random(2022), {"command": 0, "worker": 0}
    out, kept = tmp_path / "out", dict[str, str]()
    while min(n_killed.values()) < N_KILLS:
        kill_some(slow_file, out, rng, n_killed)
        before, kept = kept, finished(out)
        assert before.items() <= kept.items() <= slow_whole.items()
        if len(kept) == len(slow_whole):
            shutil.rmtree(out)
            kept = {}
    succeeded("bake", slow_file, "-o", out, "--workers", 2)
    assert snapshot(out) == slow_whole


def interrupted_repair(out: Path, number: int) -> Interrupted:
    """Damage all shards but four, and send a signal to their repair. One that completes is followed by another."""
    for _ in range(MAX_TRIES):
        for path in sorted(out.glob("*.tar"))[4:]:
            os.truncate(path, 100)
        with started("repair", out) as process:
            outcome = interrupt(
                process, lambda: 5 <= n_receipts(out) < N_SHARDS - 2, lambda process: process.send_signal(number)
            )
        if outcome is not None and n_receipts(out) < N_SHARDS:
            return outcome
    pytest.fail(f"{MAX_TRIES} repairs completed although they were interrupted")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_interrupted_repair_resumes(number: int, slow_baked: Path, slow_whole: dict[str, str], tmp_path: Path) -> None:
    out = Path(shutil.copytree(slow_baked, tmp_path / "out"))
    outcome = interrupted_repair(out, number)
    wait_for(lambda: not outcome.processes & set(running()))
    if number == signal.SIGTERM:
        message = "fdsl: terminated; finished shards are kept; run the same command again to resume"
        assert error_line(outcome.stderr) == message
    succeeded("repair", out, "--workers", 2)
    assert snapshot(out) == slow_whole


def freeze(out: Path) -> None:
    """Forbid to create, rename or delete anything in a dataset's folders. Skips the test if that is impossible."""
    folders = [out, out / "samples", out / "receipts"]
    if os.geteuid() != 0:
        for folder in folders:
            folder.chmod(0o555)
        return
    command = ["chattr", "+i", *folders]
    if shutil.which("chattr") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("root may write anywhere, and chattr does not work on this file system")


def thaw(out: Path) -> None:
    """Undo `freeze`."""
    folders = [folder for folder in (out, out / "samples", out / "receipts") if folder.exists()]
    if os.geteuid() != 0:
        for folder in folders:
            folder.chmod(0o755)
    elif shutil.which("chattr") is not None:
        subprocess.run(["chattr", "-i", *folders], capture_output=True, check=False)


def test_directory_turned_read_only_is_one_line(slow_file: Path, slow_whole: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    try:
        outcome = interrupted_bake(slow_file, out, shards_done(2), lambda process: freeze(out))
        done = subprocess.CompletedProcess([], outcome.status, outcome.stdout, outcome.stderr)
        assert_ends_with(done, "ermi")  # "not permitted" or "Permission denied"
        assert 2 <= n_receipts(out) < N_SHARDS
        assert finished(out).items() < slow_whole.items()
    finally:
        thaw(out)
    succeeded("bake", slow_file, "-o", out, "--workers", 2)
    assert snapshot(out) == slow_whole


JUMPING_CLOCK = """
import itertools, sys, time
def jumping(clock, jumps):
    sizes = itertools.cycle(jumps)
    return lambda: clock() + next(sizes)
time.time = jumping(time.time, [-1e9, 0.0, 3600.0, 1e9, -3600.0])  # the other clocks never jump, by their definition
time.time_ns = jumping(time.time_ns, [-10**18, 0, 10**18])
import cli
for arguments in (["bake", sys.argv[1], "-o", sys.argv[2]], ["verify", sys.argv[2]]):
    cli.fdsl([*arguments, "--workers", "1"], standalone_mode=False)
"""


def test_jumping_clock_changes_nothing(spec: Spec, baked: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "spec.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(spec.to_mapping()))
    command = [sys.executable, "-c", JUMPING_CLOCK, file, out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert "75 images in 12 shards are correct" in done.stdout
    assert snapshot(out) == snapshot(baked)
