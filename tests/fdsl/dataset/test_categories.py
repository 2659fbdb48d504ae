"""The categories table: what fits a spec, how it is read, hashed and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdsl import Dataset, InputError, Spec, bake, search_categories
from fdsl.dataset.categories import check_table, numbered, read_table, table_sha256
from fdsl.dataset.families import FAMILIES, published_csv
from fdsl.dataset.parquet import parse_parquet
from shards.published import read_csv, write_categories

SOURCE = "mine.parquet"


def with_column(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    k = table.column_names.index(name)
    return table.set_column(k, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def refusal_of(spec: Spec, table: pa.Table) -> str:
    """The message that a table gets, without the table's name."""
    with pytest.raises(InputError) as refused:
        Dataset(spec, table, SOURCE)
    message = str(refused.value)
    assert message.startswith(f"`{SOURCE}`")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"`{SOURCE}`").removeprefix(":").strip()


def test_another_familys_table_is_refused(spec: Spec, table: pa.Table) -> None:
    for other in FAMILIES.keys() - {spec.family}:
        others_table = numbered(FAMILIES[other].SCHEMA.empty_table(), other)
        message = f"holds categories of {other}; the spec's family is {spec.family}"
        assert refusal_of(spec, others_table) == message


def test_each_column_is_needed(spec: Spec, table: pa.Table) -> None:
    needed = f"{spec.family} needs {', '.join(table.column_names)}"
    for name in table.column_names:
        assert refusal_of(spec, table.drop_columns([name])) == f"has no column `{name}`; {needed}"


def test_duplicate_column_is_refused(spec: Spec, table: pa.Table) -> None:
    name = table.column_names[-1]
    twice = table.append_column(table.schema.field(name), table.column(name))
    assert refusal_of(spec, twice).startswith(f"has 2 columns `{name}`; {spec.family} needs category, attempt")


def test_too_few_rows_are_refused(spec: Spec, table: pa.Table) -> None:
    assert refusal_of(spec, table.slice(0, 4)) == "has 4 rows; the spec needs `categories` = 5"


def test_wrong_type_is_refused(spec: Spec, table: pa.Table) -> None:
    k = len(table.column_names) - 1
    words = table.set_column(k, table.column_names[k], pa.array(list("abcde")))
    assert refusal_of(spec, words).startswith(f"does not fit {spec.family}'s columns: ")


@pytest.mark.parametrize("numbers", [[0, 1, 3, 4, 5], [1, 2, 3, 4, 5], [0, 1, 1, 2, 3], [4, 3, 2, 1, 0]])
def test_categories_must_count_from_0(numbers: list[int], spec: Spec, table: pa.Table) -> None:
    message = "`category` must count 0, 1, 2, ... without gaps"
    assert refusal_of(spec, with_column(table, "category", numbers)) == message


def test_null_parameter_is_refused(spec: Spec, table: pa.Table) -> None:
    """Of each column with parameters that has values."""
    for name in table.column_names[2:]:
        values = table.column(name).to_pylist()
        if table.column(name).null_count == 0:
            holed = with_column(table, name, [*values[:2], None, *values[3:]])
            assert refusal_of(spec, holed).startswith("category 2: `")


def test_nan_is_refused(spec: Spec, table: pa.Table) -> None:
    n_tried = 0
    for name in table.column_names[2:]:
        values = table.column(name).to_pylist()
        bad = [float("nan")] * len(values[3]) if isinstance(values[3], list) else float("nan")
        try:
            broken = with_column(table, name, [*values[:3], bad, values[4]])
        except (pa.ArrowException, TypeError):
            continue
        if values[3] is not None:
            n_tried += 1
            assert refusal_of(spec, broken).startswith(f"category 3: `{name}` (=")
    assert n_tried, "no column of this family was tried"


def test_extra_rows_are_dropped(spec: Spec) -> None:
    more = search_categories(spec.replace(categories=6)).table
    assert check_table(spec, more, SOURCE).equals(more.slice(0, 5))


def test_table_from_elsewhere_is_known_by_its_columns(spec: Spec, table: pa.Table) -> None:
    elsewhere = table.select(table.column_names[::-1]).append_column("note", pa.array(["x"] * 5))
    checked = check_table(spec, elsewhere.replace_schema_metadata(None), SOURCE)
    assert table_sha256(checked) == table_sha256(table)
    assert checked.schema.equals(table.schema, check_metadata=True)


def test_hash_is_of_the_values(spec: Spec, table: pa.Table, tmp_path: Path) -> None:
    """Not of chunks or the file, but of every value, its row and its column."""
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2, compression="none")
    digest = table_sha256(table)
    assert table_sha256(read_table(tmp_path / "t.parquet")) == digest
    assert table_sha256(pa.concat_tables([table.slice(0, 2), table.slice(2)])) == digest
    others = [table.slice(0, 4), table.take([1, 0, 2, 3, 4]), table.rename_columns([*table.column_names[:-1], "x"])]
    others += [with_column(table, "attempt", [*table.column("attempt").to_pylist()[:-1], -1])]
    assert len({digest, *map(table_sha256, others)}) == 5


def test_parquet_gives_the_same_table(spec: Spec, table: pa.Table, tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    pq.write_table(table, file)
    for again in (read_table(file), parse_parquet(file.read_bytes(), 5)):
        assert check_table(spec, again, SOURCE).equals(table, check_metadata=True)


def test_bake_refuses_a_bad_table_first(spec: Spec, table: pa.Table, tmp_path: Path) -> None:
    """Before anything is written."""
    bad_tables = [table.slice(0, 4), table.drop_columns(["attempt"]), with_column(table, "category", [0, 1, 3, 4, 5])]
    for bad in bad_tables:
        with pytest.raises(InputError, match=r"^`categories`"):
            bake(spec, tmp_path / "out", categories=bad)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"category,attempt\n0,0\n", bytes(range(256))])
def test_other_file_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    file.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_table(file)
    assert str(refused.value).startswith(f"`{file}` is not a readable Parquet file: ")
    assert len(str(refused.value).splitlines()) == 1


def test_missing_table_is_refused_with_the_command(tmp_path: Path) -> None:
    file = tmp_path / "none.parquet"
    with pytest.raises(InputError) as refused:
        read_table(file)
    assert str(refused.value) == f"`{file}` does not exist; make it with `fdsl sample SPEC -o {file}`"


def test_folder_is_not_a_table(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read_table(tmp_path)
    assert str(refused.value).startswith(f"`{tmp_path}` is not a regular file")


def test_csv_gives_the_same_categories(spec: Spec, table: pa.Table, tmp_path: Path) -> None:
    folder = tmp_path / "csv"
    if not hasattr(FAMILIES[spec.family], "read_csv"):
        with pytest.raises(InputError, match=rf"^`family` \(={spec.family}\) has no published CSV layout; "):
            write_categories(table, None, folder)
        return
    write_categories(table, None, folder)
    again = check_table(spec, read_csv(folder), "csv")
    assert again.drop_columns(["attempt"]).equals(table.drop_columns(["attempt"]))


def test_a_family_has_a_csv_layout() -> None:
    """Guards the test above."""
    assert published_csv("exfractal").read_csv is FAMILIES["exfractal"].read_csv  # type: ignore[attr-defined]


def test_numbered_counts_from_0(spec: Spec, table: pa.Table) -> None:
    last = numbered(table.slice(3), spec.family)
    assert last.column("category").to_pylist() == [0, 1]
    assert last.column("attempt").equals(table.slice(3).column("attempt"))
