"""Reads files that someone else may have made."""

from __future__ import annotations

import stat
from pathlib import Path

from fdsl.primitives.errors import InputError


def read_bounded(path: Path, n_bytes: int) -> bytes:
    """Return a file's content, if it is not too large.

    Parameters
    ----------
    n_bytes : largest size that is accepted

    Raises
    ------
    InputError
        Not a regular file, or too large.
    OSError
        The file is missing or cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"`{path}` is not a regular file; remove it")
    if status.st_size > n_bytes:
        raise InputError(f"`{path}` has {status.st_size:,} bytes; such a file has at most {n_bytes:,}")
    with path.open("rb") as file:
        return file.read(status.st_size)
