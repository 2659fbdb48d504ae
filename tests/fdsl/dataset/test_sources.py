"""Presets and YAML files."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsl import Dataset, InputError, Spec, load_spec, presets
from fdsl.dataset.plan import plan_shards
from fdsl.dataset.sources import preset_text, read_yaml
from shards.manifest import manifest_yaml
from tests.fdsl.dataset.test_spec import BAD_VALUES
from tests.shards.conftest import small_mapping, small_spec

PRESETS = {
    "quickstart-exfractal": ("exfractal", 100, (100, 5), 224, (10, 1)),
    "quickstart-rcdb": ("rcdb", 100, (100, 5), 512, (10, 1)),
    "exfractaldb-1k": ("exfractal", 1000, (1000, 10), 224, (128, 2)),
    "exfractaldb-21k": ("exfractal", 21_000, (1000, 2), 224, (2100, 5)),
    "mvfractaldb-1k": ("exfractal", 1000, (1000, 12), 224, (128, 2)),
    "mvfractaldb-published": ("exfractal", 1000, (1740, 0), 224, (128, 0)),
    "rcdb-1k": ("rcdb", 1000, (1000, 10), 512, (128, 2)),
    "rcdb-21k": ("rcdb", 21_000, (1000, 2), 512, (2100, 5)),
}
"""Family, categories, instances, size and number of shards of each published dataset."""


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_what_its_name_says(name: str) -> None:
    spec = load_spec(name)
    n_shards = tuple(len(plan_shards(spec, split)) for split in ("train", "validation"))
    instances = (spec.instances.train, spec.instances.validation)
    assert (spec.name, spec.seed, spec.shards.order) == (name, 0, "shuffled")
    assert (spec.family, spec.categories, instances, spec.size_px, n_shards) == PRESETS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_preset_has_the_published_params(name: str) -> None:
    spec = load_spec(name)
    params = {"viewpoint": "ring"} if name.startswith("mv") else {}
    if name == "mvfractaldb-published":
        params["weights"] = "each"
    instances = {"train": 1740}
    assert spec.params == small_spec(spec.family, instances=instances, params=params).params


def test_copied_preset_is_the_same_spec(tmp_path: Path) -> None:
    for name, text in presets().items():
        file = tmp_path / f"{name}-copy.yaml"
        file.write_text(text)
        assert load_spec(file) == load_spec(str(file)) == load_spec(name)
        assert preset_text(name) == text


def test_bad_value_is_refused_with_its_file(tmp_path: Path, family: str) -> None:
    file = tmp_path / "bad.yaml"
    for key, value, message in BAD_VALUES:
        file.write_text(yaml.safe_dump(small_mapping(family, **{key: value})))
        with pytest.raises(InputError) as refused:
            load_spec(file)
        assert str(refused.value) == f"{file}: {message}"


_NOT_READ = "anchors, aliases and tags (&, *, !) are not read"
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "broken": (b"name: [a\n", "is not YAML"),
    "tabs": (b"instances:\n\ttrain: 5\n", "is not YAML"),
    "binary": (bytes(range(256)), "is not YAML"),
    "object": (b"name: !!python/object/apply:os.getcwd []\n", f"is not YAML: line 1: {_NOT_READ}"),
    "tag": (b"name: a\nseed: !!int 5\n", f"is not YAML: line 2: {_NOT_READ}"),
    "anchor": (b"name: &a a\n", f"is not YAML: line 1: {_NOT_READ}"),
    "alias": (b"name: *a\n", f"is not YAML: line 1: {_NOT_READ}"),
    "complex_key": (b"? [a, b]\n: 5\n", "is not YAML: line 1: a key must be a word"),
    "many_keys": (b"".join(b"k%d: 1\n" % k for k in range(60_000)), "bytes; such a file has at most 65,536"),
    "too_long_a_number": (b"seed: " + b"9" * 5000, "is not YAML"),
    "duplicate_key": (b"seed: 1\nname: a\nseed: 2\n", "is not YAML: line 3: duplicate key `seed`"),
    "duplicate_inner_key": (b"image: {size: 64, size: 65}\n", "is not YAML: line 1: duplicate key `size`"),
    "empty": (b"", "`the spec` (=None) must be a mapping"),
    "list": (b"- name: a\n", "`the spec` (=[{'name': 'a'}]) must be a mapping"),
    "word": (b"hello\n", "`the spec` (='hello') must be a mapping"),
}


@pytest.mark.parametrize("content", BAD_FILES)
def test_bad_file_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    raw, rule = BAD_FILES[content]
    file = tmp_path / "bad.yaml"
    file.write_bytes(raw)
    with pytest.raises(InputError) as refused:
        load_spec(file)
    message = str(refused.value)
    assert str(file) in message
    assert rule in message
    assert len(message.splitlines()) == 1


def test_billion_laughs_are_refused_in_a_short_line(tmp_path: Path) -> None:
    """A few lines of YAML can expand to a value larger than memory."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 20)]
    file = tmp_path / "laughs.yaml"
    file.write_text("\n".join([*lines, "name: *a19"]) + "\n")
    with pytest.raises(InputError) as refused:
        load_spec(file)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    "text",
    ["010", "0o10", "0x10", "0b1", "1_000", "1:30", "1e3", "1.0e3", "yes", "no", "on", "off", "2020-01-01", "<<", "="],
)
def test_only_plain_decimals_are_numbers(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{text}: {text}\n")
    assert read_yaml(file) == {text: text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("-0", 0), ("+12", 12), ("1.5", 1.5), ("-.5", -0.5), ("1.0e-7", 1e-7), ("2e+3", "2e+3"), (".inf", math.inf),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("'5'", "5"),
    ],
)  # fmt: skip
def test_values_are_those_of_json(text: str, value: object, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"a: {text}\n")
    assert repr(read_yaml(file)) == repr({"a": value})


TEXT = st.text(st.characters(codec="ascii"))


@settings(deadline=None)
@given(st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | st.floats() | TEXT, max_size=4))
def test_dumped_yaml_is_read_unchanged(mapping: dict[str, object]) -> None:
    """A bake reads back what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.yaml")
        file.write_text(yaml.safe_dump(mapping))
        assert repr(read_yaml(file)) == repr(dict(sorted(mapping.items())))


@pytest.mark.parametrize("source", ["no-such-preset", "no/such/file", "."])
def test_unknown_source_is_refused_with_all_presets(source: str) -> None:
    with pytest.raises(InputError) as refused:
        load_spec(source)
    message = str(refused.value)
    assert message.startswith(f"`spec` (={source!r}) is neither a preset nor a file; presets: ")
    assert all(name in message for name in presets())


def test_missing_file_is_refused() -> None:
    with pytest.raises(InputError, match=r"^`spec` \(='no/such/file\.yaml'\) does not exist; presets: "):
        load_spec("no/such/file.yaml")


def test_mistyped_preset_gets_a_hint() -> None:
    for load, key in ((load_spec, "spec"), (preset_text, "name")):
        with pytest.raises(InputError, match=rf"^`{key}` \(='rcdb-1kk'\) .*; did you mean `rcdb-1k`\?$"):
            load("rcdb-1kk")


def test_baked_directory_gets_a_hint(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("name: a\n")
    with pytest.raises(InputError) as refused:
        load_spec(tmp_path)
    assert str(refused.value).endswith(f"is neither a preset nor a file; did you mean {tmp_path / 'spec.yaml'}?")


def test_baked_spec_is_a_spec_again(spec: Spec, table: pa.Table, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_bytes(manifest_yaml(Dataset(spec, table)))
    assert load_spec(file) == spec
