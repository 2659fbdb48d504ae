"""Writes plain USTAR files.

Owner, mode and time are fixed and there are no extended records, so the same members give the same bytes.

Source: IEEE Std 1003.1-2017, pax, "ustar Interchange Format".
"""

from __future__ import annotations

from typing import Protocol

BLOCK = 512
_BUFFER = 1 << 17
"""Bytes written, and so hashed, at a time; they fit the processor's cache."""


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
END = bytes(2 * BLOCK)
"""End of an archive."""


def member(name: bytes, payload: bytes) -> bytes:
    """Return one regular file of a tar: header, payload, padding.

    Parameters
    ----------
    name : ASCII, at most 100 bytes
    """
    size = b"%011o" % len(payload)
    checksum = b"%06o\0 " % (_HEADER_SUM + sum(name) + sum(size))
    padding = END[: -len(payload) % BLOCK]
    return b"".join((name, _HEADER[len(name) : 124], size, _HEADER[135:148], checksum, _HEADER[156:], payload, padding))


class Writable(Protocol):
    """A file open for writing."""

    def write(self, content: bytearray, /) -> object:
        """Append some bytes."""


class TarWriter:
    """Writes members to a file."""

    def __init__(self, file: Writable) -> None:
        self._file = file
        self._pending = bytearray()

    def add(self, name: str, payload: bytes) -> None:
        """Append a member."""
        self._pending += member(name.encode("ascii"), payload)
        if len(self._pending) >= _BUFFER:
            self._flush()

    def close(self) -> None:
        """Append the end of the archive; the file stays open."""
        self._pending += END
        self._flush()

    def _flush(self) -> None:
        self._file.write(self._pending)
        self._pending.clear()
