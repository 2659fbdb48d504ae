"""Whatever stands in a file that a user or a disk has changed: one line says so, or it does no harm; never a traceback."""

from __future__ import annotations

import copy as copying
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from shards import InputError, Spec, bake, load_spec, repair, verify
from shards.categories import read_table
from shards.directory import Directory
from shards.plan import plan_shards, samples_of
from tests.corruptions import HARMS, count, what_is_found
from tests.shards.conftest import FAMILIES, NAME, run_fdsl, small_mapping, small_spec, snapshot

FUZZ = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=20), st.dates(),
    st.sampled_from(["exfractal", "rcdb", "shuffled", "../x", "0:5", "1e3", "٣", "nul\0", "🙂"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS.filter(bool), inner, max_size=4),
    max_leaves=8,
)


def told(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or the one line that it says."""
    try:
        return call()
    except InputError as error:
        found = error
    assert len(str(found).splitlines()) == 1
    assert len(str(found)) < 3000
    return found


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values within a nest of mappings and lists."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, child in children for found in places(child, (*path, key))]


@st.composite
def changed(draw: st.DrawFn, mapping: dict[str, Any]) -> dict[str, Any]:
    """A mapping of which a value or two are replaced, dropped, or joined by one that does not belong."""
    mapping = copying.deepcopy(mapping)
    for _ in range(draw(st.integers(1, 2))):
        *path, last = draw(st.sampled_from(places(mapping)))
        holder: Any = mapping
        for key in path:
            holder = holder[key]
        match draw(st.sampled_from(["replace", "replace", "replace", "drop", "add"])):
            case "replace":
                holder[last] = draw(VALUES)
            case "drop":
                del holder[last]
            case "add" if isinstance(holder, dict):
                holder[draw(st.text(max_size=9))] = draw(VALUES)
        if not places(mapping):
            break
    return mapping


def plain(value: Any) -> Any:
    """A nest as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [plain(child) for child in value]
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def assert_spec_or_line(path: Path) -> None:
    found = told(lambda: load_spec(path))
    if isinstance(found, Spec):
        shards = plan_shards(found)
        assert sum(shard.samples for shard in shards) == found.categories * (
            found.instances.train + found.instances.validation
        )
        if shards[0].samples < 10**6:
            samples_of(found, shards[0])


@FUZZ
@given(st.sampled_from(FAMILIES).flatmap(lambda family: changed(small_mapping(family))))
def test_a_spec_with_any_value_changed_is_a_spec_or_a_line(tmp_path: Path, mapping: dict[str, Any]) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(mapping, allow_unicode=True), encoding="utf-8")
    assert_spec_or_line(path)


@FUZZ
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass"))))
def test_any_bytes_are_a_spec_or_a_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(content)
    assert_spec_or_line(path)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [touch evil]", "!!python/name:os.system", "!!binary x", "a: *a", "&a [*a]",
        "- " * 9999, "{" * 9999,
    ],
)  # fmt: skip
def test_yaml_that_would_run_code_or_never_end_is_a_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    assert isinstance(told(lambda: load_spec(path)), InputError)
    assert snapshot(tmp_path).keys() == {"spec.yaml"}


def test_a_value_that_unfolds_to_billions_is_a_line(tmp_path: Path) -> None:
    nest = "&a0 [x, x, x, x, x, x, x, x, x]"
    for k in range(1, 12):
        nest = f"&a{k} [{nest}, {', '.join([f'*a{k - 1}'] * 8)}]"
    path = tmp_path / "spec.yaml"
    path.write_text(f"name: x\nfamily: rcdb\ncategories: 5\ninstances: {{train: 1}}\nseed: {nest}\n")
    done = run_fdsl("plan", path)
    assert done.returncode == 1
    assert "`seed` (=[[[[...], [...]" in done.stderr


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_categories_table_is_a_table_or_a_line(seed: int, copy: Directory) -> None:
    path, rng = copy.path / "categories.parquet", random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 5, 50])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(bytes(content[: rng.choice([len(content), rng.randrange(len(content))])]))
    told(lambda: read_table(copy.spec, path))
    told(lambda: verify(copy.path, workers=1, window="0:1"))


