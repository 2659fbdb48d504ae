"""Categories are written as files all at once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import exfractal
from fdsl import InputError, search_categories
from shards.published import read_csv, write_categories
from tests.shards.conftest import small_spec, snapshot


@pytest.fixture(scope="module")
def found() -> pa.Table:
    return search_categories(small_spec("exfractal")).table


@pytest.mark.parametrize("exists", [True, False])
def test_both_kinds_are_written(exists: bool, found: pa.Table, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "csv"
    if exists:
        folder.mkdir(parents=True)
    write_categories(found, tmp_path / "t.parquet", folder)
    assert pq.read_table(tmp_path / "t.parquet").equals(found)
    assert read_csv(folder).num_rows == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "t.parquet"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["csv"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, SystemExit])
@pytest.mark.parametrize("exists", [True, False])
def test_interrupted_writing_leaves_nothing(
    error: type[BaseException], exists: bool, found: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if exists:
        (tmp_path / "csv").mkdir()
    before, write = snapshot(tmp_path), exfractal.write_csv

    def stop_after_two(table: pa.Table, folder: Path) -> None:
        write(table.slice(0, 2), folder)
        assert len(list(folder.iterdir())) == 2
        raise error

    monkeypatch.setattr(exfractal, "write_csv", stop_after_two)
    with pytest.raises(error):
        write_categories(found, tmp_path / "t.parquet", tmp_path / "csv")
    assert snapshot(tmp_path) == before
    monkeypatch.undo()
    write_categories(found, tmp_path / "t.parquet", tmp_path / "csv")
    assert read_csv(tmp_path / "csv").num_rows == 5


@pytest.mark.parametrize("name", ["000000.csv", "notes.txt"])
def test_used_folder_is_not_overwritten(name: str, found: pa.Table, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(InputError) as refused:
        write_categories(found, None, tmp_path)
    assert str(refused.value) == f"`{tmp_path}` is not empty; name a new or empty folder"
    assert snapshot(tmp_path) == before


def test_file_in_place_of_the_folder_is_refused(found: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "csv").write_text("mine")
    with pytest.raises(InputError, match="is not empty; name a new or empty folder"):
        write_categories(found, None, tmp_path / "csv")
