"""Ranks, on simulated GPUs, and the lock."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.trainer.conftest import ROOT
from trainer.errors import InputError
from trainer.ranks import Ranks, join, lock


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return calls to torch, on a simulated machine.

    Of the third process on the second of two machines with four GPUs.
    """
    for name, value in {"WORLD_SIZE": 8, "RANK": 6, "LOCAL_RANK": 2}.items():
        monkeypatch.setenv(name, str(value))
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(("device", str(device))))
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda precision: calls.append(("matmul", precision)))
    monkeypatch.setattr(dist, "init_process_group", lambda backend: calls.append((backend, None)))
    monkeypatch.setattr(dist, "new_group", lambda backend, timeout: calls.append((backend, timeout)))
    return calls


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_each_local_rank_takes_its_gpu(device: str, calls: list[tuple[Any, ...]]) -> None:
    ranks = join(device)
    assert (ranks.rank, ranks.world_size, str(ranks.device)) == (6, 8, "cuda:2")
    assert calls == [
        ("device", "cuda:2"),
        ("matmul", "high"),
        ("nccl", None),
        ("gloo", timedelta(hours=6)),
    ]


def test_cpus_use_gloo_beside_gpus(calls: list[tuple[Any, ...]]) -> None:
    assert str(join("cpu").device) == "cpu"
    assert [backend for backend, _ in calls] == ["gloo", "gloo"]


def test_more_processes_than_gpus_are_refused(calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(InputError, match="process 4 has no GPU, torch sees 4"):
        join("auto")
    assert not calls


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match=r"`--device` \(=cuda\): process 0 has no GPU, torch sees 0; try --device cpu"):
        join("cuda")


def test_rank_0_reports_its_error_once(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise InputError("no such thing")

    with pytest.raises(SystemExit) as caught:
        Ranks(0, 1, torch.device("cpu")).from_first(fail)
    assert caught.value.code == 1
    assert capsys.readouterr().err == "trainer: no such thing\n"
    assert Ranks(0, 1, torch.device("cpu")).from_first(lambda: 0) == 0


def test_files_of_killed_saves_are_removed(tmp_path: Path) -> None:
    for name in (".last.pt.123.tmp", ".index-train-0.npy.tmp", "mine.tmp", "last.pt"):
        (tmp_path / name).touch()
    lock(tmp_path).close()
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "mine.tmp", "last.pt"}


def test_directory_has_one_run_at_a_time(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from trainer.ranks import lock; file = lock(Path({str(tmp_path)!r}))"
    other = subprocess.Popen(
        [sys.executable, "-c", f"{code}; print(1, flush=True); input()"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout
    assert other.stdout.readline() == "1\n"
    with pytest.raises(InputError, match="is in use by another run; wait for its end or give"):
        lock(tmp_path)
    other.communicate("\n")
    lock(tmp_path).close()
