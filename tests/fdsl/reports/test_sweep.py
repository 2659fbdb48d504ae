"""A sweep changes one parameter and nothing else."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from fdsl import Dataset, InputError, search_categories
from fdsl.reports import preview
from fdsl.reports.sweep import Sweep, parse_sweep, sweep_sheet
from shards.events import Advanced, Event, Finished, Started
from tests.shards.conftest import small_spec

TILE_PX, STEP_PX, LEFT_PX, TOP_PX = 128, 132, 99, 40


@pytest.fixture(scope="module")
def contours() -> Dataset:
    spec = small_spec("rcdb")
    return Dataset(spec, search_categories(spec).table)


@pytest.fixture(scope="module")
def fractals() -> Dataset:
    spec = small_spec("exfractal", categories=2)
    return Dataset(spec, search_categories(spec).table)


def tiles(sheet: npt.NDArray[np.uint8]) -> list[list[npt.NDArray[np.uint8]]]:
    """Return the tiles of each row."""
    return [
        [sheet[top : top + TILE_PX, left : left + TILE_PX] for left in range(LEFT_PX, sheet.shape[1], STEP_PX)]
        for top in range(TOP_PX, sheet.shape[0], STEP_PX)
    ]


def small(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return cv2.resize(image, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def test_parameter_of_categories_is_swept(contours: Dataset) -> None:
    """At its own value, the image is that of the dataset."""
    own = contours.table.column("vertices")[3].as_py()
    (row,) = tiles(sweep_sheet(contours, [3], [7], Sweep("vertices", own, own + 4, 3)))
    assert len(row) == 3
    assert np.array_equal(row[0], small(contours.image(3, 7)))
    assert not np.array_equal(row[0], row[2])


def test_parameter_of_images_is_swept(contours: Dataset) -> None:
    """A range becomes one value, for every image."""
    rows = tiles(sweep_sheet(contours, [1, 2], [0, 4], Sweep("radius", 0, 100, 2)))
    assert len(rows) == 4
    spec = contours.spec
    for column, radius in enumerate((0, 100)):
        fixed = Dataset(
            spec.replace(params={**spec.to_mapping()["params"], "radius": [radius, radius]}), contours.table
        )
        names = [(category, instance) for category in (1, 2) for instance in (0, 4)]
        for row, (image, variant) in zip(rows, fixed.images(names), strict=True):
            assert np.array_equal(row[column], small(image))
            assert variant.radius == radius  # type: ignore[attr-defined]


def test_setting_is_swept(fractals: Dataset) -> None:
    ((few, many),) = tiles(sweep_sheet(fractals, [1], [0], Sweep("points", 100, 1000, 2)))
    assert np.array_equal(many, small(fractals.image(1, 0)))
    assert 0 < np.count_nonzero(few) < np.count_nonzero(many)


def test_rows_are_labelled_by_keys(contours: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = preview._write
    monkeypatch.setattr(preview, "_write", lambda sheet, text, x, y: (written.append(text), write(sheet, text, x, y)))
    sweep_sheet(contours, [1], [0, 12], Sweep("vertices", 3, 5, 2))
    assert written[-2:] == ["000001_000000", "000001_000012"]


def test_values_have_the_type_of_the_parameter(contours: Dataset, fractals: Dataset) -> None:
    assert len(tiles(sweep_sheet(contours, [0], [0], Sweep("vertices", 3, 5, 9)))[0]) == 3  # whole numbers, once each
    assert len(tiles(sweep_sheet(fractals, [0], [0, 1, 2, 3], Sweep("weight_range", 0, 0.6, 7)))[0]) == 7


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (Sweep("perlinn", 0, 1, 2), r"^`sweep` \(=perlinn\) is not a parameter; did you mean `perlin`\?$"),
        (Sweep("zzzz", 0, 1, 2), r"^`sweep` \(=zzzz\) is not a parameter; known: vertices, .*, broken$"),
        (Sweep("label", 0, 1, 2), r"^`sweep` \(=label\) must be a parameter that is a number or a range of numbers$"),
        (Sweep("vertices", 1, 9, 3), r"^`sweep vertices=1`: category 0: `vertices` \(=1\) must be at least 3$"),
        (Sweep("vertices", 9, 90_000, 3), r"^`sweep vertices=90000`: .* \(=90000\) must be at most 1,000$"),
        (Sweep("vertices", 9, 5e11, 2), r"^`sweep vertices=500000000000`: .* must be at most 1,000$"),
        (Sweep("perlin", 0, 1, 100), r"^`sweep` \(=100 values of 30 images\) must have at most 2,000 tiles"),
        (Sweep("broken", 0, 2, 3), r"^`params\.broken` \(=2\.0\) must be at most 1$"),
    ],
)
def test_wrong_sweep_is_one_line(sweep: Sweep, message: str, contours: Dataset) -> None:
    events: list[Event] = []
    with pytest.raises(InputError, match=message):
        sweep_sheet(contours, [0, 1], list(range(15)), sweep, events.append)
    assert not events  # no image was rendered


def test_progress_counts_each_tile(contours: Dataset) -> None:
    events: list[Event] = []
    sweep_sheet(contours, [0, 2], [1], Sweep("vertices", 3, 5, 3), events.append)
    started = Started("render", contours.spec.name, "images", 6)
    assert events == [started, *6 * [Advanced(1, "sheet")], Finished("render")]


@pytest.mark.parametrize("name", ["maps", "variance_threshold", "jitter_deg"])
def test_sweep_without_effect_is_refused(name: str, fractals: Dataset) -> None:
    high = 0.9 if name == "variance_threshold" else 4
    with pytest.raises(InputError, match=rf"^`sweep` \(={name}\) changes none of these images: "):
        sweep_sheet(fractals, [0], [0], Sweep(name, 0.05 if high < 1 else 2, high, 3))


def test_texts_are_parsed() -> None:
    assert parse_sweep("perlin=0:4:8") == Sweep("perlin", 0.0, 4.0, 8)
    assert parse_sweep("centre=-400:400.5:100") == Sweep("centre", -400.0, 400.5, 100)
    for text in (
        "perlin",
        "perlin=0:4",
        "perlin=0:4:1",
        "perlin=4:0:8",
        "perlin=0:4:101",
        "perlin=a:4:8",
        "=0:4:8",
        "",
    ):
        with pytest.raises(InputError, match=r"^`sweep` \(=.*\) must be NAME=LOW:HIGH:N with LOW < HIGH"):
            parse_sweep(text)
