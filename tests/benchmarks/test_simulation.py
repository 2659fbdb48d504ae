"""The command's own work: linear in shards, independent of images."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

MEASURES = ["peak_bytes", "n_calls"]
"""Not CPU time, which other programs on the machine change."""


@pytest.fixture
def simulation() -> ModuleType:
    return importlib.import_module("simulation")


def amount(simulation: ModuleType, measure: str, n_shards: int, images_per_shard: int) -> float:
    dataset = simulation.dataset_of(n_shards, images_per_shard)
    cost: float = simulation.simulated_bake(dataset, getattr(simulation, measure)).amount
    return cost


@pytest.mark.slow
@pytest.mark.parametrize("measure", MEASURES)
def test_cost_is_linear_in_shards(measure: str, simulation: ModuleType) -> None:
    amount(simulation, measure, 100, 10)
    few, many = (amount(simulation, measure, n_shards, 10) for n_shards in (500, 2000))
    assert many < 5 * few, "4 is linear; 16 is quadratic"


@pytest.mark.slow
@pytest.mark.parametrize("measure", MEASURES)
def test_cost_does_not_depend_on_images(measure: str, simulation: ModuleType) -> None:
    amount(simulation, measure, 100, 10)
    few, many = (amount(simulation, measure, 500, images_per_shard) for images_per_shard in (10, 10_000))
    assert many < 1.2 * few


def test_command_reads_each_receipt_once(simulation: ModuleType) -> None:
    dataset = simulation.dataset_of(100, 10)
    requests = simulation.simulated_bake(dataset, simulation.cpu_seconds).requests
    assert requests["GET"] < 110
    assert requests["PUT"] + requests["HEAD"] + requests["LIST"] < 50


def test_worker_sends_few_requests(simulation: ModuleType) -> None:
    assert simulation.worker_requests(simulation.dataset_of(100, 10).spec) == {"GET": 1, "PUT": 3, "HEAD": 3}
