"""From a file's bytes to a batch: decoding, the random state of each image, and collation."""

from __future__ import annotations

import contextlib
import io
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from info import DataError

isal_zlib: Any = None
with contextlib.suppress(ImportError):  # without it Pillow reads the same pixels, more slowly
    from isal import isal_zlib

Transform = Callable[[np.ndarray], np.ndarray]

_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_GREY = 0


def decoded(content: bytes) -> np.ndarray:
    """Return an image's pixels: uint8 (height, width, 1) of a grey file, (height, width, 3) of any other."""
    pixels = _unfiltered_grey(content) if isal_zlib else None
    if pixels is not None:
        return pixels
    with Image.open(io.BytesIO(content)) as image:
        return np.atleast_3d(np.array(image.convert("L" if image.mode in ("1", "L") else "RGB")))


def _unfiltered_grey(content: bytes) -> np.ndarray | None:
    """Return the pixels of a PNG as formula-driven sets have it, or None for Pillow: grey, 1 or 8 bits, no row filtered.

    Inflating is most of the time that such a file takes, and ISA-L is faster at it than Pillow's zlib.
    """
    if not content.startswith(_PNG) or content[37:41] != b"IDAT":
        return None
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", content[16:29])
    end = 41 + struct.unpack(">I", content[33:37])[0]
    if colour != _GREY or depth not in (1, 8) or interlace or content[end + 8 : end + 12] != b"IEND":
        return None
    if width * height > Image.MAX_IMAGE_PIXELS:
        return None
    stride = 1 + (width * depth + 7) // 8
    rows = b""
    with contextlib.suppress(isal_zlib.error):
        rows = isal_zlib.decompress(content[41:end], bufsize=height * stride)
    if len(rows) != height * stride:
        return None
    pixels = np.frombuffer(rows, dtype=np.uint8).reshape(height, stride)
    if pixels[:, 0].any():
        return None
    pixels = pixels[:, 1:]
    if depth == 1:
        pixels = np.unpackbits(pixels, axis=1, count=width) * np.uint8(255)
    return pixels[:, :, None]


def transformed(content: bytes, name: str, transform: Transform, *numbers: int) -> torch.Tensor:
    """Return an image, uint8 (channels, height, width); what is random of it is a function of the numbers.

    numbers : seed, visit, and the number of the image. DataError names an image that cannot be decoded.
    """
    state = np.random.SeedSequence(numbers).generate_state(2)
    random.seed(int(state[0]))
    np.random.seed(state[1])
    try:
        pixels = decoded(content)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} cannot be decoded: {error}") from None
    return torch.from_numpy(transform(pixels)).permute(2, 0, 1)


def collate(items: Sequence[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images, uint8 (batch, 1 or 3, height, width), and labels, int64 (batch,); one channel if all have one."""
    channels = max(image.shape[0] for image, _ in items)
    images, labels = torch.utils.data.default_collate(
        [(image.expand(channels, -1, -1), label) for image, label in items]
    )
    return images, labels
