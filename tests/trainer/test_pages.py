"""The trainer's commands in the pages take the flags that they show."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from trainer.recipe import FinetuneOptions, Options, parse

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "trainer" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = [
    match
    for page in PAGES
    for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    for match in re.findall(r"-m trainer\.(\w+) ([^'\n#]*(?:'pipe:[^']*'[^'\n#]*)?)", block.replace("\\\n", ""))
]


@pytest.mark.parametrize(("name", "arguments"), COMMANDS)
def test_documented_flags_are_parsed(name: str, arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *shlex.split(arguments)])
    parse(FinetuneOptions if name == "finetune" else Options, name, "")
