"""Contact sheets show the images of a dataset in rows and columns."""

from __future__ import annotations

import cv2
import numpy as np
import pyarrow as pa
import pytest

from fdsl import Dataset, Spec, contact_sheet
from fdsl.reports.preview import encode_sheet

TILE_PX, STEP_PX, LEFT_PX, TOP_PX = 128, 132, 44, 40


@pytest.fixture(scope="module")
def dataset(spec: Spec, table: pa.Table) -> Dataset:
    return Dataset(spec, table)


def test_sheet_shows_each_image_in_its_place(dataset: Dataset) -> None:
    n_instances = 3
    sheet = contact_sheet(dataset, n_instances)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (TOP_PX + 5 * STEP_PX, LEFT_PX + n_instances * STEP_PX)
    for category in range(5):
        for instance in range(n_instances):
            top, left = TOP_PX + category * STEP_PX, LEFT_PX + instance * STEP_PX
            image = cv2.resize(dataset.image(category, instance), (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
            assert np.array_equal(sheet[top : top + TILE_PX, left : left + TILE_PX], image)


def test_rows_and_columns_are_labelled(dataset: Dataset) -> None:
    """There is ink above each column, left of each row and in the title, and none in the gaps."""
    sheet = contact_sheet(dataset, 3)
    paper = sheet[-1, 0]
    assert (sheet[:20] != paper).any()
    for instance in range(3):
        assert (sheet[22:TOP_PX, LEFT_PX + instance * STEP_PX :][:, :TILE_PX] != paper).any()
    for category in range(5):
        assert (sheet[TOP_PX + category * STEP_PX :, :LEFT_PX][:TILE_PX] != paper).any()
        assert (sheet[TOP_PX + category * STEP_PX + TILE_PX :][:4] == paper).all()


def test_png_has_the_sheets_pixels(dataset: Dataset) -> None:
    sheet = contact_sheet(dataset, 2)
    png = np.frombuffer(encode_sheet(sheet), dtype=np.uint8)
    assert np.array_equal(cv2.imdecode(png, cv2.IMREAD_UNCHANGED), sheet)
