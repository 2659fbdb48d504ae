"""Specs: which are accepted, how others are refused, and what their hash covers."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fdsl import ImageFormat, InputError, Instances, ShardFormat, Spec, parse_spec
from fdsl.dataset.families import FAMILIES
from fdsl.dataset.spec import OUTSIDE_HASH, dataset_hash, difference, hash_of_format
from fdsl.primitives.validation import describe
from tests.fdsl.dataset.changes import changed, leaves, other_specs
from tests.shards.conftest import small_mapping, small_spec

NAME_RULE = "must be 1 to 100 lower-case letters, digits, `.`, `_` or `-`, the first a letter or digit"
LICENSE_RULE = "must be an SPDX identifier of at most 64 characters, such as CC0-1.0 or CC-BY-4.0"
FAMILY_RULE = f"must be one of {', '.join(FAMILIES)}"
SEED_LIMIT = "must be at most 18,446,744,073,709,551,615"

ROOMY = {"train": 1740, "validation": 1740}
"""Instances that fit any params."""


@pytest.fixture
def spec(family: str) -> Spec:
    return small_spec(family, instances=ROOMY)


BAD_VALUES: list[tuple[str, Any, str]] = [
    # key, value, message
    ("name", "Upper Case", f"`name` (='Upper Case') {NAME_RULE}"),
    ("name", "", f"`name` (='') {NAME_RULE}"),
    ("name", "-a", f"`name` (='-a') {NAME_RULE}"),
    ("name", "a\n", rf"`name` (='a\n') {NAME_RULE}"),
    ("name", 5, "`name` (=5) must be text"),
    ("name", "x" * 101, f"`name` (='{'x' * 101}') {NAME_RULE}"),
    ("family", "no-such-family", f"`family` (='no-such-family') {FAMILY_RULE}"),
    ("family", ["rcdb"], f"`family` (=['rcdb']) {FAMILY_RULE}"),
    ("family", None, f"`family` (=None) {FAMILY_RULE}"),
    ("seed", -1, "`seed` (=-1) must be at least 0"),
    ("seed", 2**64, f"`seed` (=18446744073709551616) {SEED_LIMIT}"),
    ("seed", 1.5, "`seed` (=1.5) must be a whole number"),
    ("seed", "7", "`seed` (='7') must be a whole number; write 7"),
    ("categories", 0, "`categories` (=0) must be at least 1"),
    ("categories", 1_000_001, "`categories` (=1000001) must be at most 1,000,000"),
    ("categories", "many", "`categories` (='many') must be a whole number"),
    ("categories", True, "`categories` (=True) must be a whole number"),
    ("categories", None, "`categories` (=None) must be a whole number"),
    ("instances", 12, "`instances` (=12) must be a mapping of keys to values"),
    ("instances", None, "`instances` (=None) must be a mapping of keys to values"),
    ("instances", {"train": 0}, "`instances.train` (=0) must be at least 1"),
    ("instances", {"train": 10**6 + 1}, "`instances.train` (=1000001) must be at most 1,000,000"),
    ("instances", {"train": 5, "validation": -1}, "`instances.validation` (=-1) must be at least 0"),
    (
        "instances",
        {"train": 5, "val": 1},
        "`instances.val` (=1) is not a key of instances; known keys: train, validation",
    ),
    (
        "instances",
        {"train": 999_999, "validation": 2},
        "`instances` (={'train': 999999, 'validation': 2}) must be at most 1,000,000 in total, not 1,000,001",
    ),
    ("image", {"size": 15}, "`image.size` (=15) must be at least 16"),
    ("image", {"size": 4097}, "`image.size` (=4097) must be at most 4,096"),
    ("image", {"size": "64"}, "`image.size` (='64') must be a whole number; write 64"),
    ("image", {"width": 64}, "`image.width` (=64) is not a key of image; known keys: size"),
    ("image", {}, "`image.size` is missing from image; add it"),
    ("shards", {"samples": 0}, "`shards.samples` (=0) must be at least 1"),
    ("shards", {"order": "random"}, "`shards.order` (='random') must be 'shuffled' or 'by-category'"),
    ("shards", [7], "`shards` (=[7]) must be a mapping of keys to values"),
    ("shards", None, "`shards` (=None) must be a mapping of keys to values"),
    ("license", "", f"`license` (='') {LICENSE_RULE}"),
    ("license", "CC0\nname: x", f"`license` (='CC0\\nname: x') {LICENSE_RULE}"),
    ("license", 4, "`license` (=4) must be text"),
    ("params", [], "`params` (=[]) must be a mapping of keys to values"),
    ("params", "none", "`params` (='none') must be a mapping of keys to values"),
    ("catgories", 5, "`catgories` (=5) is not a key of the spec; did you mean `categories`?"),
    (
        "colour",
        "red",
        "`colour` (='red') is not a key of the spec;"
        " known keys: name, family, categories, instances, seed, image, shards, params, license",
    ),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD_VALUES)
def test_bad_value_is_refused(key: str, value: Any, message: str, family: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_spec(small_mapping(family, **{key: value}))
    assert str(refused.value) == message


def test_unknown_param_is_refused(family: str) -> None:
    names = list(FAMILIES[family].Params.model_fields)
    for key, hint in ((f"{names[0]}x", f"did you mean `{names[0]}`?"), ("zzzz", f"known keys: {', '.join(names)}")):
        with pytest.raises(InputError) as refused:
            parse_spec(small_mapping(family, params={key: 3}))
        assert str(refused.value) == f"`params.{key}` (=3) is not a key of params; {hint}"


@pytest.mark.parametrize("key", ["name", "family", "categories", "instances"])
def test_missing_key_is_named(key: str, family: str) -> None:
    mapping = small_mapping(family)
    del mapping[key]
    with pytest.raises(InputError, match=f"^`{key}` is missing from the spec; add it$"):
        parse_spec(mapping)


def test_missing_inner_key_is_named(family: str) -> None:
    with pytest.raises(InputError, match=r"^`instances\.train` is missing from instances; add it$"):
        parse_spec(small_mapping(family, instances={"validation": 3}))


def test_a_million_instances_fit(family: str) -> None:
    assert small_spec(family, instances={"train": 999_999, "validation": 1}).instances.validation == 1
    assert small_spec(family, instances={"train": 1_000_000, "validation": 0}).instances.train == 1_000_000


def test_too_many_categories_are_refused() -> None:
    params = {"label": ["vertices", "contours"], "vertices": [3, 4], "contours": [1, 5]}
    assert small_spec("rcdb", categories=10, params=params).categories == 10
    line = "`categories` (=11) must be at most 10: `params` allow no more; widen a range or extend `label`"
    with pytest.raises(InputError) as refused:
        small_spec("rcdb", categories=11, params=params)
    assert str(refused.value) == line


def test_too_many_shards_are_refused(family: str) -> None:
    big = {"categories": 1000, "instances": {"train": 1000}}
    assert small_spec(family, **big, shards={"samples": 2}).n_images("train") == 1_000_000
    line = "`shards.samples` (=1) must be at least 2: a split has at most 999,999 shards"
    with pytest.raises(InputError) as refused:
        small_spec(family, **big, shards={"samples": 1})
    assert str(refused.value) == line


@pytest.mark.parametrize("whole", [None, [], "text", 3])
def test_spec_must_be_a_mapping(whole: Any) -> None:
    with pytest.raises(InputError) as refused:
        parse_spec(whole)
    assert str(refused.value) == f"`the spec` (={whole!r}) must be a mapping of keys to values"


def test_empty_image_and_params_mean_the_defaults(family: str) -> None:
    mapping = small_mapping(family, params={})
    del mapping["image"]
    spec = parse_spec(mapping)
    assert spec.size_px == FAMILIES[family].SIZE_PX
    assert spec.params == FAMILIES[family].Params()
    assert parse_spec({**mapping, "image": None, "params": None}) == spec
    del mapping["params"]
    assert parse_spec(mapping) == spec


@pytest.mark.parametrize("number", [np.int64(5), np.uint64(5), np.float64(5.0), np.bool_(True)])
@pytest.mark.parametrize("key", ["seed", "categories"])
def test_numpy_numbers_are_refused(key: str, number: Any, spec: Spec) -> None:
    with pytest.raises(InputError) as refused:
        spec.replace(**{key: number})
    assert str(refused.value) == f"`{key}` (={number!r}) must be a whole number"


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["name", "family", "seed", "categories", "instances", "instances.train", "image", "image.size", "shards.order"]


@settings(deadline=None)
@given(data=st.data(), family=st.sampled_from(sorted(FAMILIES)), junk=JUNK)
def test_junk_is_a_spec_or_an_input_error(data: st.DataObject, family: str, junk: Any) -> None:
    params = [f"params.{name}" for name in FAMILIES[family].Params.model_fields]
    path = data.draw(st.sampled_from([*KEYS, "params", *params, "new"]))
    mapping = copy.deepcopy(small_mapping(family))
    *folders, key = path.split(".")
    (mapping[folders[0]] if folders else mapping)[key] = junk
    try:
        spec = parse_spec(mapping)
    except InputError:
        return
    assert parse_spec(spec.to_mapping()) == spec


@cache
def params_options(family: str) -> dict[str, list[Any]]:
    """Some valid values of each parameter other than the default."""
    spec = parse_spec({"name": "a", "family": family, "categories": 1, "instances": ROOMY})
    return {
        name: [other.to_mapping()["params"][name] for other in other_specs(spec, f"params.{name}")]
        for name in spec.to_mapping()["params"]
    }


WHOLE = st.integers(1, 1000)
ROUNDS = st.integers(1, 200)


@st.composite
def mappings(draw: st.DrawFn) -> dict[str, Any]:
    """A spec of any family, with some params other than the defaults."""
    family = draw(st.sampled_from(sorted(FAMILIES)))
    options = params_options(family)
    names = draw(st.sets(st.sampled_from(sorted(options))))
    params = {name: draw(st.sampled_from(options[name])) for name in sorted(names)}
    step = FAMILIES[family].Params.model_validate(params).instances_step
    return {
        "name": draw(st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,9}\Z")),
        "family": family,
        "seed": draw(st.integers(0, 2**64 - 1)),
        "categories": 1,
        "instances": {split: draw(ROUNDS) * step for split in ROOMY},
        "image": {"size": draw(st.integers(16, 4096))},
        "shards": {"samples": draw(WHOLE), "order": draw(st.sampled_from(["shuffled", "by-category"]))},
        "params": params,
    }


@settings(deadline=None)
@given(mapping=mappings())
def test_canonical_form_survives_yaml(mapping: dict[str, Any]) -> None:
    spec = parse_spec(mapping)
    text = yaml.safe_dump(spec.to_mapping(), sort_keys=False)
    again = parse_spec(yaml.safe_load(text))
    assert again == spec
    assert yaml.safe_dump(again.to_mapping(), sort_keys=False) == text
    assert dataset_hash(again, "") == dataset_hash(spec, "")


def test_spec_built_in_python_equals_the_parsed_one(family: str) -> None:
    spec = small_spec(family)
    built = Spec(
        name=f"small-{family}",
        family=family,
        seed=7,
        categories=5,
        instances=Instances(train=12, validation=3),
        image=ImageFormat(size=64),
        shards=ShardFormat(samples=7),
        params=spec.params,
    )
    assert built == spec
    assert hash(built) == hash(spec)


def test_python_gives_the_same_error_line(family: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Spec(name="a", family=family, categories=0, instances=Instances(train=1))
    assert describe(refused.value, "the spec") == "`categories` (=0) must be at least 1"


def test_params_of_another_family_are_refused(family: str) -> None:
    for other in FAMILIES.keys() - {family}:
        with pytest.raises(ValidationError) as refused:
            Spec(name="a", family=family, categories=1, instances=Instances(train=1), params=small_spec(other).params)
        assert describe(refused.value, "the spec").startswith("`params` (=Params(")


def test_replace_keeps_the_rest(spec: Spec) -> None:
    assert spec.replace() == spec
    assert spec.replace(categories=3, seed=0) == small_spec(spec.family, instances=ROOMY, categories=3, seed=0)
    with pytest.raises(InputError, match=r"^`categories` \(=0\) must be at least 1$"):
        spec.replace(categories=0)


def test_hash_changes_with_any_field(spec: Spec) -> None:
    variants = [spec]
    for path in leaves(spec.to_mapping()):
        if path not in OUTSIDE_HASH and (path != "family" or len(FAMILIES) > 1):
            variants.append(next(other_specs(spec, path)))
    hashes = {dataset_hash(variant, "table") for variant in variants} | {dataset_hash(spec, "another table")}
    assert len(hashes) == len(variants) + 1 > 10


def test_licence_is_outside_the_hash(spec: Spec) -> None:
    assert spec.license == "CC0-1.0"
    assert dataset_hash(spec.replace(license="CC-BY-4.0"), "table") == dataset_hash(spec, "table")
    unlicensed = spec.to_mapping()
    del unlicensed["license"]
    assert parse_spec(unlicensed) == spec
    assert hash_of_format(2, unlicensed, "table") == dataset_hash(spec, "table")


OLD_HASHES: list[tuple[str, dict[str, Any], str]] = [
    ("exfractal", {}, "57fb746752d0505a"),
    ("exfractal", {"seed": 2**64 - 1}, "390d1ed63688a77f"),
    ("exfractal", {"image": {"size": 16}, "shards": {"samples": 7}}, "af5a5dbcf5d47aae"),
    ("exfractal", {"params": {"weight_range": 0}}, "be691e2348df31f2"),
    ("exfractal", {"params": {"weight_range": 0.0}}, "be691e2348df31f2"),
    ("exfractal", {"params": {"weight_range": 0.1}}, "e759ac31d9ed7ce7"),
    ("exfractal", {"params": {"weight_range": 0.6}}, "57fb746752d0505a"),
    ("exfractal", {"params": {"variance_threshold": 1}}, "3d981f90ad453e0a"),
    ("exfractal", {"params": {"jitter_deg": 3}}, "51f4a0a143c0f67e"),
    ("exfractal", {"params": {"maps": [2, 2], "points": 100, "viewpoint": "ring"}}, "c71af8031551d7c6"),
    ("rcdb", {}, "98bb49d66028a7d8"),
    ("rcdb", {"instances": {"train": 5}, "shards": {"order": "by-category"}}, "1624dd7c528b9135"),
    ("rcdb", {"params": {"perlin": [0, 4]}}, "98bb49d66028a7d8"),
    ("rcdb", {"params": {"broken": 0}}, "98bb49d66028a7d8"),
    ("rcdb", {"params": {"broken": 5e-324}}, "e3df34f526d88600"),
    ("rcdb", {"params": {"gap": [0, 1], "aspect": [1, 2]}}, "77d6462ae5b36316"),
    ("rcdb", {"params": {"label": ["gap", "vertices"]}}, "ef7e48340faab047"),
    ("rcdb", {"params": {"aspect": [0.1, 10]}}, "f27e3daf1ab7870e"),
]
"""Beginnings of hashes that version 0.1 computed, of format 1."""


@pytest.mark.parametrize(("family_name", "changes", "beginning"), OLD_HASHES)
def test_hash_is_that_of_older_versions(family_name: str, changes: dict[str, Any], beginning: str) -> None:
    """A directory that was baked before stays valid. Its format has no `weights`."""
    mapping = {"name": "a", "family": family_name, "categories": 5, "instances": {"train": 12, "validation": 3}}
    resolved = parse_spec({**mapping, **changes}).to_mapping()
    resolved["params"].pop("weights", None)
    assert hash_of_format(1, resolved, "t").startswith(beginning)
    assert not dataset_hash(parse_spec({**mapping, **changes}), "t").startswith(beginning)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_each_weight_needs_whole_rounds(split: str) -> None:
    params = {"viewpoint": "ring", "weights": "each"}
    assert small_spec("exfractal", instances=ROOMY, params=params).n_instances(split) == 1740
    with pytest.raises(InputError) as refused:
        small_spec("exfractal", instances={**ROOMY, split: 1000}, params=params)
    assert str(refused.value) == (
        f"`instances.{split}` (=1,000) must be a multiple of 1,740: `params` make that many images of each category in turn"
    )


def test_hash_does_not_depend_on_the_notation() -> None:
    explicit = {"label": ["vertices", "contours", "perlin", "gap"], "perlin": [0.0, 4.0], "gap": [0, 0.1]}
    written = small_spec("rcdb", params={**explicit, "broken": 0})
    reordered = small_spec("rcdb", params={"gap": (0.0, 0.1), "label": ["gap", "perlin", "contours", "vertices"]})
    implicit = small_spec("rcdb", params={})
    assert dataset_hash(written, "") == dataset_hash(reordered, "") == dataset_hash(implicit, "")


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_hash_does_not_depend_on_the_process(hash_seed: str) -> None:
    specs = [small_spec(name) for name in FAMILIES]
    code = (
        "import json, sys; from fdsl.dataset.spec import dataset_hash, parse_spec;"
        "print([dataset_hash(parse_spec(mapping), 'table') for mapping in json.loads(sys.argv[1])])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, json.dumps([spec.to_mapping() for spec in specs])],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == str([dataset_hash(spec, "table") for spec in specs])


def test_difference_names_the_field_and_both_values(spec: Spec) -> None:
    old = spec.to_mapping()
    assert difference(old, spec.to_mapping()) is None
    for path, value in leaves(old).items():
        for other in other_specs(spec, path):
            new = other.to_mapping()
            line = f"`{path}` is {json.dumps(value)} there and {json.dumps(leaves(new)[path])} here"
            assert difference(old, new) == line


def test_key_of_one_side_is_a_difference() -> None:
    assert difference({"a": {"b": 1}}, {"a": {}}) == "`a.b` is 1 there and null here"
    assert difference({"a": {}}, {"a": {"b": 1}}) == "`a.b` is null there and 1 here"


def test_each_field_has_another_valid_value(spec: Spec) -> None:
    """Guards the tests above: `other_specs` finds a change of every field."""
    for path, value in leaves(spec.to_mapping()).items():
        others = list(other_specs(spec, path))
        assert others or (path == "family" and len(FAMILIES) == 1), f"no other valid value of {path} was found"
        assert all(leaves(other.to_mapping())[path] != value for other in others)
        assert changed(spec, path, value).to_mapping()["params"] is not None
