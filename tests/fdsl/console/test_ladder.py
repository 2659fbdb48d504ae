"""The command `fdsl ladder`, as a user drives it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

import cli
from fdsl.console.ladder import ladder
from fdsl.ladders.ladder import shipped
from tests.commands import refused, succeeded
from tests.fdsl.ladders.conftest import small_mapping, stub, target  # noqa: F401 - fixtures


@pytest.mark.parametrize("name", ladder.commands)
def test_each_has_help_with_working_example(name: str) -> None:
    example = succeeded("ladder", name, "-h").split("Example:\n")[1].strip()
    assert example.startswith(f"fdsl ladder {name} ")
    context = cli.fdsl.commands["ladder"].commands[name].make_context(name, shlex.split(example.split(">")[0])[3:])  # type: ignore[attr-defined]
    assert {context.params.get(key) for key in ("name", "source")} & {None, *shipped()}
    for parameter in ladder.commands[name].params:
        assert parameter.param_type_name != "option" or parameter.help  # type: ignore[attr-defined]


def test_shipped_ladders_are_listed_and_printed(tmp_path: Path) -> None:
    assert [line.split()[0] for line in succeeded("ladder", "list").splitlines()] == list(shipped())
    (tmp_path / "copy.yaml").write_text(succeeded("ladder", "list", "transfer"))
    assert (tmp_path / "copy.yaml").read_text() == shipped()["transfer"]
    assert "did you mean `transfer`?" in refused("ladder", "list", "tranfer")


def test_run_and_report(stub: Path, target: Path) -> None:  # noqa: F811
    folder = stub.parent
    (folder / "mine.yaml").write_text(yaml.safe_dump(small_mapping(target)))
    printed = succeeded("ladder", "run", "mine.yaml", "-o", "out", "--workers", 2, cwd=folder)
    assert printed == "out: all runs are finished; next: fdsl ladder report out\n"
    printed = succeeded("ladder", "report", "out", cwd=folder)
    assert "| plain | 40.0 | 55.0 * | +5.0 |\n" in printed
    assert (stub / "report.md").read_text().startswith(printed)


def test_missing_torch_names_the_extra(stub: Path, target: Path) -> None:  # noqa: F811
    (stub.parent / "stub" / "trainer" / "pretrain.py").write_text("import torch_is_missing")
    (stub.parent / "mine.yaml").write_text(yaml.safe_dump(small_mapping(target)))
    message = refused("ladder", "run", "mine.yaml", "-o", "out", cwd=stub.parent)
    assert "No module named 'torch_is_missing'; install fdsl with its extra `train`" in message
