"""`make gpu-check`, as far as a CPU can show it."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

from tests.trainer.conftest import ROOT

pytest.importorskip("fdsl", reason="the toolkit is not installed here")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_one_line(gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "gpu-check: torch sees no GPU, so nothing was checked; --device cpu rehearses it"
    ]


@pytest.mark.slow
def test_rehearsal_trains_resumes_and_measures(gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--models", "test_vit", "--size", "32", "--batch", "8", "--seconds", "0.01", "--workers", "0"]
    assert gpu.main(["--device", "cpu", *flags]) == 0
    machine, resumed, rates = capsys.readouterr().out.splitlines()
    assert machine.startswith("a rehearsal without GPU; ")
    assert resumed == "training on 1 processes by no communication, resumed: losses differ by at most 0.0e+00: pass"
    assert rates.startswith("test_vit, batch 8: images/s from the device ")
