"""PNG files: other readers see the image; the bytes depend on the image alone."""

from __future__ import annotations

import hashlib
import io
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shards.png import encode, first_bytes, is_as_encoded, max_bytes

Image = npt.NDArray[np.uint8]
SIDE = st.integers(1, 70)
DEPTHS = (1, 8)


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Draw images of any size: flat, random or sparse; also views that are not contiguous."""
    shape = draw(st.tuples(SIDE, SIDE))
    image = draw(arrays(np.uint8, shape, elements=st.integers(0, 255), fill=st.sampled_from([0, 1, 254, 255])))
    if draw(st.booleans()):
        noise = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, shape, dtype=np.uint8)
        image = np.where(image == image[0, 0], noise, image)
    return draw(st.sampled_from([image, image.T, image[::-1, ::-1]]))


def expected(image: Image, bit_depth: int) -> Image:
    """Return what a reader must see."""
    return image if bit_depth == 8 else np.where(image == 0, 0, 255).astype(np.uint8)


def chunks(file: bytes) -> list[tuple[bytes, bytes]]:
    """Return the kind and data of each chunk, and check their checksums."""
    assert file.startswith(b"\x89PNG\r\n\x1a\n")
    parts, at = [], 8
    while at < len(file):
        (length,) = struct.unpack_from(">I", file, at)
        kind, data = file[at + 4 : at + 8], file[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", file, at + 8 + length)[0] == zlib.crc32(kind + data)
        parts.append((kind, data))
        at += 12 + length
    assert at == len(file)
    return parts


@settings(deadline=None, max_examples=200)
@given(image=images(), bit_depth=st.sampled_from(DEPTHS))
def test_pil_and_opencv_read_the_image(image: Image, bit_depth: int) -> None:
    file = encode(image, bit_depth)
    with PIL.Image.open(io.BytesIO(file)) as opened:
        assert opened.mode == {1: "1", 8: "L"}[bit_depth]
        by_pil = np.asarray(opened.convert("L"))
    by_opencv = cv2.imdecode(np.frombuffer(file, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(by_pil, expected(image, bit_depth))
    np.testing.assert_array_equal(by_opencv, expected(image, bit_depth))


@settings(deadline=None)
@given(image=images(), bit_depth=st.sampled_from(DEPTHS))
def test_file_is_one_zlib_stream_of_unfiltered_rows(image: Image, bit_depth: int) -> None:
    file = encode(image, bit_depth)
    (first, header), (second, data), last = chunks(file)
    assert (first, second, last) == (b"IHDR", b"IDAT", (b"IEND", b""))
    height, width = image.shape
    assert header == struct.pack(">IIBBBBB", width, height, bit_depth, 0, 0, 0, 0)
    assert file.startswith(first_bytes(width, height, bit_depth))
    stream = zlib.decompressobj()
    rows = stream.decompress(data)
    assert stream.eof
    assert not stream.unused_data
    assert struct.unpack(">I", data[-4:])[0] == zlib.adler32(rows)
    packed = np.packbits(image, axis=1) if bit_depth == 1 else image
    assert rows == b"".join(b"\0" + row.tobytes() for row in packed)


def test_checksum_of_wide_white_rows() -> None:
    white = np.full((3, 4096), 255, dtype=np.uint8)
    (_, (_, data), _) = chunks(encode(white, 8))
    assert zlib.decompress(data) == 3 * (b"\0" + 4096 * b"\xff")


@settings(deadline=None, max_examples=100)
@given(image=images(), bit_depth=st.sampled_from(DEPTHS), data=st.data())
def test_any_change_is_detected(image: Image, bit_depth: int, data: st.DataObject) -> None:
    height, width = image.shape
    file = bytearray(encode(image, bit_depth))
    assert is_as_encoded(bytes(file), width, height, bit_depth)
    assert not is_as_encoded(bytes(file), width + 8, height, bit_depth)
    assert not is_as_encoded(bytes(file[: data.draw(st.integers(0, len(file) - 1))]), width, height, bit_depth)
    file[data.draw(st.integers(0, len(file) - 1))] ^= data.draw(st.integers(1, 255))
    assert not is_as_encoded(bytes(file), width, height, bit_depth)


ZLIB_LEVEL = 2
"""Gives the header of `encode`."""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def resealed(rows: bytes, level: int = ZLIB_LEVEL) -> bytes:
    """Return a PNG file of 16 x 16 grey pixels: any rows, with right checksums."""
    whole = encode(np.zeros((16, 16), dtype=np.uint8), 8)
    return whole[:33] + chunk(b"IDAT", zlib.compress(rows, level)) + whole[-12:]


@pytest.mark.parametrize(
    ("rows", "is_valid"),
    [(bytes(16 * 17), True), (bytes(16 * 17 - 1), False), (bytes(16 * 17 + 1), False), (b"\1" + bytes(271), False)],
)
def test_wrong_rows_are_detected(rows: bytes, is_valid: bool) -> None:
    assert is_as_encoded(resealed(rows), 16, 16, 8) == is_valid


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_another_zlib_header_is_detected(level: int) -> None:
    assert is_as_encoded(resealed(bytes(16 * 17)), 16, 16, 8)
    assert not is_as_encoded(resealed(bytes(16 * 17), level), 16, 16, 8)


@pytest.mark.parametrize("width", [9, 15, 16, 17])
def test_spare_bits_of_a_row_are_zero(width: int) -> None:
    whole = encode(np.zeros((1, width), dtype=np.uint8), 1)
    row = bytes((width + 7) // 8)
    for last, is_valid in ((b"\0", True), (b"\1", width == 16)):
        data = zlib.compress(b"\0" + row[:-1] + last, ZLIB_LEVEL)
        assert is_as_encoded(whole[:33] + chunk(b"IDAT", data) + whole[-12:], width, 1, 1) == is_valid


def test_noise_fits_the_bound() -> None:
    rng = np.random.default_rng(0)
    for side in (1, 16, 100, 1000):
        image = rng.integers(0, 256, (side, side), dtype=np.uint8)
        assert len(encode(image, 8)) <= max_bytes(side, side, 8)


def test_encoding_does_not_change_the_image() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    before = image.copy()
    encode(image, 1)
    np.testing.assert_array_equal(image, before)


def digests(n_small: int, n_large: int) -> list[str]:
    """Return short hashes of PNG files of repeating noise, which ISA-L alone does not encode repeatably."""
    rng = np.random.default_rng(0)
    hashes = []
    for k in range(n_small + n_large):
        side = 20 + k % 12 if k < n_small else 150
        image = rng.integers(0, 256, (side, side), dtype=np.uint8)
        image[-side // 4 :] = image[: side - side * 3 // 4]
        file = encode(image, 8)
        assert k < n_small or len(file) > 16 * 1024
        hashes.append(hashlib.sha256(file).hexdigest()[:8])
    return hashes


@pytest.fixture(scope="module")
def own_digests() -> list[str]:
    return digests(6000, 300)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_bytes_are_equal_in_every_process(seed: int, own_digests: list[str]) -> None:
    code = (
        "import sys; unused = bytearray(int(sys.argv[1]));"
        "from tests.shards.test_png import digests; print(*digests(6000, 300))"
    )
    rng = random.Random(seed)
    process = subprocess.run(
        [sys.executable, "-c", code, str(rng.randrange(1, 10_000_000))],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "MOVES_THE_STACK": "x" * rng.randrange(100_000)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.split() == own_digests
