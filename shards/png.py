"""Grey images as PNG files: two-level ones with 1 bit a pixel, others with 8; rows unfiltered, deflated by ISA-L.

Source: W3C, "Portable Network Graphics (PNG) Specification", third edition, sections 5 and 11.2.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from numba import njit

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY = 0
_LEVEL = 1
_RAW = -15
_ZLIB_HEAD = b"\x78\x5e"
_ADLER_MODULUS = np.int64(65521)
_PRIMER_BYTES = 8


def _chunk(kind: bytes, *pieces: bytes) -> bytes:
    checksum = isal_zlib.crc32(kind)
    for piece in pieces:
        checksum = isal_zlib.crc32(piece, checksum)
    n_bytes = sum(map(len, pieces))
    return b"".join((struct.pack(">I", n_bytes), kind, *pieces, struct.pack(">I", checksum)))


@njit(cache=True)
def _lay_rows(packed: npt.NDArray[np.uint8], rows: npt.NDArray[np.uint8]) -> np.int64:
    """Put filter type 0 and a row of an image into each row, and return the Adler-32 of all.

    The checksum of zlib's streams is taken while the rows are at hand: read again, they would take as long as copying them.

    Parameters
    ----------
    packed : uint8 (height, row), row at most 5,000
    rows : uint8 (height, 1 + row), written

    Source: Deutsch, Gailly, "ZLIB Compressed Data Format Specification", RFC 1950, section 8.2.
    """
    n = packed.shape[1]
    low, high = np.int64(1), np.int64(0)
    for y in range(packed.shape[0]):
        rows[y, 0] = 0
        total = weighted = np.uint32(0)
        for x in range(n):
            rows[y, x + 1] = packed[y, x]
            total = np.uint32(total + packed[y, x])
            weighted = np.uint32(weighted + packed[y, x] * np.uint32(n - x))
        high = (high + (n + 1) * low + weighted) % _ADLER_MODULUS
        low = (low + total) % _ADLER_MODULUS
    return high << 16 | low


def _deflate(rows: npt.NDArray[np.uint8]) -> tuple[bytes, ...]:
    """Return the pieces of bytes, uint8 (n,), as a deflate stream that depends on nothing but them.

    ISA-L's x86 code for levels 1 and 2 files the third byte of a stream under a hash of an address (up to 2.32.1: the
    label write_first_byte in igzip_icf_body_h1_gr_bt.asm shifts a register that nothing has set), so that about one image
    in 5,000 would come out with other bytes in another process. A few bytes flushed on their own take another path, and
    cost 11 bytes.
    """
    deflate = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW)
    return (
        deflate.compress(rows[:_PRIMER_BYTES]),
        deflate.flush(isal_zlib.Z_SYNC_FLUSH),
        deflate.compress(rows[_PRIMER_BYTES:]),
        deflate.flush(),
    )


def is_whole(payload: bytes, width: int, height: int, bit_depth: int) -> bool:
    """Return whether a file is a PNG as `encode` writes it: three chunks with right checksums, unfiltered rows in between."""
    start = head(width, height, bit_depth)
    data = payload[len(start) + 8 : -len(_END) - 4]
    if payload != b"%b%b%b" % (start, _chunk(b"IDAT", data), _END):
        return False
    n_row = 1 + (width * bit_depth + 7) // 8
    inflate = isal_zlib.decompressobj()
    try:
        rows = inflate.decompress(data, height * n_row + 1)
    except isal_zlib.error:  # type: ignore[misc] # its stub calls the class a value
        return False
    return len(rows) == height * n_row and inflate.eof and not inflate.unused_data and not any(rows[::n_row])


@lru_cache(maxsize=16)
def head(width: int, height: int, bit_depth: int) -> bytes:
    """Return the signature and the IHDR chunk, which every such image begins with."""
    return _SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bit_depth, _GREY, 0, 0, 0))


_END = _chunk(b"IEND", b"")


def encode(image: npt.NDArray[np.uint8], bit_depth: int) -> bytes:
    """Return an image as a PNG file.

    Parameters
    ----------
    image : uint8 (height, width), width at most 5,000; 0..255, or, for a bit depth of 1, black where 0 and white elsewhere
    bit_depth : 1 or 8
    """
    height, width = image.shape
    packed = np.packbits(image, axis=1) if bit_depth == 1 else image
    rows = np.empty((height, packed.shape[1] + 1), dtype=np.uint8)
    adler = struct.pack(">I", _lay_rows(packed, rows))
    data = _chunk(b"IDAT", _ZLIB_HEAD, *_deflate(rows.reshape(-1)), adler)
    return b"".join((head(width, height, bit_depth), data, _END))


def warm() -> None:
    """Compile what `encode` calls, or load it from numba's cache."""
    encode(np.zeros((1, 1), dtype=np.uint8), 8)
