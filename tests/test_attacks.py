"""Files that someone else made do no harm. See tests/attacks."""

from __future__ import annotations

import re
import sys

import pytest

from tests.attacks import KINDS, ROOT, Attack, Kind, faults
from tests.attacks.__main__ import main


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_attack_does_no_harm(name: str) -> None:
    assert faults(KINDS[name]) == []


def test_security_page_names_attacks() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    assert f"There are {len(KINDS)} attacks" in page
    first_table = page.split("\n## ")[1]
    cells = re.findall(r"\| ([^|]*) \|$", first_table, re.MULTILINE)
    words = [word for cell in cells for word in re.findall(r"`([^`]*)`", cell) if "/" not in word]
    assert len(words) > 10
    assert [word for word in words if not any(word in name.replace("_", " ") for name in KINDS)] == []


def script(text: str) -> Kind:
    """Return an attack that runs a program."""
    return lambda folder: Attack((sys.executable, "-c", text), "sorry")


HARMFUL = {
    "print('sorry')": "exit code 0",
    "raise ValueError('sorry')": "a traceback",
    "import os; print('sorry', flush=True); os.abort()": "killed by signal 6",
    "import sys; bytes(2**32)": "a traceback",
    "import sys; sys.exit('no')": "it does not say 'sorry'",
    "import sys; sys.exit('sorry' * 1000)": "a last line of 5,000 characters",
    "import sys; open('evil', 'w'); sys.exit('sorry')": "it wrote or deleted files",
    "import sys, os; open(os.path.expanduser('~/evil'), 'w'); sys.exit('sorry')": "it wrote or deleted files",
}


@pytest.mark.parametrize("text", HARMFUL)
def test_harm_is_seen(text: str) -> None:
    assert any(fault.startswith(HARMFUL[text]) for fault in faults(script(text)))


def test_right_refusal_is_no_harm() -> None:
    assert faults(script("import sys; sys.exit('sorry')")) == []


def test_attacks_are_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = {"one_good": script("import sys; sys.exit('sorry')"), "one_bad": script("pass"), "other": script("pass")}
    monkeypatch.setattr("tests.attacks.__main__.KINDS", kinds)
    monkeypatch.setattr("sys.argv", ["attacks", "one"])
    assert main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["one", "good"], ["one", "bad"]]
    assert lines[0].endswith(" no harm")
    assert lines[2] == "2 attacks, 1 with harm"
