"""Contact sheets show the images of a dataset in rows and columns."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from fdsl import Dataset, InputError, Spec, contact_sheet, search_categories
from fdsl.reports.preview import encode_sheet, encode_turntable, turntable
from shards.events import Advanced, Event, Finished, Started
from tests.shards.conftest import small_spec

TILE_PX, STEP_PX, LEFT_PX, TOP_PX = 128, 132, 44, 40


@pytest.fixture(scope="module")
def dataset(spec: Spec, table: pa.Table) -> Dataset:
    return Dataset(spec, table)


def test_sheet_shows_each_image_in_its_place(dataset: Dataset) -> None:
    n_instances = 3
    sheet = contact_sheet(dataset, range(5), range(n_instances))
    assert sheet.dtype == np.uint8
    assert sheet.shape == (TOP_PX + 5 * STEP_PX, LEFT_PX + n_instances * STEP_PX)
    for category in range(5):
        for instance in range(n_instances):
            top, left = TOP_PX + category * STEP_PX, LEFT_PX + instance * STEP_PX
            image = cv2.resize(dataset.image(category, instance), (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
            assert np.array_equal(sheet[top : top + TILE_PX, left : left + TILE_PX], image)


def test_rows_and_columns_are_labelled(dataset: Dataset) -> None:
    """There is ink above each column, left of each row and in the title, and none in the gaps."""
    sheet = contact_sheet(dataset, range(5), range(3))
    paper = sheet[-1, 0]
    assert (sheet[:20] != paper).any()
    for instance in range(3):
        assert (sheet[22:TOP_PX, LEFT_PX + instance * STEP_PX :][:, :TILE_PX] != paper).any()
    for category in range(5):
        assert (sheet[TOP_PX + category * STEP_PX :, :LEFT_PX][:TILE_PX] != paper).any()
        assert (sheet[TOP_PX + category * STEP_PX + TILE_PX :][:4] == paper).all()


def progress(dataset: Dataset, n_images: int) -> list[Event]:
    started = Started("render", dataset.spec.name, "images", n_images)
    return [started, *n_images * [Advanced(1, "sheet")], Finished("render")]


def test_progress_counts_each_image(dataset: Dataset) -> None:
    events: list[Event] = []
    contact_sheet(dataset, range(2), range(3), events.append)
    assert events == progress(dataset, 6)


def test_png_has_the_sheets_pixels(dataset: Dataset) -> None:
    sheet = contact_sheet(dataset, range(5), range(2))
    png = np.frombuffer(encode_sheet(sheet), dtype=np.uint8)
    assert np.array_equal(cv2.imdecode(png, cv2.IMREAD_UNCHANGED), sheet)


def test_rows_and_columns_are_those_selected(dataset: Dataset) -> None:
    whole, some = contact_sheet(dataset, range(5), range(13)), contact_sheet(dataset, [4, 1], [12, 3])
    for row, category in enumerate((4, 1)):
        for column, instance in enumerate((12, 3)):
            assert np.array_equal(tile(some, row, column), tile(whole, category, instance))


def tile(sheet: npt.NDArray[np.uint8], row: int, column: int) -> npt.NDArray[np.uint8]:
    top, left = TOP_PX + row * STEP_PX, LEFT_PX + column * STEP_PX
    return sheet[top : top + TILE_PX, left : left + TILE_PX]


@pytest.fixture(scope="module")
def solids() -> Dataset:
    spec = small_spec("exfractal", categories=2)
    return Dataset(spec, search_categories(spec).table)


def test_turntable_begins_with_the_contact_sheet(solids: Dataset) -> None:
    events: list[Event] = []
    frames = turntable(solids, [1, 0], [2], events.append)
    assert len(frames) == 60
    assert events == progress(solids, 2 * 60)
    assert np.array_equal(frames[0], contact_sheet(solids, [1, 0], [2]))
    assert len({frame.tobytes() for frame in frames}) == 60


def test_animation_is_lossless(solids: Dataset) -> None:
    frames = turntable(solids, [0], [0])[:3]
    _, animation = cv2.imdecodeanimation(np.frombuffer(encode_turntable(frames), dtype=np.uint8))
    assert list(animation.durations) == 3 * [50]
    for decoded, frame in zip(animation.frames, frames, strict=True):
        assert all(np.array_equal(decoded[..., channel], frame) for channel in range(3))


def test_flat_or_many_images_are_not_turned(solids: Dataset) -> None:
    flat = small_spec("rcdb")
    with pytest.raises(
        InputError, match=r"^`family` \(=rcdb\) has flat images, which cannot be turned; .*: exfractal$"
    ):
        turntable(Dataset(flat, search_categories(flat).table), [0], [0])
    with pytest.raises(InputError, match=r"^`turntable` \(=65 images\) must have at most 64: select fewer$"):
        turntable(solids, [0] * 65, [0])


def test_images_of_an_older_format_are_not_turned(solids: Dataset) -> None:
    with pytest.raises(InputError, match=r"older format, which cannot be rendered any more$"):
        Dataset(solids.spec, solids.table, older_hash="0" * 64).turn(0, 0, 2)
