"""Files that someone else made run no code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shards.conftest import run_fdsl

SPEC = "name: attacked\nfamily: exfractal\ncategories: 3\ninstances: {train: 4}\nimage: {size: 32}\nparams: {points: 100}\n"
MODULES = ("json", "joblib", "multiprocessing", "numba", "pickle", "shards", "signal", "struct", "threading")
COMMANDS = (
    ["sample", "spec.yaml", "-o", "categories.parquet"],
    ["bake", "spec.yaml", "-o", "out", "--workers", "2"],
    ["verify", "out", "--workers", "2", "--rerender", "5"],
    ["repair", "out", "--workers", "2"],
    ["plan", "spec.yaml", "--workers", "2"],
)


@pytest.mark.slow
def test_modules_in_the_working_directory_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text("open('imported', 'a').write(__name__)\n")
    for command in COMMANDS:
        done = run_fdsl(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "imported").exists(), command
