"""Contact sheets and turntables: rows are categories, columns are instances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from fdsl.dataset.dataset import Dataset
from fdsl.dataset.families import Image
from fdsl.primitives.errors import InputError
from shards.events import Advanced, Finished, Listener, Started, ignore

Sheet = npt.NDArray[np.uint8]
"""A labelled sheet of images, uint8 (height, width), grey."""

_TILE_PX, _GAP_PX, _MARGIN_PX, _TITLE_PX, _CHARACTER_PX = 128, 4, 44, 40, 7
_STEP_PX = _TILE_PX + _GAP_PX
_PAPER, _INK = 235, 40
_N_FRAMES, _FRAME_MS = 60, 50
_MOST_TURNING = 64
"""Images of a turntable: each keeps its points in memory."""

_LOSSLESS = 101
"""WebP's quality above 100 means lossless."""


def _write(sheet: Sheet, text: str, x: int, y: int) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.38, _INK, 1, cv2.LINE_AA)


def sheet(
    title: str, row_labels: Sequence[str], column_labels: Sequence[str], rows: Iterable[Iterable[Image]]
) -> Sheet:
    """Return images in labelled rows and columns, scaled to 128 px.

    Parameters
    ----------
    title : the sheet is at least as wide
    row_labels : one line beside each row; the margin is as wide as they are
    column_labels : one line above each column
    rows : images of each row
    """
    margin = max(_MARGIN_PX, _CHARACTER_PX * max(map(len, row_labels)) + 2 * _GAP_PX)
    width = max(margin + len(column_labels) * _STEP_PX, _CHARACTER_PX * len(title) + 2 * _GAP_PX)
    sheet = np.full((_TITLE_PX + len(row_labels) * _STEP_PX, width), _PAPER, dtype=np.uint8)
    _write(sheet, title, _GAP_PX, 14)
    for column, label in enumerate(column_labels):
        _write(sheet, label, margin + column * _STEP_PX, _TITLE_PX - 6)
    for row, (label, images) in enumerate(zip(row_labels, rows, strict=True)):
        top = _TITLE_PX + row * _STEP_PX
        _write(sheet, label, _GAP_PX, top + _TILE_PX // 2)
        for column, image in enumerate(images):
            left = margin + column * _STEP_PX
            sheet[top : top + _TILE_PX, left : left + _TILE_PX] = tile(image)
    return sheet


def tile(image: Image) -> Image:
    """Return an image scaled to 128 px."""
    return cv2.resize(image, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def counted(images: Iterable[Image], n: int, name: str, listener: Listener) -> Iterator[Image]:
    """Yield n images of the dataset `name`, and report each as rendered."""
    listener(Started("render", name, "images", n))
    for k, image in enumerate(images, start=1):
        listener(Advanced(1, "sheet"))
        if k == n:
            listener(Finished("render"))
        yield image


def contact_sheet(
    dataset: Dataset, categories: Sequence[int], instances: Sequence[int], listener: Listener = ignore
) -> Sheet:
    """Return a labelled sheet of some images.

    Parameters
    ----------
    categories : rows
    instances : columns
    listener : called with each event

    Returns
    -------
    uint8 (height, width), grey; images are scaled to 128 px
    """
    names = [(category, instance) for category in categories for instance in instances]
    images = counted((image for image, _ in dataset.images(names)), len(names), dataset.spec.name, listener)
    return _instances_sheet(dataset, categories, instances, images)


def turntable(
    dataset: Dataset, categories: Sequence[int], instances: Sequence[int], listener: Listener = ignore
) -> list[Sheet]:
    """Return contact sheets whose images turn once around the vertical axis.

    The first frame is `contact_sheet`. Parameters are those of `contact_sheet`.

    Returns
    -------
    60 frames, each uint8 (height, width), grey

    Raises
    ------
    InputError
        The family's images are flat, or there are more than 64.
    """
    n_images = len(categories) * len(instances)
    if n_images > _MOST_TURNING:
        raise InputError(f"`turntable` (={n_images} images) must have at most {_MOST_TURNING}: select fewer")
    turning = [dataset.turn(category, instance, _N_FRAMES) for category in categories for instance in instances]
    frames = (next(image) for _ in range(_N_FRAMES) for image in turning)
    images = counted(frames, _N_FRAMES * n_images, dataset.spec.name, listener)
    return [_instances_sheet(dataset, categories, instances, images) for _ in range(_N_FRAMES)]


def _instances_sheet(
    dataset: Dataset, categories: Sequence[int], instances: Sequence[int], images: Iterator[Image]
) -> Sheet:
    spec = dataset.spec
    rows = ([next(images) for _ in instances] for _ in categories)
    title = f"{spec.name}: {spec.family}, {spec.size_px} px, seed {spec.seed}"
    return sheet(title, [*map(str, categories)], [*map(str, instances)], rows)


def encode_sheet(sheet: Sheet) -> bytes:
    """Return a sheet as a PNG file."""
    return bytes(cv2.imencode(".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])


def encode_turntable(frames: Sequence[Sheet]) -> bytes:
    """Return sheets as an endless animation.

    A lossless WebP file of 20 frames per second.
    """
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR) for frame in frames]
    animation.durations = [_FRAME_MS] * len(frames)
    return bytes(cv2.imencodeanimation(".webp", animation, [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS])[1])
