"""Batches: every sample exactly once per epoch."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.batches import SMALLEST, Batches

SIZES = st.tuples(st.integers(1, 200), st.integers(1, 9), st.integers(1, 7), st.integers(1, 3))
"""Samples, batch, ranks, steps of an update."""


def epochs(batches: Batches, n: int) -> list[list[list[int]]]:
    """The batches of some epochs."""
    stream = iter(batches)
    return [list(itertools.islice(stream, batches.steps)) for _ in range(n)]


@settings(deadline=None, max_examples=200)
@given(SIZES, st.integers(0, 3))
def test_an_epoch_takes_every_sample_once(sizes: tuple[int, int, int, int], seed: int) -> None:
    n, batch, world, accumulate = sizes
    ranks = [Batches(n, batch, rank, world, seed, accumulate=accumulate) for rank in range(world)]
    taken = [epochs(each, 2) for each in ranks]
    assert len({each.steps for each in ranks}) == 1
    for epoch in range(2):
        seen: Counter[int] = Counter()
        for each, batches in zip(ranks, taken, strict=True):
            assert len(batches[epoch]) == each.steps
            assert sum(map(each.count, range(1, each.steps, 2))) == each.length(range(1, each.steps, 2))
            for step, found in enumerate(batches[epoch]):
                assert len(found) == max(SMALLEST, each.count(step))
                assert each.count(step) <= batch
                seen.update(found[: each.count(step)])
        assert seen == Counter(range(epoch * n, (epoch + 1) * n))


@settings(deadline=None)
@given(SIZES)
def test_weighted_means_average_to_the_mean(sizes: tuple[int, int, int, int]) -> None:
    n, batch, world, accumulate = sizes
    ranks = [Batches(n, batch, rank, world, accumulate=accumulate) for rank in range(world)]
    losses = np.random.default_rng(n).normal(size=n)
    group = range(ranks[0].steps - accumulate, ranks[0].steps)
    over_ranks, members = [], []
    for each in ranks:
        (batches,) = epochs(each, 1)
        counted = {step: batches[step][: each.count(step)] for step in group}
        means = {step: np.mean(losses[found]) if found else 0.0 for step, found in counted.items()}
        over_ranks.append(sum(means[step] * each.weight(step) for step in group))
        members += [i for found in counted.values() for i in found]
    assert np.isclose(np.mean(over_ranks), np.mean(losses[members]))


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 9), st.sampled_from([(1, 6), (2, 3), (3, 2), (6, 1)]), st.integers(0, 9))
def test_blocks_are_the_same_on_any_ranks(n: int, batch: int, deal: tuple[int, int], start: int) -> None:
    """Whoever computes them, from any update on; and an update of larger blocks takes the same samples."""

    def updates(world: int, accumulate: int, batch: int) -> list[list[list[int]]]:
        ranks = [
            Batches(n, batch, rank, world, 3, repeats=3, accumulate=accumulate, start=start * accumulate)
            for rank in range(world)
        ]
        taken = [iter(each) for each in ranks]
        return [
            [
                next(ids)[: each.count(update % each.updates * accumulate + step)]
                for step in range(accumulate)
                for each, ids in zip(ranks, taken, strict=True)
            ]
            for update in range(start, start + 5)
        ]

    found = updates(*deal, batch)
    assert found == updates(1, 6, batch)
    for blocks, (block,) in zip(found, updates(1, 1, 6 * batch), strict=True):
        assert sorted(itertools.chain(*blocks)) == sorted(block)


def test_the_order_depends_on_epoch_and_seed() -> None:
    first, second = (tuple(j % 50 for batch in epoch for j in batch) for epoch in epochs(Batches(50, 8, seed=1), 2))
    assert first != second
    assert epochs(Batches(50, 8, seed=1), 3) == epochs(Batches(50, 8, seed=1), 3)
    assert epochs(Batches(50, 8, seed=1), 1) != epochs(Batches(50, 8, seed=2), 1)
    assert [j for batch in epochs(Batches(50, 8, shuffle=False), 1)[0] for j in batch] == list(range(50))


@settings(deadline=None)
@given(st.integers(0, 40))
def test_batches_begin_at_any_step(start: int) -> None:
    whole, later = Batches(50, 4, 1, 2, seed=5), Batches(50, 4, 1, 2, seed=5)
    later.start = start
    stream = iter(whole)
    expected = list(itertools.islice(stream, start + 9))[start:]
    assert list(itertools.islice(iter(later), 9)) == expected


def test_repeats_put_a_sample_on_three_ranks() -> None:
    ranks = [Batches(90, 5, rank, 3, seed=1, repeats=3) for rank in range(3)]
    for epoch in range(2):
        by_rank = [[j for batch in epochs(each, 2)[epoch] for j in batch] for each in ranks]
        assert len({j for found in by_rank for j in found}) == 90
        samples = [{j % 90 for j in found} for found in by_rank]
        assert samples[0] == samples[1] == samples[2]
        assert len(samples[0]) == 30
