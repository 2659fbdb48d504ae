"""Contact sheets: what a dataset looks like, rows categories, columns instances."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.bake import render
from shards.spec import Spec

_TILE_PX, _GAP_PX, _MARGIN_PX, _TITLE_PX = 128, 4, 44, 40
_PAPER, _INK = 235, 40


def _write(sheet: npt.NDArray[np.uint8], text: str, x: int, y: int, scale: float = 0.38) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, 1, cv2.LINE_AA)


def contact_sheet(spec: Spec, table: pa.Table, n_instances: int) -> npt.NDArray[np.uint8]:
    """Return a labelled sheet of the first images of each category in a table: uint8 (height, width), grey.

    Images are shrunk to 128 px; rows are labelled with the category, columns with the instance.
    """
    n_categories = table.num_rows
    step = _TILE_PX + _GAP_PX
    sheet = np.full((_TITLE_PX + n_categories * step, _MARGIN_PX + n_instances * step), _PAPER, dtype=np.uint8)
    _write(sheet, f"{spec.name}: {spec.family}, {spec.size_px} px, seed {spec.seed}", _GAP_PX, 14)
    for instance in range(n_instances):
        _write(sheet, str(instance), _MARGIN_PX + instance * step, _TITLE_PX - 6)
    for category in range(n_categories):
        top = _TITLE_PX + category * step
        _write(sheet, str(category), _GAP_PX, top + _TILE_PX // 2)
        for instance in range(n_instances):
            left = _MARGIN_PX + instance * step
            image = render(spec, table, category, instance)
            tile = cv2.resize(image, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_AREA)
            sheet[top : top + _TILE_PX, left : left + _TILE_PX] = tile
    return sheet


def encode_sheet(sheet: npt.NDArray[np.uint8]) -> bytes:
    """Return a sheet as a PNG file."""
    return bytes(cv2.imencode(".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])
