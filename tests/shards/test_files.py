"""Files: they appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdsl import InputError
from shards.files import HIDDEN, atomic_file, sweep, write_file, write_table
from tests.shards.conftest import dead_pid, snapshot


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_new_file_without_hard_links(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(source), None, str(target))

    monkeypatch.setattr(os, "link", link)
    write_file(tmp_path / "file", b"first", exclusive=True)
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "file", b"second", exclusive=True)
    assert snapshot(tmp_path).keys() == {"file"}
    assert (tmp_path / "file").read_bytes() == b"first"


def test_failed_link_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(source), None, str(target))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="Input/output error"):
        write_file(tmp_path / "file", b"first", exclusive=True)
    assert not snapshot(tmp_path)


def test_new_file_is_never_overwritten(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"first", exclusive=True)
    with pytest.raises(FileExistsError) as error:
        write_file(tmp_path / "file", b"second", exclusive=True)
    assert error.value.filename == str(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"first"
    write_file(tmp_path / "file", b"third")
    assert (tmp_path / "file").read_bytes() == b"third"
    assert snapshot(tmp_path).keys() == {"file"}


def test_two_processes_write_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_file(tmp_path / "file") as mine:
        mine.write(b"mi")
        mine.flush()
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)
            with atomic_file(tmp_path / "file") as theirs:
                theirs.write(b"theirs")
        assert (tmp_path / "file").read_bytes() == b"theirs"
        mine.write(b"ne")
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert snapshot(tmp_path).keys() == {"file"}


@pytest.mark.parametrize("n_bytes", [0, 1, 100])
def test_exception_leaves_no_file(n_bytes: int, tmp_path: Path) -> None:
    def write_and_interrupt() -> None:
        with atomic_file(tmp_path / "file") as file:
            file.write(bytes(n_bytes))
            assert [HIDDEN.fullmatch(path.name) is not None for path in tmp_path.iterdir()] == [True]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_interrupt()
    assert not snapshot(tmp_path)


def test_failed_overwrite_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "file", b"old")

    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left") as error:
        write_file(tmp_path / "file", b"new")
    assert error.value.filename == str(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert snapshot(tmp_path).keys() == {"file"}


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"`{tmp_path}` is a directory; name a file"):
        write_file(tmp_path, b"")


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_file(tmp_path / "a" / "b" / "file", b"content")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"content"


def test_table_round_trip(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    write_table(tmp_path / "table.parquet", table)
    assert pq.read_table(tmp_path / "table.parquet").equals(table)


def test_sweep_deletes_what_ended_processes_left(tmp_path: Path) -> None:
    host, pid = socket.gethostname(), dead_pid()
    ours = (f".a.tar.{pid}@{host}.tmp", f".name with spaces.{pid}@{host}.tmp")
    others = (f".a.tar.{os.getpid()}@{host}.tmp", f".a.tar.{pid}@elsewhere.tmp")
    foreign = (".editor.tmp", f".a.tar.{pid}@{host}", f"a.tar.{pid}@{host}.tmp", f".a.x{pid}@{host}.tmp", "a.tar")
    for name in (*ours, *others, *foreign):
        (tmp_path / name).touch()
    sweep([tmp_path, tmp_path / "missing"])
    assert snapshot(tmp_path).keys() == {*others, *foreign}
    sweep([tmp_path], include_running=True)
    assert snapshot(tmp_path).keys() == {*foreign}
