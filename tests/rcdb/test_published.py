"""RCDB's published CSV files are read and written exactly, and bad ones are refused by file and line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from fdsl.primitives.errors import InputError
from rcdb.categories import SCHEMA, sample, unpack
from rcdb.params import LABELS, Params
from rcdb.published import read_csv, write_csv

FILE = (
    "Vertex,57\r\nPerlin_noise,3.0325241431273586\r\nline_width,0.042\r\nCenter_rad,26\r\nLine_num,10\r\n"
    "Oval_rate_x,1.5\r\nOval_rate_y,1.25\r\nstart_pos_h,287.5\r\nstart_pos_w,101.0\r\n"
)
"""A file with every key that the published code writes, in its order."""


def test_published_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "00000.csv").write_bytes(FILE.encode())
    (shape,) = unpack(Params(), read_csv(tmp_path))
    assert shape == (57, 10, 3.0325241431273586, 0.042, None, None, None)


def test_written_table_is_read_exactly(tmp_path: Path) -> None:
    table = sample(Params(), 0, range(30))
    write_csv(table, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{k:05}.csv" for k in range(30)]
    again = read_csv(tmp_path)
    assert again.schema == SCHEMA
    assert again.drop_columns("attempt").equals(table.drop_columns("attempt"))
    assert again.column("attempt").null_count == 30


@pytest.mark.parametrize("n_labels", [1, 2, 3, 5, 6])
def test_other_label_is_refused(n_labels: int, tmp_path: Path) -> None:
    params = Params(label=LABELS[:n_labels])
    with pytest.raises(InputError, match=r"^`label` \(=.*\) must be .* for the authors' CSV files; use -o$"):
        write_csv(sample(params, 0, range(1)), tmp_path)


def test_six_digits_follow_five(tmp_path: Path) -> None:
    """The published code pads to five digits and continues with six."""
    row = {**sample(Params(), 0, range(1)).to_pylist()[0], "category": 100_000}
    write_csv(pa.Table.from_pylist([row], schema=SCHEMA), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["100000.csv"]


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("Vertex,57", "Vertex,57.5", "line 1: Vertex (=57.5) must be a whole number"),
        ("Vertex,57", "Vertex,2", "`vertices` (=2) must be at least 3"),
        ("Vertex,57", "Vertex,99999", "`vertices` (=99999) must be at most 1,000"),
        ("Vertex,57", "Vertices,57", "line 1 (='Vertices,57') must be KEY,VALUE; keys: Vertex, "),
        ("Vertex,57", "Vertex,57,58", "line 1 (='Vertex,57,58') must be KEY,VALUE"),
        ("Vertex,57", "Vertex", "line 1 (='Vertex') must be KEY,VALUE"),
        ("Vertex,57\r\n", "", "lacks Vertex; each is a line KEY,VALUE"),
        ("line_width,0.042", "line_width,nan", "`gap` (=nan) must be a finite number"),
        ("line_width,0.042", "line_width,x", "line 3: line_width (=x) must be a number"),
        ("Line_num,10", "Vertex,10", "line 5: duplicate key Vertex"),
    ],
)
def test_bad_file_is_named(old: str, new: str, rule: str, tmp_path: Path) -> None:
    (tmp_path / "00000.csv").write_text(FILE.replace(old, new, 1), newline="")
    with pytest.raises(InputError) as refused:
        read_csv(tmp_path)
    assert str(refused.value).startswith(f"`{tmp_path / '00000.csv'}`")
    assert rule in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_gap_in_the_numbers_is_named(tmp_path: Path) -> None:
    for stem in ("00000", "00002"):
        (tmp_path / f"{stem}.csv").write_text(FILE)
    with pytest.raises(InputError, match=r"00002\.csv` should be 00001\.csv: categories are numbered from 00000"):
        read_csv(tmp_path)