@FUZZ
@given(st.data())
def test_a_categories_table_with_other_values_is_a_table_or_a_line(tmp_path: Path, data: st.DataObject) -> None:
    family = data.draw(st.sampled_from(FAMILIES))
    spec = small_spec(family)
    schema = spec.rules.SCHEMA
    values = {
        "exfractal": st.lists(st.lists(st.none() | st.floats(), max_size=13) | st.none(), max_size=3) | st.none(),
        "rcdb": st.none() | st.integers(-(2**15), 2**15 - 1),
    }
    columns = {}
    for field in schema:
        value = {
            pa.float64(): st.none() | st.floats(),
            pa.int32(): st.integers(0, 6),
            pa.int64(): st.none() | st.integers(-(2**63), 2**63 - 1),
            pa.list_(pa.float64()): st.none() | st.lists(st.none() | st.floats(), max_size=3),
        }.get(field.type, values[family])
        column = data.draw(st.lists(value, min_size=5, max_size=5))
        if field.name == "category" and data.draw(st.integers(0, 3)):
            column = list(range(5))
        columns[field.name] = pa.array(column, field.type)
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table(columns), path)
    table = told(lambda: read_table(spec, path))
    if not isinstance(table, InputError):
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            told(lambda: bake(spec, Path(folder), table=table, workers=1, window="0:1"))


JSON_FILES = (f"receipts/{NAME}.json", "_info.json")


@pytest.mark.parametrize("name", JSON_FILES)
def test_a_json_file_with_any_value_changed_is_found_and_repaired(name: str, copy: Directory, baked: Path) -> None:
    path, whole = copy.path / name, (baked / name).read_bytes()

    @FUZZ
    @given(changed(json.loads(whole)))
    def check(mapping: dict[str, Any]) -> None:
        path.write_text(json.dumps(plain(mapping), indent=1) + "\n")
        is_same = json.loads(path.read_text()) == json.loads(whole)
        assume(not is_same or json.dumps(plain(mapping)) == json.dumps(json.loads(whole)))  # 6.0 and True are 6 and 1
        found = verify(copy.path, workers=1, window=None if name == "_info.json" else "3:4")
        assert bool(found.problems) != is_same
        assert all(len(problem.splitlines()) == 1 for problem in found.problems)

    check()
    path.write_text('{"splits": {}}')
    repair(copy.path, workers=1)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("name", [*JSON_FILES, "shards.parquet", "spec.yaml"])
@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_is_found_or_says_the_same(name: str, seed: int, copy: Directory) -> None:
    path, rng = copy.path / name, random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 5])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(bytes(content[: rng.choice([len(content), rng.randrange(len(content))])]))
    found = told(lambda: verify(copy.path, workers=1, window="3:4" if "receipts" in name else None))
    if not isinstance(found, InputError) and not found.problems:
        assert name in ("shards.parquet", "spec.yaml")  # whose comments, order or statistics say nothing


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_every_harm_to_a_shard_is_found_each_time(harm: Any, baked: Path) -> None:
    tried, found, said = count(baked, harm, 12)
    assert (tried, found) == (12, 12)
    assert all(len(problem.splitlines()) == 1 and problem.isprintable() for problem in said), said


@FUZZ
@given(st.sampled_from(sorted(HARMS, key=lambda harm: harm.__name__)), st.integers(0, 2**32 - 1))
def test_any_harm_to_a_shard_is_found(baked: Path, harm: Any, seed: int) -> None:
    assert what_is_found(baked, harm, seed) != []


def test_the_count_of_harms_can_be_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.corruptions", "1"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].split() == ["in", "all", "38", "tried", "38", "found"]


def test_a_damaged_directory_is_told_by_the_command_without_a_traceback(baked: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    for k in range(2):
        out = Path(shutil.copytree(baked, tmp_path / str(k)))
        for path in rng.sample(sorted(path for path in out.rglob("*") if path.is_file()), 5):
            path.write_bytes(rng.randbytes(rng.randrange(100)))
        for command in ("verify", "repair"):
            done = run_fdsl(command, out)
            assert "Traceback" not in done.stdout + done.stderr, done.stderr
            assert done.returncode in (0, 1)
            assert command == "repair" or done.returncode == 1
