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

from tests.trainer.runs import FINETUNE, LITTLE, PRETRAIN, START, command, curve, run


def start(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(START), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def started(program: Path) -> subprocess.Popen[str]:
    """Start a program that says when it is here, and wait for that."""
    process = subprocess.Popen(
        [sys.executable, str(START), "--standalone", str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "here\n"
    return process


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
    assert "address already in use; give another --master-port, or --standalone on one machine" in line


MEMORY = "SIGKILL, as systems do when memory is short; the same command with --resume goes on"


@pytest.mark.parametrize(("number", "told"), [(9, MEMORY), (11, "SIGSEGV"), (40, "signal 40")])
def test_a_process_that_is_killed_is_one_line(number: int, told: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"import os, time\nif os.environ['RANK'] == '1': os.kill(os.getpid(), {number})\ntime.sleep(60)\n"
    )
    done = start("--standalone", "--nproc-per-node", 2, program)
    assert (done.returncode, done.stderr) == (1, f"start: process 1 was ended by {told}\n")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--nproc-per-node x", "the processes cannot be started: Unsupported nproc_per_node value: x; --help says"),
        ("--nproc-per-node 0", "the processes cannot be started: "),
        ("nowhere.py", "the processes cannot be started: `nowhere.py` does not exist; --help says"),
        ("--no-python nosuchcommand", "the processes cannot be started: [Errno 2] No such file or directory: "),
        (
            "--nnodes 2 --rdzv-backend c10d --rdzv-endpoint localhost:0 --rdzv-conf"
            " timeout=3,join_timeout=3,last_call_timeout=1",
            "the processes cannot meet: RendezvousTimeoutError; --master-addr",
        ),
    ],
)
def test_what_cannot_be_started_is_one_line(options: str, told: str) -> None:
    done = start(*options.split(), PRETRAIN)
    assert done.returncode == 1
    *before, line = done.stderr.splitlines()
    assert before == ["start: 2 machines meet at localhost:0"] * ("--nnodes" in options)
    assert line.startswith(f"start: {told}")


@pytest.mark.parametrize("level", [None, "FATAL", "INFO"])
def test_processes_end_as_they_did_and_have_their_surroundings(level: str | None, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import os, sys\nprint(os.environ.get('TORCH_CPP_LOG_LEVEL'))\nsys.exit(3)\n")
    done = subprocess.run(
        [sys.executable, str(START), "--standalone", str(program)],
        env={**os.environ, **({"TORCH_CPP_LOG_LEVEL": level} if level else {})},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, f"{level}\n")


def test_sigterm_ends_it_with_no_word_of_its_own(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    process = started(program)
    time.sleep(0.5)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (128 + signal.SIGTERM, "")


@pytest.mark.parametrize("program", [PRETRAIN, FINETUNE, START])
def test_ctrl_c_while_torch_is_imported_ends_it_in_silence(program: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(program), "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == -signal.SIGINT


def test_whoever_presses_ctrl_c_again_and_again_waits_for_what_is_saved(tmp_path: Path) -> None:
    """torch ends at the third signal, and leaves its processes behind."""
    program = tmp_path / "program.py"
    program.write_text(
        "import signal, time\n"
        "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, lambda *_: None)\n"
        "print('here', flush=True)\nend = time.monotonic() + 4\n"
        "while time.monotonic() < end: time.sleep(0.1)\nprint('saved', flush=True)\n"
    )
    process = started(program)
    for _ in range(4):
        time.sleep(0.4)
        process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 128 + signal.SIGINT
    assert process.communicate() == ("saved\n", "")


def test_a_launcher_whose_process_ends_says_that_another_machine_may_say_why(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys\nsys.exit(3)\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ["--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", str(port)]
    machines = [
        subprocess.Popen(
            [sys.executable, str(START), *place, "--node-rank", str(rank), str(program)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank, machine in enumerate(machines):
        _, said = machine.communicate(timeout=120)
        assert (machine.returncode, said.splitlines()) == (3, [
            f"start: 2 machines meet at 127.0.0.1:{port}",
            f"start: process {rank} ended with status 3; if it does not say why, one on another machine does",
        ])  # fmt: skip


def test_torchrun_starts_the_same(small: Path, tmp_path: Path) -> None:
    arguments = ["--data", small, *LITTLE, "--epochs", "1"]
    assert run(*arguments, "--out", tmp_path / "start", processes=2).returncode == 0
    started = command(*arguments, "--out", tmp_path / "torchrun", processes=2)
    torchrun = [sys.executable, "-m", "torch.distributed.run", *started[2:]]
    subprocess.run(torchrun, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120, check=True)
    assert curve(tmp_path / "torchrun") == curve(tmp_path / "start")
