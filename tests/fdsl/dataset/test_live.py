"""A live dataset: every item is a pure function of its position, epoch and view."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fdsl import Dataset, InputError, LiveDataset, Spec
from fdsl.dataset.live import find_image, pixels_sha256
from fdsl.dataset.plan import image_key, image_names, parse_key, plan_shards
from fdsl.primitives.streams import TRAIN, VALIDATION, Stream, domain

TARGETS = {"exfractal": ("factor", "coefficient"), "rcdb": ("perlin", "vertices")}


@pytest.fixture(scope="module")
def dataset(spec: Spec, table: pa.Table) -> Dataset:
    return Dataset(spec, table)


@pytest.fixture(scope="module")
def live(dataset: Dataset) -> LiveDataset:
    return LiveDataset(dataset)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_items_are_in_the_shards_order(split: str, dataset: Dataset) -> None:
    live = LiveDataset(dataset, split)
    names = [name for shard in plan_shards(dataset.spec, split) for name in image_names(dataset.spec, shard)]
    assert len(live) == len(names)
    items = list(live)  # type: ignore[call-overload]
    for position, (name, (image, label)) in enumerate(zip(names, items, strict=True)):
        assert (label, type(label), image.dtype, image.shape) == (name[0], int, np.uint8, (64, 64))
        assert np.array_equal(image, dataset.image(*name))
        assert live.key(position) == image_key(*name)
        assert live.index(live.key(position)) == position


def test_items_are_rendered_side_by_side(live: LiveDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [live[position] for position in (7, 7, -1, 0)]
    n_calls, images = 0, Dataset.images

    def counted(dataset: Dataset, names: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        return images(dataset, names)

    monkeypatch.setattr(Dataset, "images", counted)
    together = live.__getitems__([7, 7, -1, 0])
    assert n_calls == 1
    for (image, label), (other, other_label) in zip(together, alone, strict=True):
        assert label == other_label
        assert np.array_equal(image, other)
    assert live.__getitems__([]) == []


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, lambda number: np.array(number)])
def test_any_whole_number_is_a_position(kind: Any, live: LiveDataset) -> None:
    assert live.key(kind(5)) == live.key(5)
    assert live[kind(5)][1] == live[5][1]


@pytest.mark.parametrize("position", [60, -61, 10**30])
def test_position_outside_is_an_index_error(position: int, live: LiveDataset) -> None:
    assert live.key(-60) == live.key(0)
    for call in (live.key, live.parameters, live.__getitem__):
        with pytest.raises(IndexError, match=r"is not in -60\.\.59$"):
            call(position)


@pytest.mark.parametrize("position", [1.0, "1", None, slice(0, 2)])
def test_position_of_another_type_is_a_type_error(position: Any, live: LiveDataset) -> None:
    with pytest.raises(TypeError):
        live[position]


def test_parameters_are_those_of_the_tables(live: LiveDataset) -> None:
    dataset, (category, instance) = live.dataset, parse_key(live.key(3))
    _, variant = next(dataset.images([(category, instance)]))
    parameters = live.parameters(3)
    schema = dataset.spec.family_module.SCHEMA.names[2:]
    assert set(parameters) == {*schema, *dataset.spec.family_module.VARIANT_SCHEMA.names}
    row = dataset.table.to_pylist()[category]
    for name, value in parameters.items():
        assert value == getattr(variant, name, row.get(name))
        assert value is not None


# Epochs and views


def test_epoch_law(dataset: Dataset) -> None:
    """Instance j of epoch e is j + e (train + validation), and its random numbers are those of its own split."""
    family, spec = dataset.spec.family_module, dataset.spec
    for split, role in (("train", TRAIN), ("validation", VALIDATION)):
        first = LiveDataset(dataset, split)
        for epoch in (0, 1, 7):
            live = replace(first, epoch=epoch)
            category, own = parse_key(first.key(3))
            assert parse_key(live.key(3)) == (category, own + 15 * epoch)
            stream = Stream(spec.seed, domain(family.DOMAIN, role), category, own + 15 * epoch)
            image, _ = next(family.render_each(spec.params, 64, [(dataset.rows[category], stream)]))
            assert np.array_equal(live[3][0], image)
            assert live[3][1] == category


def test_identity_is_that_of_the_dataset(dataset: Dataset) -> None:
    live = LiveDataset(dataset, "validation", epoch=2)
    assert (live.hash, live.n_classes) == (dataset.hash, dataset.spec.categories)


def test_no_two_epochs_or_splits_share_a_key(dataset: Dataset) -> None:
    lives = [LiveDataset(dataset, split, epoch) for split in ("train", "validation") for epoch in range(4)]
    keys = [live.key(position) for live in lives for position in range(len(live))]
    assert len(set(keys)) == len(keys) == 4 * 75


def test_epoch_has_new_images_of_the_same_categories(live: LiveDataset) -> None:
    later = replace(live, epoch=1)
    assert [later[k][1] for k in range(60)] == [live[k][1] for k in range(60)]
    images = {image.tobytes() for one in (live, later) for image, _ in one.__getitems__(range(60))}
    assert len(images) > 110  # two small images of a family may be equal


def test_views_are_epochs_of_their_own(live: LiveDataset) -> None:
    for epoch in (0, 3):
        pair = replace(live, epoch=epoch, views=2)
        image, label = pair[7]
        assert (image.shape, image.dtype) == ((2, 64, 64), np.uint8)
        for view in range(2):
            single = replace(live, epoch=2 * epoch + view)
            assert label == single[7][1]
            assert np.array_equal(image[view], single[7][0])
            assert pair.index(single.key(7)) == 7
        assert pair.key(7) == replace(live, epoch=2 * epoch).key(7)


def test_targets_are_the_numbers_drawn(live: LiveDataset) -> None:
    names = TARGETS.get(live.dataset.spec.family, ())
    image, label, targets = replace(live, targets=list(names))[5]
    assert np.array_equal(image, live[5][0])
    assert label == live[5][1]
    assert targets == {name: live.parameters(5)[name] for name in names}
    _, _, both = replace(live, targets=names, views=2)[5]
    for name in names:
        values = [replace(live, epoch=epoch).parameters(5)[name] for epoch in range(2)]
        assert both[name].tolist() == values


# Identity


def test_image_is_found_by_its_key(dataset: Dataset) -> None:
    for split, epoch in (("train", 0), ("validation", 0), ("train", 6)):
        live = LiveDataset(dataset, split, epoch)
        found, position = find_image(dataset, live.key(9))
        assert (found.split, found.epoch, position) == (split, epoch, 9)


@pytest.mark.parametrize("key", ["000005_000000", "000000_000012", "000000_000015"])
def test_key_of_another_image_is_refused(key: str, live: LiveDataset) -> None:
    with pytest.raises(InputError) as refused:
        live.index(key)
    assert str(refused.value) == f"`key` (={key}) is not an image of {live.dataset.spec.name}, split train, epoch 0"


def test_pixels_hash_is_that_of_the_images(live: LiveDataset) -> None:
    joined = b"".join(live[k][0].tobytes() for k in range(60))
    assert pixels_sha256(live, 1000) == hashlib.sha256(joined).hexdigest()
    assert pixels_sha256(live, 10) == hashlib.sha256(joined[: 10 * 64 * 64]).hexdigest()


def test_pickled_dataset_is_the_same(live: LiveDataset) -> None:
    copy = pickle.loads(pickle.dumps(replace(live, epoch=2)))
    assert copy.key(3) == replace(live, epoch=2).key(3)
    assert np.array_equal(copy[3][0], replace(live, epoch=2)[3][0])


# Refusals


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"split": "all"}, "`split` (='all') must be one of train, validation"),
        ({"epoch": -1}, "`epoch` (=-1) must be a whole number in 0..286,331,152"),
        ({"epoch": 143_165_576, "views": 2}, "`epoch` (=143165576) must be a whole number in 0..143,165,575"),
        ({"views": 0}, "`views` (=0) must be a whole number in 1..286,331,153"),
        ({"targets": "perlin"}, "`targets` (='perlin') must be a list or tuple of names"),
        ({"targets": ("pelrin",)}, "`targets` (='pelrin') is not a parameter of an image; did you mean `perlin`?"),
    ],
)
def test_wrong_argument_is_refused(changes: dict[str, Any], line: str, live: LiveDataset) -> None:
    known = live.dataset.spec.family_module.VARIANT_SCHEMA.names
    if "perlin" not in known:
        line = line.replace("did you mean `perlin`?", f"known: {', '.join(known)}")
    with pytest.raises(InputError) as refused:
        replace(live, **changes)
    assert str(refused.value) == line


def test_empty_split_is_refused(spec: Spec, table: pa.Table) -> None:
    dataset = Dataset(spec.replace(instances={"train": 12, "validation": 0}), table)
    with pytest.raises(InputError, match=r"^`split` \(=validation\) is empty: small-.* has no such images$"):
        LiveDataset(dataset, "validation")


def test_last_epoch_renders(live: LiveDataset) -> None:
    """Its instances end within the 32 bits that a random stream addresses."""
    last = replace(live, epoch=286_331_152)
    assert last.index(last.key(0)) == 0
    assert last[0][0].shape == (64, 64)
