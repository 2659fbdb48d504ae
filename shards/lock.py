"""Locks shards, so that only one process bakes each.

The lock is a range of bytes of a file. The system releases it when the process ends, for whatever reason. The file stays.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fdsl.primitives.errors import InputError
from shards.layout import LOCK

_NOTE_BYTES = 128
"""Length of a note. The process that locks shard k writes its note at k times this."""

_MAX_NOTES = 2_000_000
"""Limit of the notes that are read; no plan has as many shards."""

_TAKEN = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_FLOCK, _TYPE = ("qqihh", 3) if sys.platform == "darwin" else ("hhqqi", 0)
"""Layout of the C structure `flock`, and which of its fields is the type."""

_this_process = threading.Lock()
"""Byte locks belong to processes, so only one thread may bake."""


@contextmanager
def locked(folder: Path, first: int, n: int) -> Iterator[bool]:
    """Lock shards `first` to `first + n - 1` against other processes.

    Other machines see the lock too.

    Yields
    ------
    bool; False on a file system without locks, where another process may bake the same shards

    Raises
    ------
    InputError
        A running process bakes one of them; the message names it.
    OSError
        The folder cannot be written, or the file system fails to lock.
    """
    if not _this_process.acquire(blocking=False):
        raise InputError(f"`{folder}`: this process is already baking; bake one dataset after the other")
    try:
        path = folder / LOCK
        file = _open(path)
        try:
            yield from _held(file, folder, first, n)
        finally:
            os.close(file)
    finally:
        _this_process.release()


def is_locked(folder: Path) -> bool:
    """Return whether a running process bakes a shard.

    False on a file system without locks. Takes no lock, which a bake that begins would find.
    """
    if _this_process.locked():  # closing the file would release the locks of this process
        return True
    fields = [0] * 5  # from the first byte to the last
    fields[_TYPE] = fcntl.F_WRLCK
    try:
        file = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        answer = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(_FLOCK, *fields))
    except OSError:
        return False
    finally:
        os.close(file)
    is_locked: bool = struct.unpack(_FLOCK, answer)[_TYPE] != fcntl.F_UNLCK
    return is_locked


def _held(file: int, folder: Path, first: int, n: int) -> Iterator[bool]:
    """Lock the bytes while the caller works; see `locked`."""
    try:
        is_free = _take(file, first, n)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            yield False
            return
        raise OSError(error.errno, f"the file system does not lock it: {error.strerror}", str(folder / LOCK)) from None
    if not is_free:
        holder = _holder(file, first, n) or "another process"
        raise InputError(
            f"`{folder}` is being baked by {holder}; wait until it is done, stop it, or select other `shards`"
        )
    note = f"{first} {first + n} {os.getpid()} {socket.gethostname()[:64]}"
    os.pwrite(file, note.ljust(_NOTE_BYTES).encode(), first * _NOTE_BYTES)
    try:
        yield True
    finally:
        with suppress(OSError):
            os.pwrite(file, bytes(_NOTE_BYTES), first * _NOTE_BYTES)


def _open(path: Path) -> int:
    """Return the open lock file, created if it is missing."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise InputError(f"`{path}` is not a regular file; remove it")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def _take(file: int, first: int, n: int) -> bool:
    """Lock `n` bytes; return False if another process holds one."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, n, first)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def _holder(file: int, first: int, n: int) -> str | None:
    """Return the process that holds one of these bytes.

    None if no note names it.
    """
    content = os.pread(file, min(os.fstat(file).st_size, _MAX_NOTES * _NOTE_BYTES), 0).decode(errors="replace")
    for k in range(0, len(content), _NOTE_BYTES):
        words = content[k : k + _NOTE_BYTES].strip(" \0").split(" ")
        if len(words) == 4 and all(word.isdecimal() for word in words[:3]):
            start, stop = int(words[0]), int(words[1])
            if start < first + n and first < stop and not _take(file, start, 1):
                return f"process {words[2]} on {words[3]}"
    return None
