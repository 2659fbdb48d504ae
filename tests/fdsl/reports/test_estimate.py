"""The estimate: exact counts, and sizes and times from a few images."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

from fdsl import LocalExecutor, Spec, bake, estimate, search_categories
from fdsl.reports import estimate as module
from fdsl.reports.estimate import Estimate, choose_parts


def test_counts_are_exact(spec: Spec) -> None:
    cost = estimate(spec)
    assert cost.n_images == {"train": 60, "validation": 15}
    assert cost.n_shards == {"train": 9, "validation": 3}
    assert cost.acceptance == search_categories(spec).acceptance
    assert cost.core_seconds > 0
    assert cost.worker_bytes > 10**7


def test_files_are_those_of_a_bake(spec: Spec, tmp_path: Path) -> None:
    bake(spec, tmp_path, executor=LocalExecutor(1))
    assert estimate(spec).n_files == sum(path.is_file() for path in tmp_path.rglob("*"))


def test_given_categories_are_used(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    table = search_categories(spec).table
    monkeypatch.setattr(module, "search_categories", None)
    cost = estimate(spec, table)
    assert cost.acceptance == 1
    assert cost.n_bytes > 0


def test_size_is_nearly_that_of_a_bake(spec: Spec, tmp_path: Path) -> None:
    one_shard = spec.replace(shards={"samples": 1000})
    bake(one_shard, tmp_path / "out", executor=LocalExecutor(1))
    n_bytes = sum(tar.stat().st_size for tar in (tmp_path / "out").glob("*.tar"))
    assert estimate(one_shard).n_bytes == pytest.approx(n_bytes, rel=0.15)


def test_huge_dataset_is_estimated(spec: Spec) -> None:
    big = estimate(spec.replace(categories=1000, instances={"train": 1000, "validation": 10}))
    assert big.n_images == {"train": 1_000_000, "validation": 10_000}
    assert big.n_bytes > 1_010_000 * 1000


def test_time_is_counted_per_image_and_category(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that advances one second per look.

    The search of 5 categories takes 1 s. 25 images take 3 s, so all 75 take 9 s.
    """
    ticks = itertools.count()
    monkeypatch.setattr(module, "time", SimpleNamespace(process_time=lambda: float(next(ticks))))
    assert estimate(spec).core_seconds == pytest.approx(1 + 9)


@pytest.mark.parametrize(
    ("core_seconds", "n_shards", "n_workers", "n_parts"),
    [
        (6_000.0, 500, 1, 10),  # ten minutes each
        (6_000.0, 500, 4, 3),
        (6_000.0, 7, 1, 7),  # one shard each
        (1.0, 500, 1, 1),
        (1e7, 10_000, 1, 1000),  # the largest array
    ],
)
def test_parts_take_ten_minutes(core_seconds: float, n_shards: int, n_workers: int, n_parts: int) -> None:
    cost = Estimate({}, {"train": n_shards - 1, "validation": 1}, 0, 0, core_seconds, 0, 1.0)
    assert choose_parts(cost, n_workers) == n_parts
