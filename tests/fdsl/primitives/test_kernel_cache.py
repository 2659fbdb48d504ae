"""numba's cache: torn files are compiled again, and a full folder is named."""

from __future__ import annotations

import errno
import os
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numba
import pytest

from fdsl import InputError
from fdsl.dataset import families  # guards the cache
from tests.shards.conftest import run_fdsl, small_mapping, snapshot

KERNEL = """
from numba import njit

@njit(cache=True)
def double(x):
    return 2 * x
"""

CUTS = {"empty": lambda n: 0, "one byte": lambda n: 1, "half": lambda n: n // 2, "last byte": lambda n: n - 1}
"""How much of a file is left."""


def load(folder: Path) -> ModuleType:
    """Import the module again, as another process does."""
    path = folder / "kernel.py"
    if not path.exists():
        path.write_text(KERNEL)
    spec = spec_from_file_location("kernel", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cached(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.rglob(f"*{suffix}"))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="numba's compiler is off")
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("cut", CUTS)
def test_torn_file_is_compiled_again(cut: str, suffix: str, tmp_path: Path) -> None:
    assert families.FAMILIES
    assert load(tmp_path).double(21) == 42
    (file,) = cached(tmp_path, suffix)
    whole = file.stat().st_size
    os.truncate(file, CUTS[cut](whole))
    module = load(tmp_path)
    assert module.double(21) == 42
    assert file.stat().st_size == whole
    again = load(tmp_path)
    assert again.double(21) == 42
    assert sum(again.double.stats.cache_hits.values()) == 1


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="numba's compiler is off")
def test_kernel_with_zeros_inside_is_compiled_again(tmp_path: Path) -> None:
    """A changed part of the machine code is no error of the unpickler."""
    assert families.FAMILIES
    assert load(tmp_path).double(21) == 42
    (file,) = cached(tmp_path, ".nbc")
    for part in range(8):
        whole = file.read_bytes()
        start, stop = len(whole) * part // 8, len(whole) * (part + 1) // 8
        file.write_bytes(whole[:start] + bytes(stop - start) + whole[stop:])
        module = load(tmp_path)
        assert module.double(21) == 42
        assert sum(module.double.stats.cache_hits.values()) == 0
    again = load(tmp_path)
    assert again.double(21) == 42
    assert sum(again.double.stats.cache_hits.values()) == 1


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="numba's compiler is off")
def test_full_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(
        InputError, match=f"^`{tmp_path}/__pycache__`: No space left on device: compiled kernels cannot"
    ):
        load(tmp_path).double(21)


@pytest.mark.slow
def test_bake_with_torn_cache(tmp_path: Path) -> None:
    """EOFError is not taken for Ctrl-C."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(str(small_mapping("rcdb")))  # a Python literal of these is YAML
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for out in ("one", "other"):
        done = run_fdsl("bake", spec, "-o", tmp_path / out, "--workers", "2", env=environment)
        assert done.returncode == 0, done.stderr
        files = cached(tmp_path / "cache", ".nbi") + cached(tmp_path / "cache", ".nbc")
        assert files
        for file in files:
            assert file.stat().st_size
            os.truncate(file, 0)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "other")
