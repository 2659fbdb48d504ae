"""Images are decoded to Pillow's pixels, whatever the file; batches of grey and colour go together."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import images
from images import collate, decoded, transformed
from info import DataError


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng((width, height)).integers(0, 256, (height, width), dtype=np.uint8)
    return Image.fromarray(pixels)


def unfiltered(pixels: np.ndarray) -> bytes:
    """A grey PNG of 8 bits, no row of it filtered."""
    height, width = pixels.shape
    rows = np.pad(pixels, ((0, 0), (1, 0))).tobytes()
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 3), (8, 8), (9, 5), (224, 224), (65, 129)])
@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, mode) for kind in ("PNG", "WEBP") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    + [("JPEG", mode) for mode in ("L", "RGB", "CMYK")],
)
def test_pixels_are_pillows(width: int, height: int, kind: str, mode: str) -> None:
    content = file_of(grey(width, height).convert(mode), kind)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.atleast_3d(np.array(image.convert("L" if image.mode in ("1", "L") else "RGB")))
    assert np.array_equal(decoded(content), expected)


@pytest.mark.parametrize(("width", "height"), [(224, 224), (33, 20), (8, 1)])
@pytest.mark.parametrize("depth", [1, 8])
def test_baked_files_take_the_fast_way_to_pillows_pixels(
    width: int, height: int, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    png = pytest.importorskip("shards.png", reason="the toolkit is not installed here")
    pixels = np.array(grey(width, height))
    content = png.encode(pixels * (pixels > 99), depth)
    expected = np.array(Image.open(io.BytesIO(content)).convert("L"))[:, :, None]
    monkeypatch.setattr(images.Image, "open", None)
    assert np.array_equal(decoded(content), expected)


@pytest.mark.parametrize("way", ["fast", "Pillow's"])
def test_cut_and_spoilt_files_are_told_or_are_pillows(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "Pillow's":
        monkeypatch.setattr(images, "isal_zlib", None)
    pixels = grey(24, 20)
    whole = unfiltered(np.array(pixels))
    if way == "fast":
        assert images._unfiltered_grey(whole) is not None
    for seed in range(300):
        draw = random.Random(seed)
        content = bytearray(whole[: draw.randrange(len(whole))] if seed % 2 else whole)
        if not seed % 2:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        try:
            there = transformed(bytes(content), "this", lambda pixels: pixels.copy(), seed)
        except DataError as error:
            assert str(error).startswith("this cannot be decoded: ")  # noqa: PT017
        else:
            assert np.array_equal(there[0].numpy(), np.array(pixels))


def test_grey_and_colour_go_together_in_a_batch() -> None:
    one, three = torch.full((1, 4, 4), 7, dtype=torch.uint8), torch.zeros(3, 4, 4, dtype=torch.uint8)
    assert collate([(one, 0), (one, 1)])[0].shape == (2, 1, 4, 4)
    both, labels = collate([(one, 0), (three, 1)])
    assert both.shape == (2, 3, 4, 4)
    assert (both[0] == 7).all()
    assert labels.tolist() == [0, 1]
