"""One process at a time makes a shard: a lock that the system drops when its process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from primitives.fields import InputError

LOCK = ".bake.lock"
"""The file, there while a bake is. Byte k of it is locked by who makes shard k of the plan; nothing need be written there."""

_NOTE_BYTES = 128
"""Room for a holder's note on itself, which stands at this times its first shard."""

_IN_USE = 2**62
"""The byte on which all who use the file share a lock: who gets it alone removes the file."""

_PATIENCE_S = 1.0
_HELD = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

_here = threading.Lock()
"""Locks belong to processes. Only one thread of this one may bake."""


def _take(file: int, first: int, n: int, how: int = fcntl.LOCK_EX) -> bool:
    """Lock `n` bytes if no other process holds any of them; return whether it is so.

    Where the file system has no locks, nobody holds any.
    """
    try:
        fcntl.lockf(file, how | fcntl.LOCK_NB, n, first)
    except OSError as error:
        if error.errno not in (*_HELD, *_NO_LOCKS):
            raise
        return error.errno in _NO_LOCKS
    return True


def _holder(file: int, first: int, n: int) -> str | None:
    """Return who holds one of these bytes, by the notes of which some byte is held; None if none says so."""
    content = os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")
    for k in range(0, len(content), _NOTE_BYTES):
        words = content[k : k + _NOTE_BYTES].strip(" \0").split(" ")
        if len(words) == 4 and all(word.isdecimal() for word in words[:3]):
            start, stop = int(words[0]), int(words[1])
            if start < first + n and first < stop and not _take(file, start, 1):
                return f"process {words[2]} on {words[3]}"
    return None


def _is_at(path: Path, file: int) -> bool:
    """Return whether an open file is still the one of that name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), path.lstat())
    return False


def _open(path: Path, first: int, n: int) -> int:
    """Return the lock file, opened, its bytes locked. A file that was removed meanwhile locks nothing: try the next one."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(path.lstat().st_mode):
                raise InputError(f"`{path}` is no regular file; remove it")
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            if _take(file, _IN_USE, 1, fcntl.LOCK_SH) and _is_at(path, file):
                if _take(file, first, n):
                    return file
                holder = _holder(file, first, n)
                if holder or time.monotonic() > end:
                    raise InputError(
                        f"`{path.parent}` is being baked by {holder or 'another process'};"
                        " wait until it is done, stop it, or take other --shards"
                    )
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        time.sleep(0.01)


@contextmanager
def locked(folder: Path, first: int, n: int) -> Iterator[None]:
    """Keep other processes, of any machine that shares the folder, from making the shards first .. first + n - 1.

    Raises
    ------
    InputError
        A process that lives makes one of them; the message names it.
    OSError
        The folder cannot be written.
    """
    path = folder / LOCK
    if not _here.acquire(blocking=False):
        raise InputError(f"`{folder}`: this process is baking already; bake one dataset after the other")
    try:
        file = _open(path, first, n)
        try:
            note = f"{first} {first + n} {os.getpid()} {socket.gethostname()[:64]}"
            os.pwrite(file, note.ljust(_NOTE_BYTES).encode(), first * _NOTE_BYTES)
            yield
        finally:
            with suppress(OSError):  # what stays there locks nothing
                os.pwrite(file, bytes(_NOTE_BYTES), first * _NOTE_BYTES)
                if _take(file, _IN_USE, 1):
                    path.unlink()
            os.close(file)
    finally:
        _here.release()
