"""Atomic files: they appear under their name only when whole."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from fdsl.primitives.errors import InputError

_HOST = socket.gethostname()
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
HIDDEN = re.compile(r"\..*\.tmp")
"""Name of a file that is being written."""


@contextlib.contextmanager
def atomic_file(path: Path, exclusive: bool = False) -> Iterator[BinaryIO]:
    """Open a file that appears when the block ends.

    Until then it is a hidden file in the same folder, with host and process in its name. It is synced, then renamed. An
    exception in the block deletes it.

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
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{os.getpid()}@{_HOST}.tmp")
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


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes, exclusive: bool = False) -> None:
    """Write a file atomically; see `atomic_file`."""
    with atomic_file(path, exclusive) as file:
        file.write(content)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically."""
    with atomic_file(path) as file:
        pq.write_table(table, file, compression="zstd")


def sweep(folders: Iterable[Path], include_running: bool = False) -> None:
    """Delete unfinished files.

    Parameters
    ----------
    include_running : also files of other hosts and of running processes
    """
    for folder in folders:
        for hidden in folder.glob(".*@*.tmp"):
            name, host = hidden.name.removesuffix(".tmp").rsplit("@", 1)
            pid = name.rsplit(".", 1)[1]
            if pid.isdecimal() and (include_running or (host == _HOST and not _is_alive(int(pid)))):
                hidden.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    """Return whether a process of this host still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
