"""Contact sheets: rows are categories, columns are instances."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from fdsl.dataset.dataset import Dataset

_TILE_PX, _GAP_PX, _MARGIN_PX, _TITLE_PX = 128, 4, 44, 40
_STEP_PX = _TILE_PX + _GAP_PX
_PAPER, _INK = 235, 40


def _write(sheet: npt.NDArray[np.uint8], text: str, x: int, y: int) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.38, _INK, 1, cv2.LINE_AA)


def contact_sheet(dataset: Dataset, n_instances: int) -> npt.NDArray[np.uint8]:
    """Return a labelled sheet of the first images of each category.

    Parameters
    ----------
    dataset : one row of the sheet per category
    n_instances : columns

    Returns
    -------
    uint8 (height, width), grey; images are scaled to 128 px
    """
    spec, n_categories = dataset.spec, dataset.spec.categories
    shape = _TITLE_PX + n_categories * _STEP_PX, _MARGIN_PX + n_instances * _STEP_PX
    sheet = np.full(shape, _PAPER, dtype=np.uint8)
    _write(sheet, f"{spec.name}: {spec.family}, {spec.size_px} px, seed {spec.seed}", _GAP_PX, 14)
    for instance in range(n_instances):
        _write(sheet, str(instance), _MARGIN_PX + instance * _STEP_PX, _TITLE_PX - 6)
    for category in range(n_categories):
        _write(sheet, str(category), _GAP_PX, _TITLE_PX + category * _STEP_PX + _TILE_PX // 2)
    names = [(category, instance) for category in range(n_categories) for instance in range(n_instances)]
    for (category, instance), (image, _) in zip(names, dataset.images(names), strict=True):
        top, left = _TITLE_PX + category * _STEP_PX, _MARGIN_PX + instance * _STEP_PX
        tile = cv2.resize(image, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_AREA)
        sheet[top : top + _TILE_PX, left : left + _TILE_PX] = tile
    return sheet


def encode_sheet(sheet: npt.NDArray[np.uint8]) -> bytes:
    """Return a sheet as a PNG file."""
    return bytes(cv2.imencode(".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])
