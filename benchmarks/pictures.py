"""The images of a tar: brightness, and size under other encoders."""

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
    """An image of a tar.

    Attributes
    ----------
    key : its name in the tar, without ending
    pixels : uint8 (height, width), grey
    n_bytes : size of its PNG file
    """

    key: str
    pixels: Pixels
    n_bytes: int


def read_pictures(tar: Path) -> Iterator[Picture]:
    """Yield the images of a tar.

    They are grey, or RGB with three equal channels.
    """
    with tarfile.open(tar) as members:
        for member in members:
            key, _, ending = member.name.rpartition(".")
            file = members.extractfile(member)
            if ending == "png" and file is not None:
                image = np.asarray(cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)
                yield Picture(key, image if image.ndim == 2 else image[:, :, 0], member.size)


def _brightness(picture: Picture) -> float:
    """Return the mean brightness, 0..1."""
    return float(picture.pixels.mean()) / 255.0


def compare(quantity: str, ours: Path, published: Sequence[Path]) -> Agreement:
    """Return how well the brightness of both sides' images agrees."""
    brightness = {picture.key: _brightness(picture) for picture in read_pictures(ours)}
    theirs = [picture for tar in published for picture in read_pictures(tar)]
    return agreement_of(quantity, [(brightness[picture.key], _brightness(picture)) for picture in theirs])


def _pil_bytes(image: Pixels) -> int:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    return len(file.getvalue())


def encoded_bytes(images: Sequence[Picture]) -> dict[str, float]:
    """Return mean PNG bytes: ours, and the usual libraries' defaults."""
    return {
        "ours": fmean(image.n_bytes for image in images),
        "PIL, RGB as published": fmean(_pil_bytes(np.dstack([image.pixels] * 3)) for image in images),
        "PIL, grey": fmean(_pil_bytes(image.pixels) for image in images),
        "cv2, grey": fmean(len(cv2.imencode(".png", image.pixels)[1]) for image in images),
    }
