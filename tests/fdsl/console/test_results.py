"""The lines that commands print."""

from __future__ import annotations

from fdsl import Dataset, LiveDataset, search_categories
from fdsl.console.results import image_lines, plan_lines
from fdsl.reports.estimate import Estimate
from tests.shards.conftest import small_spec


def test_plan_says_files_gigabytes_and_hours() -> None:
    cost = Estimate({"train": 60, "validation": 15}, {"train": 9, "validation": 3}, 42, 2_345_678_900, 5400, 10**9, 1.0)
    lines = list(plan_lines(small_spec("rcdb"), cost, 12_800))
    assert lines[1:] == [
        "train                60 images in 9 shards",
        "validation           15 images in 3 shards",
        "files                42 in all",
        "size               2.35 GB, 31,275,719 bytes per image (estimated)",
        "CPU time           1.50 core-hours on cores like these (estimated)",
        "time         7 min 30 s with 12 workers on idle cores (estimated)",
        "memory             1.00 GB per worker (peak of this process, which did the same work)",
    ]


def test_lengths_have_their_frame() -> None:
    """An image of 64 px has a centre at 244.5 px of the canvas that it shows."""
    spec = small_spec("rcdb", categories=1)
    lines = [*image_lines("x", LiveDataset(Dataset(spec, search_categories(spec).table), "train", 0, (), 1), 0)]
    with_unit = [line.split()[0] for line in lines if line.endswith(" px of a 512 px canvas")]
    assert with_unit == ["perlin", "gap", "radius", "centre_x", "centre_y"]
