"""The authors' CSV files are read and written exactly, and bad ones are refused by file and line."""

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
from fdsl.primitives.errors import InputError

NUMBER = st.floats(allow_nan=False, allow_infinity=False)
WEIGHT = st.floats(0.0, 1.0) | st.just(-0.0)
ROW = ",".join(["0.25"] * 12 + ["0.5"]) + "\n"
GOOD = ROW * 2


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Return a table of a few imported categories: without attempts, with any numbers that make a system."""
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
def test_written_table_is_read_exactly(table: pa.Table) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_csv(table, Path(folder))
        again = read_csv(Path(folder))
    assert again.schema == SCHEMA
    assert repr(again.to_pylist()) == repr(table.to_pylist())  # repr shows the sign of zero


def test_sampled_categories_lose_only_attempts(tmp_path: Path) -> None:
    table = sample(Params(), 0, range(300))
    write_csv(table, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{k:06}.csv" for k in range(table.num_rows)]
    again = read_csv(tmp_path)
    assert again.drop_columns("attempt").equals(table.drop_columns("attempt"))
    assert again.column("attempt").null_count == table.num_rows > 2
    assert len(unpack(Params(), again)) == table.num_rows


def test_file_has_13_columns_and_no_header(tmp_path: Path) -> None:
    maps = [[float(k) for k in range(12)], [0.5] * 12]
    rows = [{"category": 0, "attempt": 7, "maps": maps, "probability": [0.75, 0.25]}]
    write_csv(pa.Table.from_pylist(rows, schema=SCHEMA), tmp_path)
    lines = (tmp_path / "000000.csv").read_text().split()
    assert [[float(cell) for cell in line.split(",")] for line in lines] == [[*maps[0], 0.75], [*maps[1], 0.25]]


def test_categories_are_read_in_order(tmp_path: Path) -> None:
    for category in (2, 0, 1):
        (tmp_path / f"{category:06}.csv").write_text(GOOD.replace("0.25", f"0.{category + 1}"))
    table = read_csv(tmp_path)
    assert table.column("category").to_pylist() == [0, 1, 2]
    assert [maps[0][0] for maps in table.column("maps").to_pylist()] == [0.1, 0.2, 0.3]


def test_blank_lines_and_spaces_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "000000.csv").write_text(ROW + "\n" + ROW.replace(",", ", ") + "\n  \n\t\n")
    assert read_csv(tmp_path).column("probability").to_pylist() == [[0.5, 0.5]]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_byte_order_mark_is_ignored(tmp_path: Path, line_end: str) -> None:
    (tmp_path / "000000.csv").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", line_end).encode())
    assert read_csv(tmp_path).column("probability").to_pylist() == [[0.5, 0.5]]


def test_hidden_files_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "000000.csv").write_text(GOOD)
    for name in ("._000000.csv", ".000000.csv"):
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07Mac OS X")
    assert read_csv(tmp_path).num_rows == 1


@pytest.mark.parametrize(
    ("content", "line", "rule"),
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
def test_bad_line_is_named(tmp_path: Path, content: bytes, line: int, rule: str) -> None:
    (tmp_path / "000000.csv").write_text(GOOD)
    (tmp_path / "000001.csv").write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_csv(tmp_path)
    assert str(refused.value).startswith(f"`{tmp_path / '000001.csv'}`: line {line} ")
    assert rule in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        pytest.param(GOOD.encode("utf-16"), "is not ASCII text (byte 0xff at position 0)", id="UTF-16"),
        pytest.param(b"1,\xc3\xa9", "is not ASCII text (byte 0xc3 at position 2)", id="not ASCII"),
        pytest.param(b'"' + b"1" * 200_000 + b'"', "field larger than field limit", id="an endless field"),
        pytest.param(b"1" * 2**19, "has 524,288 bytes; such a file has at most 262,144", id="too large"),
    ],
)
def test_file_that_is_not_csv_is_named(tmp_path: Path, content: bytes, rule: str) -> None:
    (tmp_path / "000000.csv").write_text(GOOD)
    (tmp_path / "000001.csv").write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_csv(tmp_path)
    assert str(refused.value).startswith(f"`{tmp_path / '000001.csv'}`")
    assert rule in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["", "\n\n", ROW], ids=["empty", "blank", "one map"])
def test_file_with_too_few_maps_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "000000.csv").write_text(content)
    with pytest.raises(InputError, match=r"000000\.csv"):
        read_csv(tmp_path)


@pytest.mark.parametrize("names", [("000001",), ("000000", "000002"), ("000000", "1"), ("000000", "category")])
def test_gap_in_the_numbers_is_named(tmp_path: Path, names: tuple[str, ...]) -> None:
    for stem in names:
        (tmp_path / f"{stem}.csv").write_text(GOOD)
    number = len(names) - 1
    with pytest.raises(InputError) as refused:
        read_csv(tmp_path)
    assert str(refused.value).startswith(f"`{tmp_path / names[-1]}.csv` should be {number:06}.csv: ")


@pytest.mark.parametrize("exists", [True, False])
def test_folder_without_csv_files_is_refused(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path if exists else tmp_path / "nowhere"
    with pytest.raises(InputError) as refused:
        read_csv(folder)
    assert str(refused.value).startswith(f"`{folder}` holds no CSV files; it must have one per category: ")
