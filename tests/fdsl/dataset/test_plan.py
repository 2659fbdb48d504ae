"""The plan: every image is in exactly one shard, and each shard is planned alone."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsl import InputError, Spec, load_spec
from fdsl.dataset.families import FAMILIES
from fdsl.dataset.plan import (
    SHARD_NAME,
    image_key,
    image_names,
    image_numbers,
    numbers_at,
    parse_key,
    part_of,
    plan_shards,
    position_of,
    select_shards,
)
from tests.shards.conftest import small_spec

SIZES = st.integers(1, 30) | st.sampled_from([31, 37, 64, 97])


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    return small_spec(
        draw(st.sampled_from(sorted(FAMILIES))),
        categories=draw(SIZES),
        instances={"train": draw(SIZES), "validation": draw(st.just(0) | SIZES)},
        seed=draw(st.integers(0, 2**64 - 1)),
        shards={"samples": draw(SIZES | st.just(1000)), "order": draw(st.sampled_from(["shuffled", "by-category"]))},
    )


def order_of(spec: Spec, split: str) -> list[tuple[int, int]]:
    """(category, instance) of every image of a split, in the order of its shards."""
    pairs: list[tuple[int, int]] = []
    for shard in plan_shards(spec, split):
        category, instance = image_numbers(spec, shard)
        assert category.dtype == instance.dtype == np.int64
        assert len(category) == len(instance) == shard.n_samples
        pairs += zip(category.tolist(), instance.tolist(), strict=True)
    return pairs


@settings(deadline=None)
@given(spec=specs(), split=st.sampled_from(["train", "validation"]))
def test_shards_tile_a_split_evenly(spec: Spec, split: str) -> None:
    shards = plan_shards(spec, split)
    n_samples = spec.categories * spec.n_instances(split)
    edges = [0, *(shard.stop for shard in shards)]
    assert [(shard.start, shard.stop) for shard in shards] == list(pairwise(edges))
    assert edges[-1] == n_samples
    lengths = {shard.n_samples for shard in shards}
    assert not lengths or max(lengths) - min(lengths) <= 1
    assert all(1 <= length <= spec.shards.samples for length in lengths)
    assert len(shards) == -(-n_samples // spec.shards.samples)
    assert [shard.name for shard in shards] == [f"{split}-{number:06}" for number in range(len(shards))]
    assert all(SHARD_NAME.fullmatch(shard.name) for shard in shards)


@settings(deadline=None)
@given(spec=specs())
def test_every_image_is_in_one_shard(spec: Spec) -> None:
    for split, first in (("train", 0), ("validation", spec.instances.train)):
        n_instances = spec.n_instances(split)
        parts = [image_numbers(spec, shard) for shard in plan_shards(spec, split)]
        category, instance = (np.concatenate([part[axis] for part in parts] or [[]]) for axis in (0, 1))
        position = category * n_instances + instance - first
        assert np.array_equal(np.sort(position), np.arange(spec.categories * n_instances))
        assert n_instances == 0 or 0 <= (instance - first).min() <= (instance - first).max() < n_instances
        assert {spec.split_of(number) for number in np.unique(instance)} <= {split}


@settings(deadline=None)
@given(spec=specs(), split=st.sampled_from(["train", "validation"]), data=st.data())
def test_positions_are_those_of_the_shards(spec: Spec, split: str, data: st.DataObject) -> None:
    order = order_of(spec, split)
    positions = data.draw(st.lists(st.integers(0, len(order) - 1), max_size=9)) if order else []
    category, instance = numbers_at(spec, split, positions)
    assert list(zip(category.tolist(), instance.tolist(), strict=True)) == [order[position] for position in positions]
    assert [position_of(spec, *order[position]) for position in positions] == positions


@settings(deadline=None)
@given(
    categories=st.integers(1, 10**6), train=st.integers(1, 10**5), seed=st.integers(0, 2**64 - 1),
    part=st.floats(0, 1, exclude_max=True),
)  # fmt: skip
def test_any_position_is_found_again(categories: int, train: int, seed: int, part: float) -> None:
    changes = {"categories": categories, "instances": {"train": train, "validation": 3}, "seed": seed}
    spec = small_spec("rcdb", shards={"samples": 10**6}, **changes)
    for split in ("train", "validation"):
        position = int(part * spec.n_images(split))
        ((category,), (instance,)) = numbers_at(spec, split, [position])
        assert spec.split_of(instance) == split
        assert position_of(spec, int(category), int(instance)) == position


def test_one_position_needs_no_table() -> None:
    spec = load_spec("rcdb-21k")
    numbers_at(spec, "train", [0])
    tracemalloc.start()
    ((category,), (instance,)) = numbers_at(spec, "train", [12_345_678])
    assert position_of(spec, int(category), int(instance)) == 12_345_678
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@settings(deadline=None)
@given(spec=specs())
def test_train_shards_come_first(spec: Spec) -> None:
    assert plan_shards(spec) == plan_shards(spec, "train") + plan_shards(spec, "validation")


def test_by_category_order_is_sorted() -> None:
    order = order_of(small_spec("rcdb", shards={"samples": 7, "order": "by-category"}), "train")
    assert order == sorted(order)


def hundred(family: str = "rcdb", **changes: object) -> Spec:
    """100 categories x 100 train and 100 validation images, 1,000 a shard."""
    standard = {"categories": 100, "instances": {"train": 100, "validation": 100}, "shards": {"samples": 1000}}
    return small_spec(family, **{**standard, **changes})


def test_order_depends_on_seed_split_and_family() -> None:
    first, *rest = [order_of(hundred(family), "train") for family in FAMILIES]
    assert order_of(hundred(next(iter(FAMILIES))), "train") == first
    own = next(iter(FAMILIES))
    validation = [(category, instance - 100) for category, instance in order_of(hundred(own), "validation")]
    for other in (order_of(hundred(own, seed=8), "train"), validation, *rest):
        assert sum(mine == theirs for mine, theirs in zip(first, other, strict=True)) < 20


def test_order_does_not_depend_on_shard_size() -> None:
    assert order_of(hundred(shards={"samples": 999}), "train") == order_of(hundred(), "train")


@pytest.mark.parametrize("seed", range(5))
def test_shard_holds_nearly_all_categories(seed: int) -> None:
    spec = hundred(seed=seed)
    for shard in plan_shards(spec):
        for numbers in image_numbers(spec, shard):
            assert len(np.unique(numbers)) >= 98


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_are_uncorrelated(seed: int) -> None:
    order = np.array(order_of(hundred(seed=seed), "train"))
    image = order[:, 0] * 100 + order[:, 1]
    position = np.arange(len(image))
    pairs = ((image, position), (image[1:], image[:-1]), (image[100:], image[:-100]), (order[:, 0], order[:, 1]))
    for first, second in pairs:
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert np.mean(order[1:, 0] == order[:-1, 0]) < 0.02


def test_memory_grows_with_the_shard_only() -> None:
    """A shard of 21 million images is planned without the others."""
    spec = load_spec("exfractaldb-21k")
    small = hundred(shards={"samples": 10_000})
    image_numbers(small, plan_shards(small)[0])
    tracemalloc.start()
    shards = plan_shards(spec)
    category, instance = image_numbers(spec, shards[1234])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(category) == 10_000
    assert peak < 10e6
    assert 0 <= instance.min() <= instance.max() < 1000
    assert 0 <= category.min() <= category.max() < 21_000


def test_names_are_the_numbers() -> None:
    spec = small_spec("rcdb")
    for shard in plan_shards(spec):
        category, instance = image_numbers(spec, shard)
        names = image_names(spec, shard)
        assert names == list(zip(category, instance, strict=True))
        assert {type(number) for name in names for number in name} == {int}


def test_keys_have_six_digits_each() -> None:
    assert image_key(7, 123_456) == "000007_123456"


@given(category=st.integers(0, 999_999), instance=st.integers(0, 2**32 - 1))
def test_key_is_parsed_back(category: int, instance: int) -> None:
    assert parse_key(image_key(category, instance)) == (category, instance)


@pytest.mark.parametrize(
    "key",
    ["", "7_123", "000007-000123", "000007_000123.png", "000007_0000123", "000007_\N{SUPERSCRIPT TWO}00000", None, 7],
)
def test_malformed_key_is_refused(key: Any) -> None:
    with pytest.raises(InputError, match=r"^`key` \(=.*\) must be CATEGORY_INSTANCE of six digits or more, such as "):
        parse_key(key)


@pytest.mark.parametrize(
    ("split", "shards", "names"),
    [
        ("all", "0:2", ["train-000000", "train-000001"]),
        ("all", "8:10", ["train-000008", "validation-000000"]),
        ("all", "11:", ["validation-000002"]),
        ("train", "8:", ["train-000008"]),
        ("validation", ":1", ["validation-000000"]),
        ("validation", None, ["validation-000000", "validation-000001", "validation-000002"]),
    ],
)
def test_shards_are_counted_over_the_chosen_splits(split: str, shards: str | None, names: list[str]) -> None:
    assert [shard.name for shard in select_shards(small_spec("rcdb"), split, shards)] == names


@given(cuts=st.sets(st.integers(1, 11)))
def test_consecutive_slices_are_all_shards(cuts: set[int]) -> None:
    spec = small_spec("rcdb")
    slices = [f"{start}:{stop}" for start, stop in pairwise([0, *sorted(cuts), 12])]
    assert [shard for shards in slices for shard in select_shards(spec, "all", shards)] == plan_shards(spec)
    assert select_shards(spec, "all", ":") == select_shards(spec, "all", None) == plan_shards(spec)


@pytest.mark.parametrize(
    "shards", ["", "5", "a:b", "1:2:3", "-1:2", "0:-1", " 0:2", "0.5:2", "0:\N{SUPERSCRIPT TWO}", "/", "1/", "1/2/3"]
)
def test_malformed_slice_is_refused(shards: str) -> None:
    with pytest.raises(InputError) as refused:
        select_shards(small_spec("rcdb"), "all", shards)
    assert str(refused.value).startswith(f"`shards` (={shards}) must be A:B or K/N, such as 0:8 ")


@pytest.mark.parametrize("shards", ["3:3", "4:2", "12:", "0:13", "99999:100000", ":0"])
def test_slice_outside_is_refused(shards: str) -> None:
    with pytest.raises(InputError) as refused:
        select_shards(small_spec("rcdb"), "all", shards)
    assert str(refused.value) == f"`shards` (={shards}) must be A:B with A < B <= 12, the number of shards"


@given(n_parts=st.integers(1, 12))
def test_parts_are_all_shards(n_parts: int) -> None:
    spec = small_spec("rcdb")
    parts = [select_shards(spec, "all", f"{k}/{n_parts}") for k in range(1, n_parts + 1)]
    assert [shard for part in parts for shard in part] == plan_shards(spec)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    numbers = [part_of(position, len(plan_shards(spec)), n_parts) for position in range(len(plan_shards(spec)))]
    assert numbers == [number for number, part in enumerate(parts, 1) for _ in part]


@pytest.mark.parametrize("shards", ["0/3", "4/3", "1/13", "0/0"])
def test_part_outside_is_refused(shards: str) -> None:
    with pytest.raises(InputError) as refused:
        select_shards(small_spec("rcdb"), "all", shards)
    rule = "must be K/N with 1 <= K <= N <= 12, the number of shards"
    assert str(refused.value) == f"`shards` (={shards}) {rule}"


@pytest.mark.parametrize("shards", [5, slice(0, 8), (0, 8), b"0:8"])
def test_slice_of_another_type_is_refused(shards: Any) -> None:
    with pytest.raises(InputError, match=r"^`shards` \(=.*\) must be A:B or K/N, such as 0:8 "):
        select_shards(small_spec("rcdb"), "all", shards)


@pytest.mark.parametrize("split", ["test", "", "Train", None])
def test_unknown_split_is_refused(split: Any) -> None:
    line = f"`split` (={split!r}) must be one of train, validation, all"
    for plan in (plan_shards, select_shards):
        with pytest.raises(InputError) as refused:
            plan(small_spec("rcdb"), split)
        assert str(refused.value) == line
