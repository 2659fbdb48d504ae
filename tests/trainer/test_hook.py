"""Training straight from the formula, by `--data MODULE:ARGUMENT`, is training from its shards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.runs import FULL, LITTLE, assert_one_line, curve, records, train
from tests.trainer.test_pretrain import assert_same

fdsl: Any = pytest.importorskip("fdsl", reason="the toolkit is not installed here")

SPEC = """name: tiny
family: {family}
categories: 4
instances: {{train: 12, validation: 3}}
image: {{size: 40}}
"""


class Here:
    """Executor that works in this process."""

    def run(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        yield from (fdsl.Done(item, task(item)) for item in items)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache and the working directory out of the tests; import modules of that directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["exfractal", "rcdb"])
def test_shards_and_formula_train_alike(family: str, tmp_path: Path) -> None:
    """To the last bit; and a run begun from one goes on from the other."""
    (tmp_path / "tiny.yaml").write_text(SPEC.format(family=family))
    fdsl.bake(fdsl.load_spec(tmp_path / "tiny.yaml"), tmp_path / "shards", executor=Here())
    arguments, formula = ["--epochs", "2", *FULL], ["--data", "fdsl:tiny.yaml"]
    assert train("--data", tmp_path / "shards", *arguments, "--out", tmp_path / "a") == 0
    assert train(*formula, *arguments, "--out", tmp_path / "b") == 0
    assert_same(tmp_path / "b", tmp_path / "a")
    (tmp_path / "c").mkdir()
    shutil.copy(tmp_path / "a" / "epoch-0001.pt", tmp_path / "c" / "last.pt")
    assert train(*formula, *arguments, "--out", tmp_path / "c", "--resume") == 0
    assert records(tmp_path / "c", "validation") == records(tmp_path / "a", "validation")
    assert curve(tmp_path / "c") == curve(tmp_path / "a")[len(curve(tmp_path / "a")) // 2 :]


GREY = """import numpy as np
class Grey(list):
    n_classes, hash = 2, "grey"
def open(argument, split):
    return Grey([(np.full((9, 9), k, dtype=argument), k % 2) for k in range(8)])
"""


def test_hook_is_any_module_with_an_open(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GREY)
    assert train("--data", "mine:uint8", "--epochs", "1", *LITTLE, "--out", tmp_path / "run") == 0
    assert len(curve(tmp_path / "run")) == 1


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        ("nowhere:rcdb-1k", "cannot be opened: No module named 'nowhere'"),
        ("json:rcdb-1k", "cannot be opened: module 'json' has no attribute 'open'"),
        ("io:rcdb-1k", "cannot be opened: 'split' is an invalid keyword argument"),
        ("fdsl:rcdb-1m", "cannot be opened: `spec` (='rcdb-1m') is neither a preset nor a file"),
        ("mine:float32", "cannot be opened: its items must be (uint8 image, label)"),
        ("a/b:rcdb-1k", "has neither _info.json nor a folder train"),
    ],
)
def test_wrong_hook_is_one_line(data: str, rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(GREY)
    with pytest.raises(SystemExit):
        train("--data", data, *LITTLE, "--out", tmp_path / "run")
    assert_one_line(capsys.readouterr().err, rule)
