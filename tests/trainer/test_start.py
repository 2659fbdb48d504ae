"""What start.py says, and that torchrun itself starts the same."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.trainer.runs import LITTLE, PRETRAIN, START, command, curve, run


def start(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(START), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_port_that_is_taken_is_one_line(small: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = start("--nproc-per-node", 2, "--master-port", port, PRETRAIN, "--data", small, "--out", tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("start: the processes cannot meet: ")
    assert f"port: {port}" in line
    assert "address already in use; give another port, or --standalone on one machine" in line


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_is_killed_is_one_line(ending: signal.Signals, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"import os, time\nif os.environ['RANK'] == '1': os.kill(os.getpid(), {ending:d})\ntime.sleep(60)\n"
    )
    done = start("--standalone", "--nproc-per-node", 2, program)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"start: process 1 was ended by {ending.name}; ")
    assert ("too little memory" in line) == (ending == signal.SIGKILL)


def test_sigterm_ends_it_with_no_word_of_its_own(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, str(START), "--standalone", str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "here\n"
    time.sleep(0.5)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (128 + signal.SIGTERM, "")


def test_torchrun_starts_the_same(small: Path, tmp_path: Path) -> None:
    arguments = ["--data", small, *LITTLE, "--epochs", "1"]
    assert run(*arguments, "--out", tmp_path / "start", processes=2).returncode == 0
    started = command(*arguments, "--out", tmp_path / "torchrun", processes=2)
    torchrun = [sys.executable, "-m", "torch.distributed.run", *started[2:]]
    subprocess.run(torchrun, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120, check=True)
    assert curve(tmp_path / "torchrun") == curve(tmp_path / "start")
