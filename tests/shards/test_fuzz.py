"""Fuzzing: whatever a file holds, it is accepted, or refused in one line. Never a traceback."""

from __future__ import annotations

import copy as copying
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from fdsl import Dataset, InputError, Problem, Spec, bake, load_spec, open_directory, repair, search_categories
from fdsl.dataset.categories import read_table
from fdsl.dataset.families import FAMILIES
from fdsl.dataset.plan import image_names, plan_shards
from fdsl.dataset.sources import read_yaml
from fdsl.dataset.spec import FORMAT
from fdsl.version import made_with
from shards.manifest import Manifest
from tests import corruptions
from tests.shards.conftest import SERIAL, run_fdsl, small_mapping, small_spec, snapshot
from tests.shards.disk import OnDisk, on_disk
from tests.shards.harm import invoke, problems, reseal

T = TypeVar("T")

FUZZ = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=20), st.dates(),
    st.sampled_from([*FAMILIES, "shuffled", "../x", "0:5", "1e3", "٣", "nul\0", "🙂"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS.filter(bool), inner, max_size=4),
    max_leaves=8,
)


def result_or_error(call: Callable[[], T]) -> T | InputError:
    """Return the result of a call, or its InputError of one line."""
    try:
        return call()
    except InputError as error:
        refusal = error
    assert len(str(refusal).splitlines()) == 1
    assert len(str(refusal)) < 3000
    return refusal


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in nested mappings and lists."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [place for key, child in children for place in places(child, (*path, key))]
    return [path, *below] if path else below


@st.composite
def changed(draw: st.DrawFn, mapping: dict[str, Any]) -> dict[str, Any]:
    """Replace, delete or add one or two values of a mapping."""
    mapping = copying.deepcopy(mapping)
    for _ in range(draw(st.integers(1, 2))):
        *path, last = draw(st.sampled_from(places(mapping)))
        holder: Any = mapping
        for key in path:
            holder = holder[key]
        match draw(st.sampled_from(["replace", "replace", "replace", "delete", "add"])):
            case "replace":
                holder[last] = draw(VALUES)
            case "delete":
                del holder[last]
            case "add" if isinstance(holder, dict):
                holder[draw(st.text(max_size=9))] = draw(VALUES)
        if not places(mapping):
            break
    return mapping


def as_json(value: Any) -> Any:
    """Return nested values as JSON can hold them."""
    if isinstance(value, dict):
        return {str(key): as_json(child) for key, child in value.items()}
    if isinstance(value, list):
        return [as_json(child) for child in value]
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def damaged(content: bytes, rng: random.Random, n_bytes: tuple[int, ...]) -> bytes:
    """Return a file's content with some bytes overwritten, cut off in half of the cases."""
    edited = bytearray(content)
    for _ in range(rng.choice(n_bytes)):
        edited[rng.randrange(len(edited))] = rng.randrange(256)
    return bytes(edited[: rng.choice([len(edited), rng.randrange(len(edited))])])


# Specs


def assert_spec_or_error(path: Path) -> None:
    spec = result_or_error(lambda: load_spec(path))
    if isinstance(spec, Spec):
        shards = plan_shards(spec)
        n_instances = spec.instances.train + spec.instances.validation
        assert sum(shard.n_samples for shard in shards) == spec.categories * n_instances
        if shards[0].n_samples < 10**6:
            image_names(spec, shards[0])


@FUZZ
@given(st.sampled_from(sorted(FAMILIES)).flatmap(lambda family: changed(small_mapping(family))))
def test_spec_with_changed_values(tmp_path: Path, mapping: dict[str, Any]) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(mapping, allow_unicode=True), encoding="utf-8")
    assert_spec_or_error(path)


@FUZZ
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass"))))
def test_spec_of_random_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(content)
    assert_spec_or_error(path)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [touch evil]", "!!python/name:os.system", "!!binary x", "a: *a", "&a [*a]",
        "- " * 9999, "{" * 9999,
    ],
)  # fmt: skip
def test_hostile_yaml_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    assert isinstance(result_or_error(lambda: load_spec(path)), InputError)
    assert snapshot(tmp_path).keys() == {"spec.yaml"}


