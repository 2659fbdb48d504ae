"""Which GPU and which backend a process is given; GPUs and their library are played, for this machine may have none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist

from info import DataError
from launch import join


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was asked of torch on a machine of four GPUs, the second of two, for its third process."""
    for name, value in {"WORLD_SIZE": 8, "RANK": 6, "LOCAL_RANK": 2}.items():
        monkeypatch.setenv(name, str(value))
    found: list[tuple[Any, ...]] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: found.append(("device", str(device))))
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda precision: found.append(("matmul", precision)))
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout: found.append((backend, timeout)))
    monkeypatch.setattr(dist, "new_group", lambda backend, timeout: found.append((backend, timeout)))
    return found


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_process_has_the_gpu_of_its_number_on_its_machine_and_meets_the_others_by_nccl(
    device: str, calls: list[tuple[Any, ...]]
) -> None:
    place = join(device)
    assert (place.rank, place.world, str(place.device)) == (6, 8, "cuda:2")
    assert calls == [
        ("device", "cuda:2"),
        ("matmul", "high"),
        ("nccl", timedelta(minutes=10)),
        ("gloo", timedelta(hours=6)),
    ]


def test_cpus_meet_by_gloo_though_there_are_gpus(calls: list[tuple[Any, ...]]) -> None:
    assert str(join("cpu").device) == "cpu"
    assert [backend for backend, _ in calls] == ["gloo", "gloo"]


def test_more_processes_than_gpus_are_told(calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(DataError, match="process 4 of this machine has no GPU: there are 4; give --nproc-per-node 4"):
        join("auto")
    assert not calls


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("RANK", "x", r"`RANK` \(=x\) must be a whole number"),
        ("RANK", "8", r"`RANK` \(=8\) must be in 0\.\.7, for `WORLD_SIZE` is 8"),
        ("LOCAL_RANK", None, "`LOCAL_RANK` is not set"),
    ],
)
def test_wrong_surroundings_are_told(
    name: str, value: str | None, told: str, calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match=told):
        join("cuda")
    assert not calls
