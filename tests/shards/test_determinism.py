"""The same spec gives the same bytes, whatever the workers, the environment, numba's cache, its compiler or the processor."""

from __future__ import annotations

import contextlib
import locale
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fdsl import LocalExecutor, bake, load_spec
from fdsl.dataset.families import FAMILIES
from tests.processes import PATIENCE_S
from tests.shards.conftest import small_mapping, snapshot

pytestmark = pytest.mark.slow

TINY: dict[str, dict[str, Any]] = {
    "exfractal": {"points": 100, "variance_threshold": 0.01},
    "rcdb": {"vertices": [3, 6], "contours": [1, 6]},
}
"""Parameters that plain Python renders quickly; a family without an entry is tested with its own."""

Bytes = dict[str, dict[str, str]]
"""The files of each family's dataset, by name with their hashes."""


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec of few, cheap images for each family."""
    folder = tmp_path_factory.mktemp("specs")
    for family in FAMILIES:
        mapping = small_mapping(
            family, categories=3, instances={"train": 4, "validation": 1}, image={"size": 32}, shards={"samples": 3},
            params=TINY.get(family, {}),
        )  # fmt: skip
        (folder / f"{family}.yaml").write_text(f"# für große Rechner\n{yaml.safe_dump(mapping)}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def expected(specs: Path, tmp_path_factory: pytest.TempPathFactory) -> Bytes:
    """What this process bakes, alone."""
    out = tmp_path_factory.mktemp("expected")
    for file in specs.glob("*.yaml"):
        bake(load_spec(file), out / file.stem, executor=LocalExecutor(1))
    return contents(out)


def contents(out: Path) -> Bytes:
    return {family: snapshot(out / family) for family in FAMILIES}


BAKE_ALL = """
import sys
from pathlib import Path
import cli
specs, out, workers = sys.argv[1:]
for file in sorted(Path(specs).glob("*.yaml")):
    cli.fdsl(["bake", str(file), "-o", str(Path(out, file.stem)), "--workers", workers], standalone_mode=False)
"""


def bake_all(
    specs: Path,
    out: Path,
    code: str = BAKE_ALL,
    n_workers: int = 1,
    variables: dict[str, str] | None = None,
    **options: Any,
) -> Bytes:
    """Bake the datasets of all families by the command's code, in one process of another environment."""
    done = subprocess.run(
        [sys.executable, "-c", code, specs, out, str(n_workers)],
        env={**os.environ, **(variables or {})}, capture_output=True, text=True,
        timeout=PATIENCE_S, check=False, **options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return contents(Path(options.get("cwd", ".")) / out)


def other_locale() -> str:
    """A locale with a decimal comma if this machine has one."""
    current = locale.setlocale(locale.LC_ALL)
    try:
        for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "tr_TR.UTF-8"):
            with contextlib.suppress(locale.Error):
                return locale.setlocale(locale.LC_ALL, name)
    finally:
        locale.setlocale(locale.LC_ALL, current)
    return "POSIX"


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "one": {
        "PYTHONHASHSEED": "1",
        "LC_ALL": other_locale(),
        "TZ": "Pacific/Kiritimati",
        "NUMBA_NUM_THREADS": "2",
        "OMP_NUM_THREADS": "3",
    },
    "another": {
        "PYTHONHASHSEED": "4294967295",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "TZ": "America/St_Johns",
        "PYTHONOPTIMIZE": "2",
        "COLUMNS": "20",
        "TERM": "dumb",
    },
}


@pytest.mark.parametrize(("name", "umask"), [("one", 0o000), ("another", 0o077)])
def test_environment_changes_nothing(name: str, umask: int, specs: Path, expected: Bytes, tmp_path: Path) -> None:
    """Nor does the umask, or the working directory."""
    set_umask: Callable[[], object] = lambda: os.umask(umask)  # noqa: E731
    options = {"cwd": tmp_path, "preexec_fn": set_umask}
    assert bake_all(specs, Path("out"), variables=ENVIRONMENTS[name], **options) == expected


def test_number_of_workers_changes_nothing(specs: Path, expected: Bytes, tmp_path: Path) -> None:
    assert bake_all(specs, tmp_path / "out", n_workers=5) == expected


def test_plain_python_gives_the_same_bytes(specs: Path, expected: Bytes, tmp_path: Path) -> None:
    assert bake_all(specs, tmp_path / "out", variables={"NUMBA_DISABLE_JIT": "1"}) == expected


@pytest.mark.parametrize("cpu", ["generic", "haswell"])
def test_processor_and_cache_change_nothing(cpu: str, specs: Path, expected: Bytes, tmp_path: Path) -> None:
    """`generic` has no AVX and no fused multiply-add. The cache is cold at first, then warm."""
    if cpu == "haswell" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor cannot run code for haswell")
    variables = {
        "NUMBA_CPU_NAME": cpu,
        "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2" if cpu == "haswell" else "",
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }
    assert bake_all(specs, tmp_path / "cold", variables=variables) == expected
    compiled = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nbc")}
    assert compiled
    assert bake_all(specs, tmp_path / "warm", variables=variables) == expected
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nbc")} == compiled


IMPORT_BACKWARDS = f"""
import cv2, numpy.random
numpy.random.seed(3)
import {", ".join(sorted(FAMILIES, reverse=True))}, shards.png, shards.tar
"""


def test_order_of_imports_changes_nothing(specs: Path, expected: Bytes, tmp_path: Path) -> None:
    assert bake_all(specs, tmp_path / "out", code=IMPORT_BACKWARDS + BAKE_ALL) == expected
