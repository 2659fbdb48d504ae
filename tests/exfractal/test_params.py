"""Params of ExFractalDB: the published defaults and weight table, and what is out of range."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exfractal.params import N_COEFFICIENTS, N_VIEWS, Params
from fdsl.primitives.errors import InputError
from fdsl.primitives.validation import parse

FACTORS = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def test_defaults_are_published() -> None:
    assert Params().model_dump() == {
        "maps": (2, 7),
        "points": 10_000,
        "variance_threshold": 0.05,
        "weight_range": 0.6,
        "weights": "random",
        "viewpoint": "random",
        "jitter_deg": 3.141592653589793,
    }
    assert (N_COEFFICIENTS, N_VIEWS) == (12, 12)
    assert Params().max_categories is None


@pytest.mark.parametrize(
    ("weight_range", "n_weights"), [(0.6, 145), (0.5, 121), (0.4, 97), (0.3, 73), (0.2, 49), (0.1, 25), (0, 1)]
)
def test_weight_table_has_the_published_rows(weight_range: float, n_weights: int) -> None:
    params = Params(weight_range=weight_range)
    tenths = [tenth for tenth in range(4, 17) if 0 < abs(tenth - 10) <= round(10 * weight_range)]
    assert params.n_weights == n_weights
    assert params.factors == tuple(float(f"{tenth // 10}.{tenth % 10}") for tenth in tenths)


def test_instances_step_is_weights_times_views() -> None:
    assert Params().instances_step == Params(viewpoint="ring").instances_step == 1
    assert Params(weights="each").instances_step == 145
    assert Params(weights="each", viewpoint="ring").instances_step == 1740
    assert Params(weights="each", viewpoint="ring", weight_range=0.1).instances_step == 300


def test_largest_weight_table_omits_1() -> None:
    assert Params().factors == (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("maps", (1, 7), "`maps.0` (=1) must be at least 2"),
        ("maps", (2, 17), "`maps.1` (=17) must be at most 16"),
        ("maps", (7, 2), "`maps` (=(7, 2)) must have its lowest end first"),
        ("points", 99, "`points` (=99) must be at least 100"),
        ("points", 1e4, "`points` (=10000.0) must be a whole number"),
        ("points", 10_000_001, "`points` (=10000001) must be at most 10,000,000"),
        ("variance_threshold", 1.1, "`variance_threshold` (=1.1) must be at most 1"),
        ("variance_threshold", float("nan"), "`variance_threshold` (=nan) must be a finite number"),
        ("weight_range", 0.7, "`weight_range` (=0.7) must be one of 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6"),
        ("weight_range", False, "`weight_range` (=False) must be one of 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6"),
        ("weights", "all", "`weights` (='all') must be 'random' or 'each'"),
        ("viewpoint", "front", "`viewpoint` (='front') must be 'random' or 'ring'"),
        ("jitter_deg", 15.1, "`jitter_deg` (=15.1) must be at most 15"),
        ("jitter_deg", -1, "`jitter_deg` (=-1) must be at least 0"),
        ("jitter_deg", float("inf"), "`jitter_deg` (=inf) must be a finite number"),
        (
            "vertices",
            (3, 9),
            "`vertices` (=(3, 9)) is not a key of params;"
            " known keys: maps, points, variance_threshold, weight_range, weights, viewpoint, jitter_deg",
        ),
    ],
)
def test_value_out_of_range_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(Params, {field: value}, "params")
    assert str(refused.value) == message


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "maps": st.tuples(st.integers(2, 16), st.integers(2, 16)).map(sorted),
            "points": st.integers(100, 10_000_000),
            "variance_threshold": st.floats(0, 1),
            "weight_range": st.sampled_from(FACTORS),
            "weights": st.sampled_from(["random", "each"]),
            "viewpoint": st.sampled_from(["random", "ring"]),
            "jitter_deg": st.floats(0, 15),
        },
    )
)
def test_params_survive_json(values: dict[str, Any]) -> None:
    params = parse(Params, values, "params")
    assert Params.model_validate_json(params.model_dump_json()) == params
    assert all(getattr(params, name) == (tuple(value) if name == "maps" else value) for name, value in values.items())


@pytest.mark.parametrize("weight_range", FACTORS)
def test_weight_range_keeps_its_type(weight_range: float) -> None:
    """0 is written as 0, not 0.0: the hash of a dataset covers it."""
    for value in (weight_range, float(weight_range)):
        params = Params(weight_range=value)
        assert params.model_dump_json() == Params(weight_range=weight_range).model_dump_json()
        assert type(params.weight_range) is type(weight_range)
