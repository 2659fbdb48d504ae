"""Files: they appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdsl import InputError
from shards.files import HIDDEN, atomic_file, make_folder, parquet_bytes, sweep, write_file
from tests.shards.conftest import snapshot


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


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644)])
def test_new_file_has_the_permissions_of_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    old = os.umask(umask)
    try:
        write_file(tmp_path / "new", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "new").stat().st_mode & 0o777 == mode


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


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    """Host and process may be equal: containers share host names and number processes alike."""
    with atomic_file(tmp_path / "file") as mine:
        mine.write(b"mi")
        mine.flush()
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


def test_table_round_trip() -> None:
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    assert pq.read_table(pa.BufferReader(parquet_bytes(table))).equals(table)


def test_sweep_deletes_only_named_files(tmp_path: Path) -> None:
    ours = (f".a.tar.{16 * 'f'}.tmp", ".a.tar.77@elsewhere.tmp", f".name with spaces.{16 * '0'}.tmp")
    others = (f".b.tar.{16 * 'f'}.tmp", f".b.a.tar.{16 * 'f'}.tmp", ".a.77@elsewhere.tmp")
    foreign = (".a.tar.tmp", ".a.tar.swp.tmp", ".a.tar.77@elsewhere", f"a.tar.{16 * 'f'}.tmp", "a.tar")
    for name in (*ours, *others, *foreign):
        (tmp_path / name).touch()
    for folder in (tmp_path, tmp_path / "missing"):
        sweep(folder, {"a.tar", "name with spaces"})
    assert snapshot(tmp_path).keys() == {*others, *foreign}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_folders_need_not_be_synced(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFS refuses to sync folders."""
    monkeypatch.setattr(os, "fsync", sync_or_fail(number))
    write_file(tmp_path / "new" / "file", b"content")
    assert (tmp_path / "new" / "file").read_bytes() == b"content"


def test_unsynced_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", sync_or_fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output error") as error:
        write_file(tmp_path / "file", b"content")
    assert error.value.filename == str(tmp_path)


def sync_or_fail(number: int) -> Callable[[int], None]:
    """Return an fsync that fails for folders."""

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    return fsync


def test_new_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power loss, a synced file in a folder without an entry would be lost."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino]
    make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2
