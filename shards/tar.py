"""Plain USTAR files, the same bytes for the same members: fixed owner, mode and time, no extended records.

Source: IEEE Std 1003.1-2017, pax, "ustar Interchange Format".
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO

BLOCK = 512
_BUFFER = 1 << 17
"""Bytes that are written and hashed at a time: they stay in the processor's cache in between."""


def _template() -> bytes:
    header = bytearray(BLOCK)
    for offset, text in (
        (100, b"0000644\0"), (108, b"0000000\0"), (116, b"0000000\0"), (136, b"00000000000\0"), (148, b" " * 8),
        (156, b"0"), (257, b"ustar\x0000"),
    ):  # fmt: skip
        header[offset : offset + len(text)] = text
    return bytes(header)


_HEADER = _template()
_HEADER_SUM = sum(_HEADER)
_ZEROS = bytes(2 * BLOCK)


def member(name: bytes, payload: bytes) -> bytes:
    """Return one regular file of a tar: header, payload and padding. `name` is at most 100 bytes of ASCII."""
    size = b"%011o" % len(payload)
    checksum = b"%06o\0 " % (_HEADER_SUM + sum(name) + sum(size))
    padding = _ZEROS[: -len(payload) % BLOCK]
    return b"".join((name, _HEADER[len(name) : 124], size, _HEADER[135:148], checksum, _HEADER[156:], payload, padding))


class TarWriter:
    """Writes members to a binary file in large pieces and hashes what it writes.

    bytes : written so far; sha256, md5 : of them. All are whole once `close` has been called.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pending = bytearray()
        self.bytes = 0
        self.sha256 = hashlib.sha256()
        self.md5 = hashlib.md5(usedforsecurity=False)

    def add(self, name: str, payload: bytes) -> None:
        """Append a member."""
        self._pending += member(name.encode("ascii"), payload)
        if len(self._pending) >= _BUFFER:
            self._flush()

    def close(self) -> None:
        """Append the end of the archive and hand all bytes to the file, which stays open."""
        self._pending += _ZEROS
        self._flush()

    def _flush(self) -> None:
        self._file.write(self._pending)
        self.sha256.update(self._pending)
        self.md5.update(self._pending)
        self.bytes += len(self._pending)
        self._pending.clear()
