"""Writes grey images as PNG files.

They have 1 or 8 bits per pixel and unfiltered rows, deflated by ISA-L.

Source: W3C, "Portable Network Graphics (PNG) Specification", third edition, sections 5 and 11.2.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from shards.kernels import filter_rows

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY = 0
_LEVEL = 1
_RAW = -15
_ZLIB_HEAD = b"\x78\x5e"
_PRIMER_BYTES = 8


def _chunk(kind: bytes, *pieces: bytes) -> bytes:
    checksum = isal_zlib.crc32(kind)
    for piece in pieces:
        checksum = isal_zlib.crc32(piece, checksum)
    n_bytes = sum(map(len, pieces))
    return b"".join((struct.pack(">I", n_bytes), kind, *pieces, struct.pack(">I", checksum)))


def _deflate(rows: npt.NDArray[np.uint8]) -> tuple[bytes, ...]:
    """Return the pieces of a deflate stream.

    The stream depends on its input only.

    ISA-L's x86 code for levels 1 and 2 hashes the third byte of a stream by an address (up to 2.32.1: label
    write_first_byte in igzip_icf_body_h1_gr_bt.asm shifts an unset register). About one image in 5,000 would have other
    bytes in another process. Flushing a few bytes first takes another path and costs 11 bytes.

    Parameters
    ----------
    rows : uint8 (n,)
    """
    deflate = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW)
    return (
        deflate.compress(rows[:_PRIMER_BYTES]),
        deflate.flush(isal_zlib.Z_SYNC_FLUSH),
        deflate.compress(rows[_PRIMER_BYTES:]),
        deflate.flush(),
    )


def is_as_encoded(payload: bytes, width: int, height: int, bit_depth: int) -> bool:
    """Return whether a file is a PNG as `encode` writes it.

    It has three chunks with right checksums, the same zlib header, and unfiltered rows that end with zero bits. How the rows
    are deflated is not compared, because releases of ISA-L differ.
    """
    start = first_bytes(width, height, bit_depth)
    data = payload[len(start) + 8 : -len(_END) - 4]
    if payload != b"%b%b%b" % (start, _chunk(b"IDAT", data), _END) or not data.startswith(_ZLIB_HEAD):
        return False
    n_row = _row_bytes(width, bit_depth)
    inflate = isal_zlib.decompressobj()
    try:
        rows = inflate.decompress(data, height * n_row + 1)
    except isal_zlib.error:  # type: ignore[misc] # its stub calls the class a value
        return False
    if len(rows) != height * n_row or not inflate.eof or inflate.unused_data:
        return False
    n_spare_bits = (n_row - 1) * 8 - width * bit_depth
    return not any(rows[::n_row]) and not any(byte & (1 << n_spare_bits) - 1 for byte in rows[n_row - 1 :: n_row])


def _row_bytes(width: int, bit_depth: int) -> int:
    """Return the size of a row with its filter type."""
    return 1 + (width * bit_depth + 7) // 8


def max_bytes(width: int, height: int, bit_depth: int) -> int:
    """Return a limit of a file's size, bytes.

    Allows for pixels that do not compress.
    """
    n_bytes = height * _row_bytes(width, bit_depth)
    return n_bytes + n_bytes // 8 + 1024


@lru_cache(maxsize=16)
def first_bytes(width: int, height: int, bit_depth: int) -> bytes:
    """Return the first bytes of a file: signature and IHDR chunk."""
    return _SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bit_depth, _GREY, 0, 0, 0))


_END = _chunk(b"IEND", b"")


def encode(image: npt.NDArray[np.uint8], bit_depth: int) -> bytes:
    """Return an image as a PNG file.

    Parameters
    ----------
    image : uint8 (height, width), width at most 5,000. For a bit depth of 1, 0 is black and the rest white.
    bit_depth : 1 or 8
    """
    height, width = image.shape
    packed = np.packbits(image, axis=1) if bit_depth == 1 else image
    rows = np.empty((height, packed.shape[1] + 1), dtype=np.uint8)
    adler = struct.pack(">I", filter_rows(packed, rows))
    data = _chunk(b"IDAT", _ZLIB_HEAD, *_deflate(rows.reshape(-1)), adler)
    return b"".join((first_bytes(width, height, bit_depth), data, _END))


def compile_kernels() -> None:
    """Compile what `encode` calls, or load it from numba's cache."""
    encode(np.zeros((1, 1), dtype=np.uint8), 8)
