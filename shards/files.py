"""Atomic files and folders: they appear under their name only when whole."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from fdsl.primitives.errors import InputError

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_NO_FOLDER_SYNC = (errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOTSUP)
HIDDEN = re.compile(r"\.(?P<name>.*)\.(?:[0-9a-f]{16}|\d+@[^@]*)\.tmp")
"""Name of a file that is being written: the final name and random digits. Version 0.1 used process and host."""


@contextlib.contextmanager
def atomic_file(path: Path, exclusive: bool = False) -> Iterator[BinaryIO]:
    """Open a file that appears when the block ends.

    Until then it is a hidden file in the same folder, with a random part in its name, so that writers of one file do not
    disturb each other. It is synced, then renamed. An exception in the block deletes it.

    Parameters
    ----------
    exclusive : raise FileExistsError instead of overwriting. Without hard links, a file created
        concurrently may be overwritten.

    Raises
    ------
    InputError
        `path` is a directory.
    OSError
        The file cannot be written.
    """
    if path.is_dir():
        raise InputError(f"`{path}` is a directory; name a file")
    make_folder(path.parent)
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with hidden.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if exclusive and _link(hidden, path):
            hidden.unlink()
        else:
            hidden.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (None, str(hidden)):
            error.filename = str(path)
        with contextlib.suppress(OSError):
            hidden.unlink()
        raise
    _sync(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Make a folder that appears, with its files, when the block ends.

    Until then it is a hidden folder beside it. An exception in the block deletes it.

    Raises
    ------
    InputError
        See `refuse_used`.
    OSError
        The folder cannot be made.
    """
    refuse_used(path)
    path = path.absolute()
    make_folder(path.parent)
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        hidden.mkdir()
        yield hidden
        hidden.replace(path)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    _sync(path.parent)


def refuse_used(folder: Path) -> None:
    """Raise InputError unless a folder is new or empty.

    The working directory is refused, too.
    """
    if folder.absolute() == Path.cwd():
        raise InputError(f"`{folder}` is the working directory; name a new folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"`{folder}` is not empty; name a new or empty folder")


def _link(hidden: Path, path: Path) -> bool:
    """Rename a file without overwriting.

    Return False if the file system has no hard links.
    """
    try:
        os.link(hidden, path)
    except OSError as error:
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents; sync the entry of each."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"this folder cannot be made: {error.strerror}", error.filename) from None
    for folder in reversed(missing):
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Sync the entries of a folder, if its file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise OSError(error.errno, error.strerror, str(folder)) from None


def write_file(path: Path, content: bytes, exclusive: bool = False) -> None:
    """Write a file atomically; see `atomic_file`."""
    with atomic_file(path, exclusive) as file:
        file.write(content)


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as the content of a Parquet file."""
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    return content.getvalue()


def sweep(folder: Path, names: Collection[str] | None = None) -> None:
    """Delete unfinished files in a folder.

    Parameters
    ----------
    names : final names of files that nobody else writes now; all by default
    """
    for hidden in folder.glob(".*.tmp"):
        match = HIDDEN.fullmatch(hidden.name)
        if match and (names is None or match["name"] in names):
            hidden.unlink(missing_ok=True)
