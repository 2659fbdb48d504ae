"""The batch sampler: each step is the same whatever the ranks, and a run resumes anywhere."""

from __future__ import annotations

import json
import tracemalloc
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsl import BatchSampler, InputError


def ranks_of(n_ranks: int, **options: Any) -> list[BatchSampler]:
    return [BatchSampler(rank=rank, n_ranks=n_ranks, **options) for rank in range(n_ranks)]


@settings(deadline=None)
@given(n_images=st.integers(1, 300), part=st.floats(0, 1), seed=st.integers(0, 2**64 - 1))
def test_epoch_takes_each_position_at_most_once(n_images: int, part: float, seed: int) -> None:
    sampler = BatchSampler(n_images, batch=max(1, int(part * n_images)), seed=seed)
    for epoch in range(2):
        assert sampler.epoch == epoch
        batches = list(sampler)
        assert len(batches) == len(sampler) == n_images // sampler.batch
        assert {len(batch) for batch in batches} == {sampler.batch}
        positions = [position for batch in batches for position in batch]
        assert len(set(positions)) == len(positions)
        assert 0 <= min(positions) <= max(positions) < n_images
        assert {type(position) for position in positions} == {int}


@settings(deadline=None)
@given(n_images=st.integers(12, 300), n_ranks=st.sampled_from([2, 3, 4, 6, 12]), n_done=st.integers(0, 60))
def test_run_resumes_on_other_ranks(n_images: int, n_ranks: int, n_done: int) -> None:
    alone = BatchSampler(n_images, batch=12, seed=5)
    whole = [alone.positions(step) for step in range(n_done, n_done + 20)]
    state = json.loads(json.dumps(alone.state_dict(n_done)))
    samplers = ranks_of(n_ranks, n_images=n_images, batch=12, seed=5)
    for sampler in samplers:
        sampler.load_state_dict(state)
    resumed: list[list[int]] = []
    while len(resumed) < 20:
        steps = zip(*samplers, strict=True)
        resumed += [[position for part in parts for position in part] for parts in steps]
    assert resumed[:20] == whole


def test_iteration_goes_on_where_it_stopped() -> None:
    sampler = BatchSampler(100, batch=10)
    first = list(islice(sampler, 3))
    assert sampler.state_dict() == {"n_images": 100, "batch": 10, "seed": 0, "step": 3}
    rest = list(sampler)
    assert first + rest == [sampler.positions(step) for step in range(10)]
    assert (sampler.epoch, len(list(sampler)), sampler.epoch) == (1, 10, 2)


def test_order_depends_on_seed_and_epoch() -> None:
    orders = [
        [position for step in range(10 * epoch, 10 * epoch + 10) for position in sampler.positions(step)]
        for sampler in (BatchSampler(1000, 100), BatchSampler(1000, 100, seed=1))
        for epoch in (0, 1)
    ]
    orders.append(list(range(1000)))
    for k, order in enumerate(orders):
        assert sorted(order) == list(range(1000))
        for other in orders[:k]:
            assert np.mean(np.equal(order, other)) < 0.02
            assert abs(np.corrcoef(order, other)[0, 1]) < 0.15


def test_order_does_not_depend_on_the_batch() -> None:
    small, large = BatchSampler(120, 10), BatchSampler(120, 40)
    assert [p for step in range(12) for p in small.positions(step)] == [
        p for step in range(3) for p in large.positions(step)
    ]


def test_memory_does_not_grow_with_the_dataset() -> None:
    sampler = BatchSampler(21_000_000, batch=1024, step=12_345)
    sampler.positions(0)
    tracemalloc.start()
    batch = next(iter(sampler))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(batch)) == 1024
    assert peak < 500_000


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"n_images": 0}, "`n_images` (=0) must be a whole number of at least 1"),
        ({"batch": 101}, "`batch` (=101) must be a whole number in 1..100"),
        ({"batch": 0}, "`batch` (=0) must be a whole number in 1..100"),
        ({"rank": 2}, "`rank` (=2) must be a whole number in 0..1"),
        ({"n_ranks": 4}, "`batch` (=10) must be a multiple of `n_ranks` (=4)"),
        ({"seed": -1}, "`seed` (=-1) must be a whole number in 0..18,446,744,073,709,551,615"),
    ],
)
def test_wrong_argument_is_refused(changes: dict[str, int], line: str) -> None:
    with pytest.raises(InputError) as refused:
        BatchSampler(**{"n_images": 100, "batch": 10, "n_ranks": 2, **changes})
    assert str(refused.value) == line


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"batch": 20}, "`batch` (=10) must be 20, as in the state that is loaded"),
        ({"n_images": None}, "`n_images` (=100) must be None, as in the state that is loaded"),
        ({"seed": 1}, "`seed` (=0) must be 1, as in the state that is loaded"),
        ({"step": -1}, "`step` (=-1) must be a whole number in 0..4,611,686,018,427,387,904"),
    ],
)
def test_state_of_another_run_is_refused(changes: dict[str, Any], line: str) -> None:
    sampler = BatchSampler(100, 10)
    with pytest.raises(InputError) as refused:
        sampler.load_state_dict({**sampler.state_dict(3), **changes})
    assert str(refused.value) == line
    assert sampler.step == 0
