"""Categories tables: sampled alike by any workers, and checked before anything is made of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards import InputError, Spec, bake, sample_categories
from shards.categories import check_table, read_table, table_sha256
from tests.shards.conftest import small_spec


def test_sampled_categories_do_not_depend_on_the_workers(family: str) -> None:
    params = {"points": 200} if family == "exfractal" else {}
    spec = small_spec(family, categories=400, params=params)
    alone = sample_categories(spec, 1)
    assert alone.table.num_rows == 400
    assert alone.tried == alone.table.column("attempt")[-1].as_py() + 1 >= 400
    for workers in (5, 2):
        assert sample_categories(spec, workers) == alone


def test_the_first_categories_of_more_are_those_of_fewer(spec: Spec) -> None:
    more = sample_categories(dataclasses.replace(spec, categories=9)).table
    assert more.slice(0, 5).equals(sample_categories(spec).table)


def test_categories_are_all_different() -> None:
    params = {"label": ["vertices", "contours"], "vertices": [3, 7], "contours": [1, 4]}
    table = sample_categories(small_spec("rcdb", categories=20, params=params)).table
    assert len({(row["vertices"], row["contours"]) for row in table.to_pylist()}) == 20


def with_column(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def bad_tables(spec: Spec) -> dict[str, tuple[pa.Table, str]]:
    """What is wrong: a table and the words that the message must have."""
    table = sample_categories(spec).table
    other = "rcdb" if spec.family == "exfractal" else "exfractal"
    others_table = sample_categories(small_spec(other)).table
    column = {"exfractal": "probability", "rcdb": "gap"}[spec.family]
    values = table.column(column).to_pylist()
    nan = [float("nan")] * len(values[3]) if isinstance(values[3], list) else float("nan")
    return {
        "family": (others_table, f"holds categories of {other}; the spec's family is {spec.family}"),
        "family_unnamed": (others_table.replace_schema_metadata(None), "has no column `"),
        "column": (table.drop_columns([column]), f"has no column `{column}`; {spec.family} needs category, attempt"),
        "rows": (table.slice(0, 4), "has 4 rows; the spec needs `categories` = 5"),
        "type": (
            table.set_column(table.column_names.index(column), column, pa.array(list("abcde"))),
            f"does not fit {spec.family}'s columns",
        ),
        "gap": (with_column(table, "category", [0, 1, 3, 4, 5]), "`category` must count 0, 1, 2, ... without gaps"),
        "nan": (with_column(table, column, [*values[:3], nan, values[4]]), f"category 3: `{column}` (="),
        "null": (with_column(table, column, [*values[:2], None, *values[3:]]), "category 2: `"),
    }


@pytest.mark.parametrize("which", ["family", "family_unnamed", "column", "rows", "type", "gap", "nan", "null"])
def test_a_table_that_does_not_fit_is_refused_before_anything_is_made(which: str, spec: Spec, tmp_path: Path) -> None:
    table, words = bad_tables(spec)[which]
    file = tmp_path / "table.parquet"
    pq.write_table(table, file)
    with pytest.raises(InputError) as from_python:
        bake(spec, tmp_path / "out", table=table, workers=1)
    with pytest.raises(InputError) as from_file:
        read_table(spec, file)
    assert str(from_python.value).startswith("`the categories table`")
    assert str(from_file.value).startswith(f"`{file}`")
    for error in (from_python, from_file):
        assert words in str(error.value)
        assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"category,attempt\n0,0\n", bytes(range(256))])
def test_a_table_that_is_no_parquet_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    file.write_bytes(content)
    with pytest.raises(InputError, match="is not a Parquet file that can be read") as error:
        read_table(small_spec("rcdb"), file)
    assert str(file) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_table_that_is_not_there_is_refused_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; make it with `fdsl sample"):
        read_table(small_spec("rcdb"), tmp_path / "none.parquet")


def test_a_table_from_elsewhere_is_taken_by_its_columns(spec: Spec) -> None:
    table = sample_categories(spec).table
    elsewhere = table.select(table.column_names[::-1]).append_column("note", pa.array(["x"] * 5))
    checked = check_table(spec, elsewhere.replace_schema_metadata(None), "it")
    assert table_sha256(checked) == table_sha256(table)
