"""Files are read only if they are regular and not too large."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fdsl.primitives.errors import InputError
from fdsl.primitives.reading import read_bounded


@pytest.mark.parametrize("content", [b"", b"x", b"12345"])
def test_small_file_is_read(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert read_bounded(path, 5) == content


@pytest.mark.parametrize("n_bytes", [6, 2**40])
def test_large_file_is_refused(n_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, n_bytes)
    with pytest.raises(InputError) as refused:
        read_bounded(path, 5)
    assert str(refused.value) == f"`{path}` has {n_bytes:,} bytes; such a file has at most 5"


def test_other_kind_of_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(InputError) as refused:
            read_bounded(path, 5)
        assert str(refused.value) == f"`{path}` is not a regular file; remove it"


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none", 5)
