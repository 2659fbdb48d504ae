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

from shards import bake
from shards.spec import parse_spec
from tests.shards.conftest import FAMILIES, FDSL, small_mapping, snapshot

TINY: dict[str, dict[str, Any]] = {
    "exfractal": {"points": 100, "variance_threshold": 0.01},
    "rcdb": {"vertices": [3, 6], "contours": [1, 6]},
}
"""Little enough work for a family whose kernels plain Python runs."""


@pytest.fixture(scope="module", params=FAMILIES)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec with few, cheap images."""
    mapping = small_mapping(
        request.param, categories=3, instances={"train": 4, "validation": 1}, image={"size": 32}, shards={"samples": 3},
        params=TINY[request.param],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("spec") / "spec.yaml"
    path.write_text(f"# für große Rechner\n{yaml.safe_dump(mapping)}", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def usual(file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What this process bakes, with one worker."""
    out = tmp_path_factory.mktemp("usual")
    bake(parse_spec(yaml.safe_load(file.read_text())), out, workers=1)
    return snapshot(out)


def bake_with(
    file: Path, out: Path, *arguments: str, variables: dict[str, str] | None = None, **options: Any
) -> dict[str, str]:
    """Bake through the command in another environment."""
    done = subprocess.run(
        [FDSL, "bake", file, "-o", out, *arguments],
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return snapshot(out)


def other_locale() -> str:
    """A locale with a decimal comma if this machine has one."""
    usual = locale.setlocale(locale.LC_ALL)
    try:
        for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "tr_TR.UTF-8"):
            with contextlib.suppress(locale.Error):
                return locale.setlocale(locale.LC_ALL, name)
    finally:
        locale.setlocale(locale.LC_ALL, usual)
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


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_environment_changes_nothing(name: str, file: Path, usual: dict[str, str], tmp_path: Path) -> None:
    assert bake_with(file, tmp_path / "out", "--workers", "1", variables=ENVIRONMENTS[name]) == usual


@pytest.mark.parametrize("workers", ["2", "5"])
def test_the_number_of_workers_changes_nothing(workers: str, file: Path, usual: dict[str, str], tmp_path: Path) -> None:
    assert bake_with(file, tmp_path / "out", "--workers", workers) == usual


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_umask_and_the_working_directory_change_nothing(
    umask: int, file: Path, usual: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    set_umask: Callable[[], object] = lambda: os.umask(umask)  # noqa: E731
    bake_with(file, Path("out"), "--workers", "1", cwd=tmp_path / "elsewhere", preexec_fn=set_umask)
    assert snapshot(tmp_path / "elsewhere" / "out") == usual


def test_numbas_cache_changes_nothing_be_it_cold_or_warm(file: Path, usual: dict[str, str], tmp_path: Path) -> None:
    for name in ("cold", "warm"):
        assert bake_with(file, tmp_path / name, variables={"NUMBA_CACHE_DIR": str(tmp_path / "cache")}) == usual
        assert list((tmp_path / "cache").rglob("*.nbc"))


def test_without_numbas_compiler_the_bytes_are_the_same(file: Path, usual: dict[str, str], tmp_path: Path) -> None:
    assert bake_with(file, tmp_path / "out", "--workers", "1", variables={"NUMBA_DISABLE_JIT": "1"}) == usual


@pytest.mark.parametrize("cpu", ["generic", "haswell"])
def test_code_for_another_processor_makes_the_same_bytes(
    cpu: str, file: Path, usual: dict[str, str], tmp_path: Path
) -> None:
    """`generic` has no AVX and no fused multiply-add."""
    if cpu == "haswell" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor cannot run code for haswell")
    variables = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    if cpu == "haswell":
        variables["NUMBA_CPU_FEATURES"] = "+avx,+avx2,+fma,+bmi,+bmi2"
    assert bake_with(file, tmp_path / "out", "--workers", "1", variables=variables) == usual


def test_two_processes_that_import_in_another_order_make_the_same_bytes(
    file: Path, usual: dict[str, str], tmp_path: Path
) -> None:
    code = "import rcdb, exfractal, shards, sys; shards.bake(shards.load_spec(sys.argv[1]), sys.argv[2], workers=1)"
    for k, imports in enumerate(("", "import cv2, numpy.random; numpy.random.seed(3); ")):
        out = tmp_path / str(k)
        subprocess.run([sys.executable, "-c", imports + code, file, out], check=True, timeout=120)
        assert snapshot(out) == usual