def test_yaml_that_expands_to_billions_is_refused(tmp_path: Path) -> None:
    nest = "&a0 [x, x, x, x, x, x, x, x, x]"
    for k in range(1, 12):
        nest = f"&a{k} [{nest}, {', '.join([f'*a{k - 1}'] * 8)}]"
    path = tmp_path / "spec.yaml"
    path.write_text(f"name: x\nfamily: rcdb\ncategories: 5\ninstances: {{train: 1}}\nseed: {nest}\n")
    error = result_or_error(lambda: load_spec(path))
    assert isinstance(error, InputError)
    assert "anchors, aliases and tags (&, *, !) are not read" in str(error)


# Categories tables


def test_damaged_categories_table(copy: OnDisk) -> None:
    path = copy.path / "categories.parquet"
    content = path.read_bytes()
    for seed in range(60):
        path.write_bytes(damaged(content, random.Random(seed), (1, 1, 5, 50)))
        result_or_error(lambda: Dataset(copy.spec, read_table(path), str(path)).hash)
        result_or_error(lambda: open_directory(copy.path))


def _values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Draw values of a column's type, None included."""
    if pa.types.is_list(kind):
        return st.none() | st.lists(_values(kind.value_type), max_size=13)
    if pa.types.is_floating(kind):
        return st.none() | st.floats() | st.floats(0, 4)
    limit = 2 ** (kind.bit_width - 1)
    return st.none() | st.integers(-limit, limit - 1) | st.integers(0, 30)


@pytest.fixture(scope="module")
def searched() -> dict[str, pa.Table]:
    """Categories of a small spec, by family."""
    return {family: search_categories(small_spec(family)).table for family in FAMILIES}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_categories_table_with_other_values(family: str, searched: dict[str, pa.Table], tmp_path: Path) -> None:
    spec, table, n_baked = small_spec(family), searched[family], 0
    columns = {name: table.column(name).to_pylist() for name in table.column_names}

    @settings(FUZZ, max_examples=100)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        nonlocal n_baked
        edited = copying.deepcopy(columns)
        for _ in range(data.draw(st.integers(1, 2))):
            field = data.draw(st.sampled_from(list(table.schema)))
            cells, kind = edited[field.name], field.type
            k = data.draw(st.integers(0, len(cells) - 1))
            while pa.types.is_list(kind) and cells[k] and data.draw(st.booleans()):
                cells, kind = cells[k], kind.value_type
                k = data.draw(st.integers(0, len(cells) - 1))
            cells[k] = data.draw(_values(kind))
        path = tmp_path / "table.parquet"
        pq.write_table(pa.table({field.name: pa.array(edited[field.name], field.type) for field in table.schema}), path)
        dataset = result_or_error(lambda: Dataset(spec, read_table(path)))
        if isinstance(dataset, Dataset):
            n_baked += 1
            with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
                result = bake(spec, Path(folder), categories=dataset.table, executor=SERIAL, shards="0:1")
                assert not result.failures or "replace it in the table" in result.failures["train-000000"]
                assert bool(problems(result.directory, shards="0:1", rerender=7)) == bool(result.failures)

    check()
    assert n_baked


