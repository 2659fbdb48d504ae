"""Processes killed at random moments, a directory that turns read-only, a clock that jumps: the same bytes in the end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.shards.conftest import FDSL, run_fdsl, small_spec, snapshot
from tests.shards.test_faults import (
    PATIENCE_S,
    assert_told,
    baking,
    descendants,
    end_all,
    file,
    n_done,
    slow,
    undisturbed,
    wait_for,
    workers_of,
)

__all__ = ["file", "slow", "undisturbed"]

N_KILLS = 32


def final(out: Path) -> dict[str, str]:
    """What stands under a final name; folders that stand there, too."""
    if not out.exists():
        return {}
    return {name: content for name, content in snapshot(out).items() if not Path(name).name.startswith(".")}


def kill_once(file: Path, out: Path, rng: random.Random) -> str:
    """Bake, and kill the command or one of its workers after a while; return which, or that the bake was done before."""
    with baking(file, out) as process:
        time.sleep(rng.uniform(0.1, 2.2))
        family, workers = descendants(process.pid), workers_of(process.pid)
        victim = rng.choice(workers) if workers and rng.random() < 0.5 else process.pid
        if process.poll() is None:
            os.kill(victim, signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
        if victim == process.pid:
            end_all({pid for pid in family if rng.random() < 0.5})  # the others see for themselves that it is dead
    if process.returncode == 0:
        return "done"
    assert process.returncode == (-signal.SIGKILL if victim == process.pid else 1)
    return "command" if victim == process.pid else "worker"


def test_killed_at_random_moments_nothing_half_written_is_ever_seen_and_nothing_is_lost(
    file: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    rng, killed = random.Random(2022), {"command": 0, "worker": 0, "done": 0}
    out, there = tmp_path / "out", dict[str, str]()
    while (kills := killed["command"] + killed["worker"]) < N_KILLS or (
        min(killed["command"], killed["worker"]) < N_KILLS // 4 and kills < 4 * N_KILLS
    ):  # a machine with other work starts its workers late
        killed[kill_once(file, out, rng)] += 1
        before, there = there, final(out)
        assert before.items() <= there.items() <= undisturbed.items()
        if len(there) == len(undisturbed):
            shutil.rmtree(out)
            there = {}
    assert min(killed["command"], killed["worker"]) >= N_KILLS // 4, killed
    done = run_fdsl("bake", file, "-o", out, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert snapshot(out) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_repair_that_is_cut_off_is_gone_on_with(
    number: int, file: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    out = tmp_path / "out"
    assert run_fdsl("bake", file, "-o", out).returncode == 0
    for path in sorted(out.glob("*.tar"))[4:]:
        os.truncate(path, 100)
    with subprocess.Popen([FDSL, "repair", out, "--workers", "2"], stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: 5 <= n_done(out) < 30, process)
        process.send_signal(number)
        said = process.communicate(timeout=PATIENCE_S)[1]
    if number == signal.SIGTERM:
        assert said.splitlines()[-1] == "fdsl: terminated; the shards that are whole stay, and the same command goes on"
    assert n_done(out) < 32
    assert run_fdsl("repair", out).returncode == 0
    assert snapshot(out) == undisturbed


def freeze(out: Path, how: bool) -> bool:
    """Forbid, or allow again, that anything in a dataset's folders is made, renamed or removed; False if that fails."""
    folders = [out, out / "samples", out / "receipts"]
    if os.geteuid() != 0:
        for folder in folders:
            folder.chmod(0o555 if how else 0o755)
        return True
    if shutil.which("chattr") is None:
        return False
    command = ["chattr", "+i" if how else "-i", *folders]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("n", [2, 9])
def test_a_directory_that_turns_read_only_is_told_and_then_the_same_command_completes(
    n: int, file: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    out = tmp_path / "out"
    try:
        with baking(file, out) as process:
            wait_for(lambda: n_done(out) >= n, process)
            if not freeze(out, True):
                pytest.skip("root may write anywhere, and chattr does not work on this file system")
            said = process.communicate(timeout=PATIENCE_S)
        assert_told(subprocess.CompletedProcess([], process.returncode, *said), "ermi")  # not permitted, or denied
        there = final(out)
        assert n <= n_done(out) < 32
        assert there.items() < undisturbed.items()
    finally:
        freeze(out, False)
    assert run_fdsl("bake", file, "-o", out, "--workers", "2").returncode == 0
    assert snapshot(out) == undisturbed


JUMPY = """
import random, time
def jumpy(clock, jumps):
    return lambda: clock() + random.choice(jumps)
time.time = jumpy(time.time, [-1e9, -3600.0, 0.0, 3600.0, 1e9])
time.time_ns = jumpy(time.time_ns, [-10**18, 0, 10**18])
time.perf_counter = jumpy(time.perf_counter, [-1e6, 0.0, 1e6])
time.monotonic = jumpy(time.monotonic, [-1e6, 0.0, 1e6])
from cli import main
main()
"""


@pytest.mark.parametrize("family", ["exfractal", "rcdb"])
def test_a_clock_that_jumps_changes_nothing(family: str, tmp_path: Path) -> None:
    spec, path = small_spec(family), tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec.to_mapping()))
    assert run_fdsl("bake", path, "-o", tmp_path / "steady").returncode == 0
    for arguments in (
        ["bake", path, "-o", tmp_path / "jumpy", "--workers", "1"],
        ["verify", tmp_path / "jumpy", "--workers", "1"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", JUMPY, *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert snapshot(tmp_path / "jumpy") == snapshot(tmp_path / "steady")
