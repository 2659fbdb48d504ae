"""What the images of a tar are: how bright, and how large under other encoders."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from measures import Agreement, agreement_of
from PIL import Image

Pixels = npt.NDArray[np.uint8]


class Picture(NamedTuple):
    """An image of a tar: its key, its grey pixels, uint8 (height, width), and the bytes of its PNG file."""

    key: str
    pixels: Pixels
    n_bytes: int


def pictures(tar: Path) -> Iterator[Picture]:
    """Yield the images of a tar, grey or RGB with three equal channels."""
    with tarfile.open(tar) as members:
        for member in members:
            key, _, ending = member.name.rpartition(".")
            file = members.extractfile(member)
            if ending == "png" and file is not None:
                image = np.asarray(cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)
                yield Picture(key, image if image.ndim == 2 else image[:, :, 0], member.size)


def compare(quantity: str, ours: Path, published: Sequence[Path]) -> Agreement:
    """Return how well the mean brightness, 0..1, of the same images of both sides agrees."""
    brightness = {picture.key: float(picture.pixels.mean()) / 255.0 for picture in pictures(ours)}
    return agreement_of(
        quantity,
        [
            (brightness[picture.key], float(picture.pixels.mean()) / 255.0)
            for tar in published
            for picture in pictures(tar)
        ],
    )


def _pil_bytes(image: Pixels) -> int:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    return len(file.getvalue())


def sizes(images: Sequence[Picture]) -> dict[str, float]:
    """Return the mean bytes of the same images as PNG files: ours, and the defaults of the usual libraries."""
    return {
        "ours": fmean(image.n_bytes for image in images),
        "PIL, RGB as published": fmean(_pil_bytes(np.dstack([image.pixels] * 3)) for image in images),
        "PIL, grey": fmean(_pil_bytes(image.pixels) for image in images),
        "cv2, grey": fmean(len(cv2.imencode(".png", image.pixels)[1]) for image in images),
    }
