"""The plan: every image stands in exactly one place, and any shard's images are known without the others'."""

from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import InputError, Spec, load_spec
from shards.plan import plan_shards, samples_of, select_shards
from tests.shards.conftest import small_spec

SIZES = st.integers(1, 30) | st.sampled_from([31, 37, 64, 97])


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    return small_spec(
        draw(st.sampled_from(["exfractal", "rcdb"])),
        categories=draw(SIZES),
        instances={"train": draw(SIZES), "validation": draw(st.just(0) | SIZES)},
        seed=draw(st.integers(0, 2**64 - 1)),
        shards={"samples": draw(SIZES | st.just(1000)), "order": draw(st.sampled_from(["shuffled", "by-category"]))},
    )


def order_of(spec: Spec, split: str) -> list[tuple[int, int]]:
    """(category, instance) of every image of a split, in the order of its shards."""
    pairs: list[tuple[int, int]] = []
    for shard in plan_shards(spec, split):
        category, instance = samples_of(spec, shard)
        assert category.dtype == instance.dtype == np.int64
        assert len(category) == len(instance) == shard.samples
        pairs += zip(category.tolist(), instance.tolist(), strict=True)
    return pairs


@settings(deadline=None)
@given(spec=specs(), split=st.sampled_from(["train", "validation"]))
def test_shards_tile_a_split_in_lengths_that_differ_by_at_most_one(spec: Spec, split: str) -> None:
    shards = plan_shards(spec, split)
    n_samples = spec.categories * spec.n_instances(split)
    edges = [0, *(shard.stop for shard in shards)]
    assert [(shard.start, shard.stop) for shard in shards] == list(pairwise(edges))
    assert edges[-1] == n_samples
    lengths = {shard.samples for shard in shards}
    assert not lengths or max(lengths) - min(lengths) <= 1
    assert all(1 <= length <= spec.shards.samples for length in lengths)
    assert len(shards) == -(-n_samples // spec.shards.samples)
    assert [shard.name for shard in shards] == [f"{split}-{number:06}" for number in range(len(shards))]


@settings(deadline=None)
@given(spec=specs())
def test_every_image_stands_in_exactly_one_place(spec: Spec) -> None:
    n_train, n_validation = spec.instances.train, spec.instances.validation
    train, validation = order_of(spec, "train"), order_of(spec, "validation")
    assert sorted(train) == [(c, i) for c in range(spec.categories) for i in range(n_train)]
    assert sorted(validation) == [
        (c, i) for c in range(spec.categories) for i in range(n_train, n_train + n_validation)
    ]
    assert {spec.split_of(instance) for _, instance in train} == {"train"}
    assert {spec.split_of(instance) for _, instance in validation} <= {"validation"}


@settings(deadline=None)
@given(spec=specs())
def test_all_shards_are_trains_and_then_validations(spec: Spec) -> None:
    assert plan_shards(spec) == plan_shards(spec, "train") + plan_shards(spec, "validation")


def test_by_category_is_in_order() -> None:
    order = order_of(small_spec("rcdb", shards={"samples": 7, "order": "by-category"}), "train")
    assert order == sorted(order)


def hundred(**changes: object) -> Spec:
    """100 categories x 100 train and 100 validation images, 1,000 a shard."""
    standard = {"categories": 100, "instances": {"train": 100, "validation": 100}, "shards": {"samples": 1000}}
    return small_spec("rcdb", **{**standard, **changes})


def test_another_seed_split_or_family_is_another_order() -> None:
    one = order_of(hundred(), "train")
    assert order_of(hundred(), "train") == one
    validation = [(category, instance - 100) for category, instance in order_of(hundred(), "validation")]
    other_family = small_spec("exfractal", categories=100, instances={"train": 100}, shards={"samples": 1000})
    for other in (order_of(hundred(seed=8), "train"), validation, order_of(other_family, "train")):
        assert sum(mine == its for mine, its in zip(one, other, strict=True)) < 20


def test_the_order_does_not_depend_on_the_shards_lengths() -> None:
    assert order_of(hundred(shards={"samples": 999}), "train") == order_of(hundred(), "train")


@pytest.mark.parametrize("seed", range(5))
def test_a_shard_holds_nearly_all_categories_and_instances(seed: int) -> None:
    spec = hundred(seed=seed)
    for shard in plan_shards(spec):
        for numbers in samples_of(spec, shard):
            assert len(np.unique(numbers)) >= 98


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_in_the_order_have_nothing_to_do_with_each_other(seed: int) -> None:
    order = np.array(order_of(hundred(seed=seed), "train"))
    image = order[:, 0] * 100 + order[:, 1]
    position = np.arange(len(image))
    for one, other in (
        (image, position),
        (image[1:], image[:-1]),
        (image[100:], image[:-100]),
        (order[:, 0], order[:, 1]),
    ):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.05
    assert np.mean(order[1:, 0] == order[:-1, 0]) < 0.02


def test_one_shard_of_21_million_images_costs_what_its_own_samples_cost() -> None:
    spec = load_spec("exfractaldb-21k")
    small = hundred(shards={"samples": 10_000})
    samples_of(small, plan_shards(small)[0])
    tracemalloc.start()
    start = time.process_time()
    shards = plan_shards(spec)
    category, instance = samples_of(spec, shards[1234])
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(category) == 10_000
    assert peak < 10e6
    assert seconds < 1.0
    assert 0 <= instance.min() <= instance.max() < 1000
    assert 0 <= category.min() <= category.max() < 21_000


@pytest.mark.parametrize(
    ("split", "window", "names"),
    [
        ("all", "0:2", ["train-000000", "train-000001"]),
        ("all", "8:10", ["train-000008", "validation-000000"]),
        ("all", "11:", ["validation-000002"]),
        ("train", "8:", ["train-000008"]),
        ("validation", ":1", ["validation-000000"]),
        ("validation", None, ["validation-000000", "validation-000001", "validation-000002"]),
    ],
)
def test_a_window_is_counted_over_the_chosen_splits(split: str, window: str | None, names: list[str]) -> None:
    assert [shard.name for shard in select_shards(small_spec("rcdb"), split, window)] == names


@given(cuts=st.sets(st.integers(1, 11)))
def test_windows_that_follow_each_other_are_all_shards(cuts: set[int]) -> None:
    spec = small_spec("rcdb")
    windows = [f"{start}:{stop}" for start, stop in pairwise([0, *sorted(cuts), 12])]
    assert [shard for window in windows for shard in select_shards(spec, "all", window)] == plan_shards(spec)
    assert select_shards(spec, "all", ":") == select_shards(spec, "all", None) == plan_shards(spec)


@pytest.mark.parametrize("window", ["", "5", "a:b", "1:2:3", "-1:2", "0:-1", " 0:2", "0.5:2", "0:\N{SUPERSCRIPT TWO}"])
def test_what_is_no_window_is_refused_with_an_example(window: str) -> None:
    with pytest.raises(InputError) as error:
        select_shards(small_spec("rcdb"), "all", window)
    assert str(error.value) == f"`--shards` (={window}) must be A:B, such as 0:8 for the first eight shards"


@pytest.mark.parametrize("window", ["3:3", "4:2", "12:", "0:13", "99999:100000", ":0"])
def test_a_window_outside_is_refused_with_the_number_of_shards(window: str) -> None:
    with pytest.raises(InputError) as error:
        select_shards(small_spec("rcdb"), "all", window)
    assert str(error.value) == f"`--shards` (={window}) must be A:B with A < B <= 12, the number of shards"
