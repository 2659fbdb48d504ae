"""The authors' CSV files are read and written without losing a bit, and bad ones are told by file and line."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exfractal.categories import SCHEMA, sample, unpack
from exfractal.params import Params
from exfractal.published import read_csv, write_csv
from primitives.fields import InputError

NUMBER = st.floats(allow_nan=False, allow_infinity=False)
WEIGHT = st.floats(0.0, 1.0) | st.just(-0.0)
ROW = ",".join(["0.25"] * 12 + ["0.5"]) + "\n"
GOOD = ROW * 2


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Return a table of a few categories, as an import has it: no attempts; the numbers are any that make a system."""
    rows = []
    for category in range(draw(st.integers(1, 3))):
        n_maps = draw(st.integers(2, 4))
        maps = draw(st.lists(st.lists(NUMBER, min_size=12, max_size=12), min_size=n_maps, max_size=n_maps))
        weights = draw(st.lists(WEIGHT, min_size=n_maps, max_size=n_maps).filter(any))
        total = draw(st.floats(0.9991, 1.0009))
        probability = [weight / sum(weights) * total for weight in weights]
        rows.append({"category": category, "attempt": None, "maps": maps, "probability": probability})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@settings(deadline=None)
@given(tables())
def test_reading_what_was_written_gives_the_same_table(table: pa.Table) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_csv(table, Path(folder, "new", "csv"))
        again = read_csv(Path(folder, "new", "csv"))
    assert again.schema == SCHEMA
    assert repr(again.to_pylist()) == repr(table.to_pylist())  # repr tells -0.0 from 0.0


def test_sampled_categories_come_back_but_for_their_attempts(tmp_path: Path) -> None:
    table = sample(Params(), 0, range(300))
    write_csv(table, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{k:06}.csv" for k in range(table.num_rows)]
    again = read_csv(tmp_path)
    assert again.drop_columns("attempt").equals(table.drop_columns("attempt"))
    assert again.column("attempt").null_count == table.num_rows > 2
    assert len(unpack(Params(), again)) == table.num_rows


def test_a_file_has_one_row_of_13_columns_per_map_and_no_header(tmp_path: Path) -> None:
    maps = [[float(k) for k in range(12)], [0.5] * 12]
    rows = [{"category": 0, "attempt": 7, "maps": maps, "probability": [0.75, 0.25]}]
    write_csv(pa.Table.from_pylist(rows, schema=SCHEMA), tmp_path)
    lines = (tmp_path / "000000.csv").read_text().split()
    assert [[float(cell) for cell in line.split(",")] for line in lines] == [[*maps[0], 0.75], [*maps[1], 0.25]]


def test_categories_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for category in (2, 0, 1):
        (tmp_path / f"{category:06}.csv").write_text(GOOD.replace("0.25", f"0.{category + 1}"))
    table = read_csv(tmp_path)
    assert table.column("category").to_pylist() == [0, 1, 2]
    assert [maps[0][0] for maps in table.column("maps").to_pylist()] == [0.1, 0.2, 0.3]


def test_blank_lines_and_spaces_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "000000.csv").write_text(ROW + "\n" + ROW.replace(",", ", ") + "\n\n")
    assert read_csv(tmp_path).column("probability").to_pylist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        (b"a,b,c\n" + GOOD.encode(), 1, "(='a,b,c') must hold numbers only"),
        ((ROW + ROW.replace("0.5", "x")).encode(), 2, "must hold numbers only"),
        ((ROW + ROW.replace("0.5", "")).encode(), 2, "must hold numbers only"),
        ((ROW + "\n" + ROW[5:]).encode(), 3, "has 12 columns; a map has 13: a..l and its probability"),
        (("1," + ROW + ROW).encode(), 1, "has 14 columns; a map has 13: a..l and its probability"),
        (b"\x00" + GOOD.encode(), 1, "must hold numbers only"),
        ((ROW + ROW.replace("0.5", "nan")).encode(), 2, "must hold finite numbers only"),
        (GOOD.replace("0.25", "1e999").encode(), 1, "must hold finite numbers only"),
    ],
)
def test_a_bad_line_is_told_by_file_and_line(tmp_path: Path, content: bytes, line: int, told: str) -> None:
    (tmp_path / "000000.csv").write_text(GOOD)
    (tmp_path / "000001.csv").write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read_csv(tmp_path)
    assert str(refusal.value).startswith(f"`{tmp_path / '000001.csv'}`: line {line} ")
    assert told in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"\xff\xfe" + GOOD.encode(), "can't decode byte 0xff in position 0", id="not ASCII"),
        pytest.param(b'"' + b"1" * 200_000 + b'"', "field larger than field limit", id="an endless field"),
    ],
)
def test_a_file_that_is_no_csv_is_told_by_its_name(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "000000.csv").write_text(GOOD)
    (tmp_path / "000001.csv").write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read_csv(tmp_path)
    assert str(refusal.value).startswith(f"`{tmp_path / '000001.csv'}`: ")
    assert told in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["", "\n\n", ROW], ids=["empty", "blank", "one map"])
def test_a_file_of_fewer_than_two_maps_is_told_by_its_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "000000.csv").write_text(content)
    with pytest.raises(InputError, match=r"000000\.csv"):
        read_csv(tmp_path)


@pytest.mark.parametrize("names", [("000001",), ("000000", "000002"), ("000000", "1"), ("000000", "category")])
def test_a_gap_in_the_numbers_is_told_by_the_file_after_it(tmp_path: Path, names: tuple[str, ...]) -> None:
    for stem in names:
        (tmp_path / f"{stem}.csv").write_text(GOOD)
    number = len(names) - 1
    with pytest.raises(InputError) as refusal:
        read_csv(tmp_path)
    assert str(refusal.value).startswith(f"`{tmp_path / names[-1]}.csv` should be {number:06}.csv: ")


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_csv_files_is_told(tmp_path: Path, there: bool) -> None:
    folder = tmp_path if there else tmp_path / "nowhere"
    with pytest.raises(InputError) as refusal:
        read_csv(folder)
    assert str(refusal.value).startswith(f"`{folder}` holds no CSV; it must have one file per category: ")


def test_writing_into_a_used_folder_is_refused_and_mixes_no_categories(tmp_path: Path) -> None:
    table = sample(Params(), 0, range(300))
    write_csv(table, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError) as refusal:
        write_csv(table.slice(0, 2), tmp_path)
    assert str(refusal.value) == f"`{tmp_path}` holds CSV files already; name a new or empty folder"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
