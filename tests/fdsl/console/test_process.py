"""The command works with closed streams, narrow encodings and foreign variables."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from pathlib import Path

import pytest
import yaml

from fdsl.console.process import own_command
from tests.commands import error_line, fdsl, refused, succeeded
from tests.processes import PATIENCE_S
from tests.shards.conftest import FDSL, run_fdsl, small_mapping, snapshot

ODD = "train-\udcff\n\x1b[31m\u202e中.tar"
"""A byte that is not UTF-8, a line break, an escape sequence, a change of writing direction, and a letter."""

SHOWN = r"train-\udcff\n\x1b[31m\u202e中.tar"


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(small_mapping("rcdb")))
    return path


@pytest.fixture
def out(spec_file: Path) -> Path:
    folder = spec_file.parent / "out"
    succeeded("bake", spec_file, "-o", folder, "--workers", 1)
    return folder


@pytest.mark.parametrize(("name", "words"), [("bin/fdsl", ["fdsl"]), ("no/fdsl", ["-P", "-m", "cli"])])
def test_own_command_starts_from_any_folder(
    name: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "fdsl").symlink_to(FDSL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [name])
    command = own_command()
    assert Path(command[0]).is_absolute()
    assert [Path(command[0]).name, *command[1:]][-len(words) :] == words
    done = subprocess.run([*command, "--version"], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.startswith("fdsl ")


@pytest.mark.parametrize("limit_kib", [0, 1_535_999, 1_536_000, resource.RLIM_INFINITY // 1024])
def test_low_limit_on_address_space_is_refused(limit_kib: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tests/shards/test_machines.py` shows that the least limit that is accepted is enough."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit_kib * 1024, resource.RLIM_INFINITY))
    if limit_kib in (0, 1_535_999):
        assert refused("presets").startswith(f"fdsl: `ulimit -v` (={limit_kib:,}) must be at least 1,536,000: ")
    else:
        succeeded("presets")


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(closed: str, out: Path, spec_file: Path) -> None:
    """A message must not be written into a file that takes the stream's number."""
    again = out.with_name("again")
    for command in (["bake", spec_file, "-o", again, "--workers", "2"], ["verify", again, "--workers", "1"]):
        shell = ["sh", "-c", f'exec "$0" "$@" {closed}', FDSL, *command]
        done = subprocess.run(shell, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stderr
        assert ">&-" in closed or done.stdout
    assert snapshot(again) == snapshot(out)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict", "utf-8:strict"])
def test_any_encoding_shows_any_name(encoding: str, out: Path) -> None:
    (out / ODD).touch()
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": encoding}
    done = run_fdsl("verify", out, "--workers", "1", env=environment, errors="replace")
    assert done.returncode == 1
    assert done.stdout.startswith("train-\\udcff\\n\\x1b[31m\\u202e")
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_control_characters_are_escaped(out: Path, spec_file: Path) -> None:
    (out / ODD).touch()
    done = fdsl("verify", out, "--workers", 1)
    assert done.stdout == f"{SHOWN}: belongs to no shard of this dataset; loaders that read all tars would read it\n"
    renamed = out.rename(out.with_name("o\x1bx"))
    for command in (["bake", spec_file, "-o", renamed], ["repair", renamed], ["verify", renamed / "deeper"]):
        done = fdsl(*command, "--workers", 1)
        lines = done.stdout.splitlines() + done.stderr.splitlines()
        assert lines
        assert all(line.isprintable() for line in lines), lines
        assert r"o\x1bx" in "".join(lines)


def test_json_has_no_half_characters(out: Path) -> None:
    """Strict parsers refuse the escape of half a surrogate pair."""
    (out / ODD).touch()
    text = fdsl("verify", out, "--workers", 1, "--json").stdout
    (problem,) = json.loads(text)["problems"]
    assert problem["path"] == ODD.replace("\udcff", r"\udcff")
    assert problem["path"].encode()


@pytest.mark.slow
def test_foreign_variables_do_no_harm(out: Path, spec_file: Path) -> None:
    names = ("LOKY_MAX_CPU_COUNT", "LOKY_PICKLER", "LOKY_MAX_DEPTH", "JOBLIB_MULTIPROCESSING", "JOBLIB_START_METHOD")
    again = out.with_name("again")
    environment = {**os.environ, **dict.fromkeys(names, "x")}
    done = run_fdsl("bake", spec_file, "-o", again, "--workers", "2", env=environment)
    assert done.returncode == 0, done.stderr
    assert snapshot(again) == snapshot(out)


def test_full_disk_names_the_stream_or_log(spec_file: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    line = error_line(fdsl("bake", spec_file, "-o", spec_file.with_name("out"), "--log-json", "/dev/full").stderr)
    assert line.startswith("fdsl: `/dev/full`: No space left on device; ")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([FDSL, "presets"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr.startswith("fdsl: `standard output`: No space left on device; ")
