"""One process at a time makes a shard: a lock that the system drops when its process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from primitives.fields import InputError

LOCK = ".bake.lock"
"""The file, there while a bake is. Byte k of it is locked by who makes shard k of the plan; nothing need be written there."""

_NOTE_BYTES = 128
"""Room for a holder's note on itself, which stands at this times its first shard."""

_HELD = (errno.EACCES, errno.EAGAIN)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def _take(file: int, first: int, n: int) -> bool:
    """Lock `n` bytes (0 is all that follow) if no other process holds any of them; return whether it is so.

    Where the file system has no locks, nobody holds any.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, n, first)
    except OSError as error:
        if error.errno not in (*_HELD, *_NO_LOCKS):
            raise
        return error.errno in _NO_LOCKS
    return True


def _holder(file: int, first: int, n: int) -> str:
    """Return who holds one of these bytes, by the notes of which some byte is held."""
    content = os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")
    for k in range(0, len(content), _NOTE_BYTES):
        words = content[k : k + _NOTE_BYTES].strip(" \0").split(" ")
        if len(words) == 4 and all(word.isdecimal() for word in words[:3]):
            start, stop = int(words[0]), int(words[1])
            if start < first + n and first < stop and not _take(file, start, 1):
                return f"process {words[2]} on {words[3]}"
    return "another process"


def _open(path: Path, first: int, n: int) -> int:
    """Return the lock file, opened, its bytes locked. A file that was removed meanwhile locks nothing: try the next one."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if not _take(file, first, n):
                raise InputError(
                    f"`--out` (={path.parent}) is being baked by {_holder(file, first, n)};"
                    " wait until it is done, stop it, or bake other --shards"
                )
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


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
    file = _open(path, first, n)
    note = f"{first} {first + n} {os.getpid()} {socket.gethostname()[:64]}"
    try:
        os.pwrite(file, note.ljust(_NOTE_BYTES).encode(), first * _NOTE_BYTES)
        yield
    finally:
        with suppress(OSError):  # what stays there locks nothing
            if _take(file, 0, 0):
                path.unlink()
            else:
                os.pwrite(file, bytes(_NOTE_BYTES), first * _NOTE_BYTES)
        os.close(file)