# Receipts and index files


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 6 images in 2 shards, read-only for tests."""
    out = tmp_path_factory.mktemp("tiny") / "out"
    spec = small_spec("rcdb", categories=2, instances={"train": 2, "validation": 1}, shards={"samples": 4})
    bake(spec, out, executor=SERIAL)
    return out


@pytest.fixture
def tiny_copy(tiny: Path, tmp_path: Path) -> OnDisk:
    return on_disk(Path(shutil.copytree(tiny, tmp_path / "tiny")))


JSON_FILES = ("receipts/train-000000.json", "_info.json")


@pytest.mark.slow
@pytest.mark.parametrize("name", JSON_FILES)
def test_json_with_changed_values_is_found(name: str, tiny_copy: OnDisk) -> None:
    path = tiny_copy.path / name
    original = path.read_bytes()

    @FUZZ
    @given(changed(json.loads(original)))
    def check(mapping: dict[str, Any]) -> None:
        path.write_text(json.dumps(as_json(mapping), indent=1) + "\n")
        is_same = json.loads(path.read_text()) == json.loads(original)
        assume(not is_same or path.read_bytes() == original)  # 6.0 and True equal 6 and 1, but are written differently
        assert bool(problems(tiny_copy)) != is_same

    check()
    path.write_text('{"splits": {}}')
    repair(tiny_copy.path, executor=SERIAL)
    assert path.read_bytes() == original


@pytest.mark.parametrize("name", [*JSON_FILES, "shards.parquet", "spec.yaml"])
def test_damaged_file_is_found_or_harmless(name: str, tiny_copy: OnDisk) -> None:
    path = tiny_copy.path / name
    original, n_found = path.read_bytes(), 0
    for seed in range(40):
        path.write_bytes(damaged(original, random.Random(seed), (1, 5)))
        result = result_or_error(lambda: problems(tiny_copy))
        is_found = isinstance(result, InputError) or bool(result)
        n_found += is_found
        # comments, order and statistics of the other two say nothing
        assert is_found or name in ("shards.parquet", "spec.yaml") or path.read_bytes() == original
    assert n_found > 20


@pytest.mark.parametrize("name", ["samples/train-000000.parquet", "categories.parquet", "shards.parquet"])
def test_sealed_damaged_table_is_one_line(name: str, tiny_copy: OnDisk) -> None:
    path, shard = tiny_copy.path / name, plan_shards(tiny_copy.spec)[0]
    original, n_found = path.read_bytes(), 0
    n_footer = 8 + int.from_bytes(original[-8:-4], "little")
    for seed in range(150):
        rng = random.Random(seed)
        edited = bytearray(original)
        for _ in range(rng.choice((1, 1, 4))):
            edited[-rng.randrange(1, n_footer)] = rng.randrange(256)
        path.write_bytes(edited)
        reseal(tiny_copy, shard)
        result = result_or_error(lambda: problems(tiny_copy))
        n_found += isinstance(result, InputError) or bool(result)
    assert n_found > 50


@FUZZ
@given(VALUES)
@example({**made_with(), "a\nb": 1})
def test_other_versions_of_any_shape_are_one_line(value: Any) -> None:
    versions = as_json(value)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "spec.yaml")
        path.write_text(yaml.safe_dump({"made_with": versions}))
        read = result_or_error(lambda: read_yaml(path))
        if not isinstance(read, InputError):
            line = Manifest(small_spec("rcdb"), "", "", FORMAT, read["made_with"]).other_versions()
            assert line is None or len(line.splitlines()) == 1


# Shards


def assert_one_printable_line(problem: Problem) -> None:
    assert len(str(problem).splitlines()) == 1
    assert str(problem).isprintable()


@pytest.mark.usefixtures("time_limit")
@pytest.mark.parametrize("harm", corruptions.HARMS, ids=lambda harm: harm.__name__)
def test_every_harm_is_found_every_time(harm: corruptions.Harm, baked: Path) -> None:
    original = open_directory(baked)
    for seed in range(10):
        result = corruptions.problems_after(original, harm, seed)
        assert result, f"seed {seed}"
        for problem in result:
            assert_one_printable_line(problem)


def test_harms_are_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["corruptions", "1"])
    assert corruptions.main() == 0
    *lines, last = capsys.readouterr().out.splitlines()
    n_tries = str(len(corruptions.HARMS) * len(FAMILIES))
    assert len(lines) == len(corruptions.HARMS)
    assert last.split() == ["in", "all", n_tries, "tried", n_tries, "found"]


def test_harm_that_is_missed_is_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def do_nothing(target: corruptions.Target, rng: random.Random) -> None:
        pass

    monkeypatch.setattr("sys.argv", ["corruptions", "1"])
    monkeypatch.setattr(corruptions, "HARMS", {do_nothing: "nothing"})
    assert corruptions.main() == 1
    assert capsys.readouterr().out.splitlines()[-1].split() == ["in", "all", str(len(FAMILIES)), "tried", "0", "found"]


# Whole directories


@pytest.mark.parametrize("seed", range(4))
def test_command_on_random_files_fails_in_one_line(seed: int, baked: Path, tmp_path: Path) -> None:
    rng = random.Random(seed)
    out = Path(shutil.copytree(baked, tmp_path / "out"))
    for path in rng.sample(sorted(path for path in out.rglob("*") if path.is_file()), 5):
        path.write_bytes(rng.randbytes(rng.randrange(100)))
    for command in ("verify", "repair"):
        error = invoke(command, out, "--workers", "1").exception
        assert error is not None or command == "repair"
        assert error is None or isinstance(error, (click.ClickException, InputError))
        assert len(str(error).splitlines()) == 1


@pytest.mark.slow
def test_installed_command_prints_no_traceback(baked: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(baked, tmp_path / "out"))
    for name in ("spec.yaml", "train-000001.tar"):
        (out / name).write_bytes(b"\xff\xfe\x00")
    process = run_fdsl("verify", out, "--workers", "1")
    assert process.returncode == 1
    assert process.stdout == ""
    assert len(process.stderr.splitlines()) == 1
    assert process.stderr.startswith("fdsl: ")
