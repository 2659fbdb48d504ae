"""Params of RCDB: the published defaults, what is out of range, and how many categories a label allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsl.primitives.errors import InputError
from fdsl.primitives.validation import parse
from rcdb.params import LABELS, Params

OPTIONS = "'vertices', 'contours', 'perlin', 'gap', 'radius' or 'aspect'"


def test_defaults_are_published() -> None:
    assert Params().model_dump() == {
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


def test_label_is_kept_in_the_papers_order() -> None:
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
def test_label_limits_the_number_of_categories(changes: dict[str, Any], most: int | None) -> None:
    assert Params(**changes).max_categories == most


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("label", (), f"`label` (=()) must name one or more of {', '.join(LABELS)}"),
        ("label", ("gap", "gap"), "`label` (=('gap', 'gap')) must name each parameter once"),
        ("label", ("centre",), f"`label.0` (='centre') must be {OPTIONS}"),
        ("label", ["gap", "colour"], f"`label.1` (='colour') must be {OPTIONS}"),
        ("label", "gap", "`label` (='gap') must be a list"),
        ("vertices", (2, 200), "`vertices.0` (=2) must be at least 3"),
        ("vertices", (3, 1001), "`vertices.1` (=1001) must be at most 1,000"),
        ("vertices", [200, 3], "`vertices` (=[200, 3]) must have its lowest end first"),
        ("vertices", 3, "`vertices` (=3) must be a pair [lowest, highest]"),
        ("contours", (0, 200), "`contours.0` (=0) must be at least 1"),
        ("contours", (200, 1), "`contours` (=(200, 1)) must have its lowest end first"),
        ("perlin", (0.0, 100.5), "`perlin.1` (=100.5) must be at most 100"),
        ("perlin", (0.0, float("nan")), "`perlin.1` (=nan) must be a finite number"),
        ("gap", (-0.1, 0.1), "`gap.0` (=-0.1) must be at least 0"),
        ("radius", (0, 1001), "`radius.1` (=1001) must be at most 1,000"),
        ("radius", (0.5, 1), "`radius.0` (=0.5) must be a whole number"),
        ("aspect", (0.0, 1.0), "`aspect.0` (=0.0) must be at least 0.1"),
        ("centre", (-1025, 0), "`centre.0` (=-1025) must be at least -1,024"),
        ("broken", 1.5, "`broken` (=1.5) must be at most 1"),
        ("broken", True, "`broken` (=True) must be a number"),
        (
            "points",
            1000,
            "`points` (=1000) is not a key of params;"
            " known keys: label, vertices, contours, perlin, gap, radius, aspect, centre, broken",
        ),
    ],
)
def test_value_out_of_range_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(Params, {field: value}, "params")
    assert str(refused.value) == message


def pairs(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.tuples(numbers, numbers).map(sorted)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "label": st.lists(st.sampled_from(LABELS), min_size=1, unique=True),
            "vertices": pairs(st.integers(3, 1000)),
            "contours": pairs(st.integers(1, 1000)),
            "perlin": pairs(st.floats(0, 100)),
            "gap": pairs(st.floats(0, 100)),
            "radius": pairs(st.integers(0, 1000)),
            "aspect": pairs(st.floats(0.1, 10)),
            "centre": pairs(st.integers(-1024, 1024)),
            "broken": st.floats(0, 1),
        },
    )
)
def test_params_survive_json(values: dict[str, Any]) -> None:
    params = parse(Params, values, "params")
    assert Params.model_validate_json(params.model_dump_json()) == params
    for name, value in values.items():
        held = getattr(params, name)
        assert sorted(held) == sorted(value) if isinstance(value, list) else held == value
