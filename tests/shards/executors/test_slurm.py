"""The script of `fdsl slurm`, run with an sbatch that writes down its arguments."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fdsl import InputError
from shards.executors.slurm import SlurmBake, array_indices, submit

ODD = "a 'b' \"c\" $HOME `x` \\ *\nEND\n"
"""A name that a shell would change if it were not quoted."""

BAKE = SlurmBake(
    command=("/bin/echo",), name="rcdb-1k", spec="rcdb-1k", out="/data/r", n_parts=60, n_workers=4, n_rounds=3
)  # fmt: skip

SBATCH = f"""#!{sys.executable}
import json, sys
with open("calls", "a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
print("7;cluster" if "--parsable" in sys.argv else "Submitted batch job 8")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, where an sbatch that submits nothing is the one of PATH."""
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(SBATCH)
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def calls(folder: Path, script: str) -> list[list[str]]:
    """The arguments of each sbatch of a script."""
    submit(script)
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def run_wrapped(arguments: list[str], **variables: str) -> str:
    """Run a job's command as Slurm does; return what it prints."""
    (command,) = (word.removeprefix("--wrap=") for word in arguments if word.startswith("--wrap="))
    return subprocess.run(["sh", "-c", command], env=variables, capture_output=True, text=True, check=True).stdout


def test_array_bakes_parts_and_a_job_follows(folder: Path) -> None:
    array, following = calls(folder, BAKE.script([3, 17, 42, 43, 44]))
    assert array[:-1] == [
        "--parsable", "--job-name=rcdb-1k", "--cpus-per-task=4", "--requeue", "--open-mode=append",
        "--output=slurm-rcdb-1k/%A_%a.log", "--array=3,17,42-44",
    ]  # fmt: skip
    assert following[:-1] == [
        "--job-name=rcdb-1k-next", "--open-mode=append", "--output=slurm-rcdb-1k/next-%j.log", "--dependency=afterany:7",
    ]  # fmt: skip
    assert (folder / "slurm-rcdb-1k").is_dir()
    task = run_wrapped(array, SLURM_ARRAY_TASK_ID="17", SLURM_CPUS_PER_TASK="4")
    assert task == "bake rcdb-1k -o /data/r --part 17/60 --workers 4\n"
    assert run_wrapped(following) == "slurm rcdb-1k -o /data/r --parts 60 --workers 4 --rounds 2 --submit\n"


def test_options_reach_both_jobs_and_all_that_follow(folder: Path) -> None:
    options = ("-p", "main", "--cpus-per-task=8")
    array, following = calls(folder, replace(BAKE, options=options).script([1]))
    for arguments in (array, following):
        assert shlex.join(options) in shlex.join(arguments)
    assert array.index("--cpus-per-task=8") > array.index("--cpus-per-task=4")  # sbatch takes the last
    assert run_wrapped(following).endswith(" --submit -- -p main --cpus-per-task=8\n")


def test_odd_names_pass_the_shells(folder: Path) -> None:
    bake = replace(BAKE, command=("/usr/bin/printf", "%s|"), spec=ODD, out=ODD, options=(f"--comment={ODD}",))
    array, following = calls(folder, bake.script([1]))
    assert f"--comment={ODD}" in array
    assert f"--comment={ODD}" in following
    task = run_wrapped(array, SLURM_ARRAY_TASK_ID="1", SLURM_CPUS_PER_TASK="4")
    assert task.split("|")[:-1] == ["bake", ODD, "-o", ODD, "--part", "1/60", "--workers", "4"]
    assert run_wrapped(following).split("|")[1:4] == [ODD, "-o", ODD]


def test_without_parts_the_index_is_written(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    submit(BAKE.script([]))
    assert capfd.readouterr().out == "bake rcdb-1k -o /data/r --workers 4\n"
    assert not (folder / "calls").exists()


@pytest.mark.parametrize("option", ["--array=1", "-a1", "--dependency=singleton", "-d"])
def test_options_of_the_script_are_refused(option: str) -> None:
    with pytest.raises(InputError, match=f"`{option}` of sbatch is set by `fdsl slurm`"):
        replace(BAKE, options=("--time=1", option))


@pytest.mark.parametrize(
    ("numbers", "text"), [([5], "5"), ([1, 2], "1-2"), ([1, 3], "1,3"), ([1, 2, 3, 7, 9, 10], "1-3,7,9-10")]
)
def test_runs_of_indices_are_joined(numbers: list[int], text: str) -> None:
    assert array_indices(numbers) == text


def test_missing_sbatch_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(InputError, match="--submit needs sbatch, which is not installed here"):
        submit(BAKE.script([1]))


@pytest.mark.parametrize(("refused", "n_calls", "cancelled"), [("--parsable", 1, ""), ("--dependency", 2, "7")])
def test_refused_jobs_leave_no_other(refused: str, n_calls: int, cancelled: str, folder: Path) -> None:
    """A limit of jobs may admit the array and not the job that follows it."""
    sbatch, scancel = folder / "bin" / "sbatch", folder / "bin" / "scancel"
    sbatch.write_text(f"{SBATCH}\nif {refused!r} in str(sys.argv):\n    sys.exit('sbatch: error: no')\n")
    scancel.write_text('#!/bin/sh\nprintf %s "$@" > cancelled\n')
    scancel.chmod(0o755)
    (folder / "cancelled").touch()
    with pytest.raises(ChildProcessError, match="exit code 1; the lines above say why"):
        submit(BAKE.script([1]))
    assert len((folder / "calls").read_text().splitlines()) == n_calls
    assert (folder / "cancelled").read_text() == cancelled
