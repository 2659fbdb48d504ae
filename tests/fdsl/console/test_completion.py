"""What a shell completes, and the lines that switch it on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

import cli
from tests.commands import succeeded
from tests.shards.conftest import FDSL

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("ver", ["verify"]),
        ("bake exfractaldb-", ["file", "exfractaldb-1k", "exfractaldb-21k"]),
        ("sample rcdb-2", ["file", "rcdb-21k"]),
        ("bake mine", ["file"]),
        ("presets rcdb-1", ["rcdb-1k"]),
        ("verify da", ["file"]),
        ("ladder list transfer-", ["transfer-gpu"]),
        ("ladder run transfer-", ["file", "transfer-gpu"]),
        ("bake rcdb-1k --exec", ["--executor"]),
        ("bake rcdb-1k --split tr", ["train"]),
    ],
)
def test_words_are_completed(words: str, offered: list[str]) -> None:
    *before, typed = words.split()
    items = BashComplete(cli.fdsl, {}, "fdsl", "_FDSL_COMPLETE").get_completions(before, typed)
    assert [item.value if item.type == "plain" else item.type for item in items] == offered


# Bash allows `compopt` only while it completes.
ASK = {
    "bash": "compopt() { :; }; COMP_WORDS=(fdsl bake rcdb-2) COMP_CWORD=2; _fdsl_completion fdsl; echo ${COMPREPLY[@]}",
    "zsh": "echo $_comps[fdsl]",
    "fish": "complete --do-complete 'fdsl bake rcdb-2'",
}
ANSWER = {"bash": "rcdb-21k\n", "zsh": "_fdsl_completion\n", "fish": "rcdb-21k\n"}


@pytest.mark.slow
@pytest.mark.parametrize("shell", ASK)
def test_documented_line_completes(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    monkeypatch.setenv("PATH", str(FDSL.parent), prepend=":")
    monkeypatch.setenv("HOME", str(tmp_path))
    (line,) = re.findall(rf"^(.*_FDSL_COMPLETE={shell}_source.*?) +#", PAGE.read_text(), re.MULTILINE)
    start = "autoload -Uz compinit; compinit -D\n" if shell == "zsh" else ""
    done = subprocess.run(
        [shell, "-c", f"{start}{line}\n{ASK[shell]}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == ANSWER[shell], done.stderr


@pytest.mark.parametrize("name", sorted(cli.fdsl.commands))
def test_help_fits_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert [line for line in succeeded(name, "-h").splitlines() if len(line) > 80] == []
