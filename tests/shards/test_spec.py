"""Specs: what is promised by their names, refused by their rules and told by their hash."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import Image, InputError, Instances, Shards, Spec, load_spec, presets
from shards.plan import plan_shards
from shards.spec import difference, override, parse_spec, spec_hash
from tests.shards.conftest import small_mapping, small_spec

PRESETS = {
    "quickstart-exfractal": ("exfractal", 100, (100, 5), 224, (10, 1)),
    "quickstart-rcdb": ("rcdb", 100, (100, 5), 512, (10, 1)),
    "exfractaldb-1k": ("exfractal", 1000, (1000, 10), 224, (128, 2)),
    "exfractaldb-21k": ("exfractal", 21_000, (1000, 2), 224, (2100, 5)),
    "mvfractaldb-1k": ("exfractal", 1000, (1000, 12), 224, (128, 2)),
    "rcdb-1k": ("rcdb", 1000, (1000, 10), 512, (128, 2)),
    "rcdb-21k": ("rcdb", 21_000, (1000, 2), 512, (2100, 5)),
}


def test_the_presets_are_those_promised() -> None:
    assert set(presets()) == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_its_name_promises(name: str) -> None:
    spec = load_spec(name)
    n_shards = tuple(len(plan_shards(spec, split)) for split in ("train", "validation"))
    instances = (spec.instances.train, spec.instances.validation)
    assert (spec.name, spec.seed, spec.shards.order) == (name, 0, "shuffled")
    assert (spec.family, spec.categories, instances, spec.size_px, n_shards) == PRESETS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_published_params(name: str) -> None:
    spec = load_spec(name)
    viewpoint = {"viewpoint": "ring"} if name.startswith("mv") else {}
    assert spec.params == small_spec(spec.family, params=viewpoint).params


def test_a_preset_copied_to_a_file_is_the_same_spec(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(presets()["mvfractaldb-1k"])
    assert load_spec(file) == load_spec(str(file)) == load_spec("mvfractaldb-1k")


BAD_VALUES: list[tuple[str, str, Any, str]] = [
    # family, key, value, what the message begins with: the key, the value and the rule
    ("rcdb", "name", "Upper Case", "`name` (='Upper Case') must be lower-case letters"),
    ("rcdb", "name", "", "`name` (='') must be lower-case letters"),
    ("rcdb", "name", 5, "`name` (=5) must be lower-case letters"),
    ("rcdb", "name", "x" * 101, f"`name` (='{'x' * 101}') must be lower-case letters"),
    ("rcdb", "family", "visualatom", "`family` (='visualatom') must be one of exfractal, rcdb"),
    ("rcdb", "family", ["rcdb"], "`family` (=['rcdb']) must be one of exfractal, rcdb"),
    ("rcdb", "family", None, "`family` (=None) must be one of exfractal, rcdb"),
    ("rcdb", "seed", -1, "`seed` (=-1) must be in 0..18446744073709551615"),
    ("rcdb", "seed", 2**64, "`seed` (=18446744073709551616) must be in 0..18446744073709551615"),
    ("rcdb", "seed", 1.5, "`seed` (=1.5) must be a whole number"),
    ("rcdb", "seed", "7", "`seed` (='7') must be a whole number"),
    ("rcdb", "categories", 0, "`categories` (=0) must be in 1..1000000"),
    ("rcdb", "categories", 1_000_001, "`categories` (=1000001) must be in 1..1000000"),
    ("rcdb", "categories", "many", "`categories` (='many') must be a whole number in 1..1000000"),
    ("rcdb", "categories", True, "`categories` (=True) must be a whole number"),
    ("rcdb", "categories", None, "`categories` (=None) must be a whole number"),
    ("rcdb", "instances", 12, "`instances` (=12) must be a mapping"),
    ("rcdb", "instances", None, "`instances` (=None) must be a mapping"),
    ("rcdb", "instances", {"train": 0}, "`instances.train` (=0) must be in 1..999999"),
    ("rcdb", "instances", {"train": 5, "validation": -1}, "`instances.validation` (=-1) must be in 0..999999"),
    ("rcdb", "instances", {"train": 5, "val": 1}, "`instances.val` (=1) is not a key of instances"),
    ("rcdb", "image", {"size": 15}, "`image.size` (=15) must be in 16..4096"),
    ("rcdb", "image", {"size": 4097}, "`image.size` (=4097) must be in 16..4096"),
    ("rcdb", "image", {"size": "64"}, "`image.size` (='64') must be a whole number"),
    ("rcdb", "image", {"width": 64}, "`image.width` (=64) is not a key of image; known keys: size"),
    ("rcdb", "shards", {"samples": 0}, "`shards.samples` (=0) must be in 1..1000000"),
    ("rcdb", "shards", {"order": "random"}, "`shards.order` (='random') must be one of shuffled, by-category"),
    ("rcdb", "shards", [7], "`shards` (=[7]) must be a mapping"),
    ("rcdb", "params", [], "`params` (=[]) must be a mapping"),
    ("rcdb", "params", {"points": 1000}, "`params.points` (=1000) is not a key of params"),
    ("rcdb", "params", {"vertices": [200, 3]}, "`params.vertices` (=[200, 3]) must have its lowest end first"),
    ("rcdb", "params", {"vertices": [2, 3]}, "`params.vertices` (=2) must be in 3..1000"),
    ("rcdb", "params", {"vertices": 3}, "`params.vertices` (=3) must be a pair [lowest, highest] in 3..1000"),
    ("rcdb", "params", {"perlin": [0, float("nan")]}, "`params.perlin` (=nan) must be in 0..100"),
    ("rcdb", "params", {"label": []}, "`params.label` (=[]) must be a list of one or more of vertices, contours"),
    ("rcdb", "params", {"label": ["gap", "gap"]}, "`params.label` (=['gap', 'gap']) must be a list of one or more"),
    ("rcdb", "params", {"label": ["colour"]}, "`params.label` (=['colour']) must be a list of one or more"),
    ("rcdb", "params", {"broken": 1.1}, "`params.broken` (=1.1) must be in 0..1"),
    (
        "exfractal",
        "params",
        {"vertices": [3, 9]},
        "`params.vertices` (=[3, 9]) is not a key of params; known keys: maps",
    ),
    ("exfractal", "params", {"point": 1000}, "`params.point` (=1000) is not a key of params; did you mean `points`?"),
    ("exfractal", "params", {"points": 99}, "`params.points` (=99) must be in 100..10000000"),
    ("exfractal", "params", {"points": 1e4}, "`params.points` (=10000.0) must be a whole number in 100..10000000"),
    ("exfractal", "params", {"maps": [1, 2]}, "`params.maps` (=1) must be in 2..16"),
    ("exfractal", "params", {"weight_range": 0.7}, "`params.weight_range` (=0.7) must be one of 0, 0.1, 0.2"),
    ("exfractal", "params", {"weight_range": False}, "`params.weight_range` (=False) must be one of 0, 0.1, 0.2"),
    ("exfractal", "params", {"viewpoint": "above"}, "`params.viewpoint` (='above') must be one of random, ring"),
    ("exfractal", "params", {"jitter_deg": float("inf")}, "`params.jitter_deg` (=inf) must be in 0..15"),
    ("exfractal", "catgories", 5, "`catgories` (=5) is not a key of the spec; did you mean `categories`?"),
    ("exfractal", "colour", "red", "`colour` (='red') is not a key of the spec; known keys: name, family"),
]


@pytest.mark.parametrize(("family", "key", "value", "beginning"), BAD_VALUES)
def test_a_bad_value_is_named_with_its_key_and_the_rule(
    family: str, key: str, value: Any, beginning: str, tmp_path: Path
) -> None:
    mapping = small_mapping(family, **{key: value})
    with pytest.raises(InputError) as from_python:
        parse_spec(mapping)
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(mapping))
    with pytest.raises(InputError) as from_file:
        load_spec(file)
    message = str(from_python.value)
    assert message.startswith(beginning)
    assert len(message.splitlines()) == 1
    assert str(from_file.value) == f"{file}: {message}"


@pytest.mark.parametrize("key", ["name", "family", "categories", "instances"])
def test_a_missing_key_is_named(key: str) -> None:
    mapping = small_mapping("rcdb")
    del mapping[key]
    with pytest.raises(InputError, match=f"^`{key}` is missing from the spec; add it$"):
        parse_spec(mapping)


def test_a_missing_inner_key_is_named() -> None:
    with pytest.raises(InputError, match=r"^`instances\.train` is missing from instances; add it$"):
        parse_spec(small_mapping("rcdb", instances={"validation": 3}))


def test_instances_of_both_splits_must_fit_in_six_digits() -> None:
    assert small_spec("rcdb", instances={"train": 999_999, "validation": 1}).instances.validation == 1
    with pytest.raises(InputError, match=r"instances\.validation` \(=1000001\) must be in 1\.\.1000000"):
        small_spec("rcdb", instances={"train": 999_999, "validation": 2})


def test_more_categories_than_the_label_allows_are_refused() -> None:
    params = {"label": ["vertices", "contours"], "vertices": [3, 4], "contours": [1, 5]}
    assert small_spec("rcdb", categories=10, params=params).categories == 10
    with pytest.raises(InputError, match=r"^`categories` \(=11\) must be at most 10: the label allows no more"):
        small_spec("rcdb", categories=11, params=params)


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "broken": (b"name: [a\n", "is not YAML"),
    "tabs": (b"instances:\n\ttrain: 5\n", "is not YAML"),
    "binary": (bytes(range(256)), "is not YAML"),
    "object": (b"name: !!python/object/apply:os.getcwd []\n", "is not YAML"),
    "no_such_day": (b"name: 2020-13-45\n", "is not YAML"),
    "too_long_a_number": (b"seed: " + b"9" * 5000, "is not YAML"),
    "empty": (b"", "(=None) must be a mapping"),
    "list": (b"- name: a\n", "(=[{'name': 'a'}]) must be a mapping"),
    "word": (b"hello\n", "(='hello') must be a mapping"),
}


@pytest.mark.parametrize("which", BAD_FILES)
def test_a_file_that_is_no_mapping_is_refused_in_one_line_that_names_it(which: str, tmp_path: Path) -> None:
    content, rule = BAD_FILES[which]
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_spec(file)
    message = str(error.value)
    assert str(file) in message
    assert rule in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("source", ["no-such-preset", "no/such/file.yaml", "."])
def test_what_is_neither_a_file_nor_a_preset_is_refused_with_the_list_of_presets(source: str) -> None:
    with pytest.raises(InputError) as error:
        load_spec(source)
    message = str(error.value)
    assert f"`SPEC` (={source!r})" in message
    assert all(name in message for name in PRESETS)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(
    family=st.sampled_from(["exfractal", "rcdb"]),
    path=st.sampled_from(
        ["name", "family", "seed", "categories", "instances", "instances.train", "image", "image.size", "shards.order"]
        + ["params", "params.maps", "params.viewpoint", "params.weight_range", "params.label", "params.gap", "new"]
    ),
    junk=JUNK,
)
def test_junk_is_a_spec_or_an_input_error_and_nothing_else(family: str, path: str, junk: Any) -> None:
    mapping = copy.deepcopy(small_mapping(family))
    *folders, key = path.split(".")
    inner = mapping[folders[0]] if folders else mapping
    inner[key] = junk
    try:
        spec = parse_spec(mapping)
    except InputError:
        return
    assert parse_spec(spec.to_mapping()) == spec


WHOLE = st.integers(1, 1000)


@st.composite
def mappings(draw: st.DrawFn) -> dict[str, Any]:
    def interval(numbers: st.SearchStrategy[Any]) -> list[Any]:
        return sorted(draw(st.tuples(numbers, numbers)))

    family = draw(st.sampled_from(["exfractal", "rcdb"]))
    ruled = {
        "exfractal": lambda: {
            "maps": interval(st.integers(2, 16)),
            "points": draw(st.integers(100, 10_000_000)),
            "variance_threshold": draw(st.floats(0, 1)),
            "weight_range": draw(st.sampled_from([0, 0.1, 0.6])),
            "viewpoint": draw(st.sampled_from(["random", "ring"])),
            "jitter_deg": draw(st.floats(0, 15)),
        },
        "rcdb": lambda: {
            "label": draw(st.permutations(["gap", "vertices", "radius"])),
            "gap": interval(st.floats(0, 100)),
            "centre": interval(st.integers(-1024, 1024)),
            "broken": draw(st.floats(0, 1)),
        },
    }
    return {
        "name": draw(st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,9}\Z")),
        "family": family,
        "seed": draw(st.integers(0, 2**64 - 1)),
        "categories": 1,
        "instances": {"train": draw(WHOLE), "validation": draw(WHOLE)},
        "image": {"size": draw(st.integers(16, 4096))},
        "shards": {"samples": draw(WHOLE), "order": draw(st.sampled_from(["shuffled", "by-category"]))},
        "params": ruled[family](),
    }


@settings(deadline=None)
@given(mapping=mappings())
def test_the_canonical_form_is_the_same_spec_again_through_yaml(mapping: dict[str, Any]) -> None:
    spec = parse_spec(mapping)
    text = yaml.safe_dump(spec.to_mapping(), sort_keys=False)
    again = parse_spec(yaml.safe_load(text))
    assert again == spec
    assert yaml.safe_dump(again.to_mapping(), sort_keys=False) == text
    assert spec_hash(again, "") == spec_hash(spec, "")


def test_a_spec_built_in_python_is_the_one_of_the_file(family: str) -> None:
    spec = small_spec(family)
    built = Spec(
        name=f"small-{family}",
        family=family,
        seed=7,
        categories=5,
        instances=Instances(train=12, validation=3),
        image=Image(size=64),
        shards=Shards(samples=7),
        params=spec.params,
    )
    assert built == spec
    assert hash(built) == hash(spec)


def test_params_of_the_other_family_are_refused_in_python_too() -> None:
    with pytest.raises(InputError, match="`params`"):
        Spec(name="a", family="rcdb", categories=1, instances=Instances(1), params=small_spec("exfractal").params)


def test_override_replaces_what_is_given_and_keeps_the_rest() -> None:
    spec = small_spec("rcdb")
    assert override(spec) == spec
    assert override(spec, categories=3, seed=0) == small_spec("rcdb", categories=3, seed=0)


OTHERS: dict[str, Any] = {
    "name": "another", "family": "rcdb", "seed": 8, "categories": 6, "instances.train": 13, "instances.validation": 4,
    "image.size": 65, "shards.samples": 8, "shards.order": "by-category",
}  # fmt: skip
OTHER_PARAMS: dict[str, dict[str, Any]] = {
    "exfractal": {
        "maps": [2, 8], "points": 1001, "variance_threshold": 0.06, "weight_range": 0.5, "viewpoint": "ring",
        "jitter_deg": 3.0,
    },
    "rcdb": {
        "label": ["vertices"], "vertices": [3, 21], "contours": [1, 21], "perlin": [0, 5], "gap": [0, 0.2],
        "radius": [0, 101], "aspect": [1, 3], "centre": [-400, 401], "broken": 0.1,
    },
}  # fmt: skip


def leaves(mapping: dict[str, Any], path: str = "") -> dict[str, Any]:
    found = {}
    for key, value in mapping.items():
        found |= leaves(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found


def others(family: str) -> dict[str, Any]:
    """Another good value for every field of a small spec."""
    params = {f"params.{key}": value for key, value in OTHER_PARAMS[family].items()}
    return {key: value for key, value in {**OTHERS, **params}.items() if (family, key) != ("rcdb", "family")}


def changed(spec: Spec, path: str, value: Any) -> Spec:
    mapping = spec.to_mapping()
    *folders, key = path.split(".")
    (mapping[folders[0]] if folders else mapping)[key] = value
    if path == "family":
        del mapping["params"]
    return parse_spec(mapping)


def test_the_hash_changes_with_any_field(spec: Spec) -> None:
    values = others(spec.family)
    assert {*values, "family"} == set(leaves(spec.to_mapping())), "give each new field another value in OTHERS"
    variants = [spec, *(changed(spec, path, value) for path, value in values.items())]
    hashes = {spec_hash(variant, "table") for variant in variants} | {spec_hash(spec, "another table")}
    assert len(hashes) == len(variants) + 1


def test_the_difference_of_two_specs_names_the_field_and_both_values(spec: Spec) -> None:
    mine = spec.to_mapping()
    assert difference(mine, spec.to_mapping()) is None
    for path, value in others(spec.family).items():
        other = changed(spec, path, value).to_mapping()
        here, there = (json.dumps(leaves(each)[path]) for each in (other, mine))
        assert difference(mine, other) == f"`{path}` is {there} there and {here} here"


def test_a_key_that_only_one_side_has_is_a_difference() -> None:
    assert difference({"a": {"b": 1}}, {"a": {}}) == "`a.b` is 1 there and null here"
    assert difference({"a": {}}, {"a": {"b": 1}}) == "`a.b` is null there and 1 here"


def test_the_hash_is_of_the_meaning_and_not_of_the_writing() -> None:
    explicit = {"label": ["vertices", "contours", "perlin", "gap"], "perlin": [0.0, 4.0], "gap": [0, 0.1]}
    written = small_spec("rcdb", params={**explicit, "broken": 0})
    reordered = small_spec("rcdb", params={"gap": (0.0, 0.1), "label": ["gap", "perlin", "contours", "vertices"]})
    implicit = small_spec("rcdb", params={})
    assert spec_hash(written, "") == spec_hash(reordered, "") == spec_hash(implicit, "")


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_hash_does_not_depend_on_the_process(hash_seed: str, spec: Spec) -> None:
    code = (
        "import json, sys; from shards.spec import parse_spec, spec_hash;"
        "print(spec_hash(parse_spec(json.loads(sys.argv[1])), 'table'))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, json.dumps(spec.to_mapping())],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == spec_hash(spec, "table")


def test_a_baked_directorys_spec_is_a_spec_again(baked: Path, spec: Spec) -> None:
    assert load_spec(baked / "spec.yaml") == spec
