"""The parameters' defaults are the published ones; the label says how many categories there can be."""

from __future__ import annotations

import dataclasses

import pytest

from primitives.fields import InputError
from rcdb.params import LABELS, Params


def test_the_defaults_are_published() -> None:
    assert dataclasses.asdict(Params()) == {
        "label": ("vertices", "contours", "perlin", "gap"),
        "vertices": (3, 200),
        "contours": (1, 200),
        "perlin": (0.0, 4.0),
        "gap": (0.0, 0.1),
        "radius": (0, 100),
        "aspect": (1.0, 2.0),
        "centre": (-400, 400),
        "broken": 0.0,
    }
    assert LABELS == ("vertices", "contours", "perlin", "gap", "radius", "aspect")


def test_a_label_is_kept_in_the_ladders_order() -> None:
    assert Params(label=("gap", "vertices")).label == ("vertices", "gap")
    assert Params(label=["gap", "vertices"]) == Params(label=("vertices", "gap"))


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({}, None),
        ({"label": ("vertices",)}, 198),
        ({"label": ("vertices", "contours")}, 198 * 200),
        ({"label": ("vertices", "contours", "radius")}, 198 * 200 * 101),
        ({"label": ("radius",)}, 101),
        ({"label": ("vertices", "perlin")}, None),
        ({"label": ("vertices", "gap")}, None),
        ({"label": ("vertices", "aspect")}, None),
        ({"label": ("vertices", "perlin"), "perlin": (2.0, 2.0)}, 198),
        ({"label": ("vertices", "gap", "perlin"), "perlin": (2.0, 2.0)}, None),
        ({"label": ("perlin",), "perlin": (2.0, 2.0)}, 1),
        ({"label": ("vertices", "contours"), "vertices": (5, 5), "contours": (1, 3)}, 3),
        ({"label": ("vertices",), "perlin": (1.0, 1.0)}, 198),
        ({"label": LABELS}, None),
    ],
)
def test_the_label_says_how_many_different_categories_there_can_be(
    changes: dict[str, object], most: int | None
) -> None:
    assert Params(**changes).max_categories == most


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("label", (), "`params.label` (=()) must be a list of one or more of "),
        (
            "label",
            ("vertices", "vertices"),
            "`params.label` (=('vertices', 'vertices')) must be a list of one or more of ",
        ),
        ("label", ("centre",), "`params.label` (=('centre',)) must be a list of one or more of "),
        ("vertices", (2, 200), "`params.vertices` (=2) must be in 3..1000"),
        ("vertices", (3, 1001), "`params.vertices` (=1001) must be in 3..1000"),
        ("contours", (0, 200), "`params.contours` (=0) must be in 1..1000"),
        ("contours", (200, 1), "`params.contours` (=[200, 1]) must have its lowest end first"),
        ("perlin", (0.0, 100.5), "`params.perlin` (=100.5) must be in 0..100"),
        ("perlin", (0.0, float("nan")), "`params.perlin` (=nan) must be in 0..100"),
        ("gap", (-0.1, 0.1), "`params.gap` (=-0.1) must be in 0..100"),
        ("radius", (0, 1001), "`params.radius` (=1001) must be in 0..1000"),
        ("radius", (0.5, 1), "`params.radius` (=0.5) must be a whole number in 0..1000"),
        ("aspect", (0.0, 1.0), "`params.aspect` (=0.0) must be in 0.1..10"),
        ("centre", (-1025, 0), "`params.centre` (=-1025) must be in -1024..1024"),
        ("broken", 1.5, "`params.broken` (=1.5) must be in 0..1"),
        ("broken", True, "`params.broken` (=True) must be a number in 0..1"),
    ],
)
def test_what_is_out_of_range_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        Params(**{field: value})
    assert str(refusal.value).startswith(message)
