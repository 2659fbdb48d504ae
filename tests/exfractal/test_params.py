"""The parameters' defaults are the published ones, and the weight table is the published one."""

from __future__ import annotations

import dataclasses

import pytest

from exfractal.params import N_COEFFICIENTS, N_VIEWS, Params
from primitives.fields import InputError


def test_the_defaults_are_published() -> None:
    assert dataclasses.asdict(Params()) == {
        "maps": (2, 7),
        "points": 10_000,
        "variance_threshold": 0.05,
        "weight_range": 0.6,
        "viewpoint": "random",
        "jitter_deg": 3.141592653589793,
    }
    assert (N_COEFFICIENTS, N_VIEWS) == (12, 12)
    assert Params().max_categories is None


@pytest.mark.parametrize(
    ("weight_range", "n_weights"), [(0.6, 145), (0.5, 121), (0.4, 97), (0.3, 73), (0.2, 49), (0.1, 25), (0, 1)]
)
def test_the_weight_table_has_the_published_rows(weight_range: float, n_weights: int) -> None:
    params = Params(weight_range=weight_range)
    tenths = [tenth for tenth in range(4, 17) if 0 < abs(tenth - 10) <= round(10 * weight_range)]
    assert params.n_weights == n_weights
    assert params.factors == tuple(float(f"{tenth // 10}.{tenth % 10}") for tenth in tenths)


def test_the_largest_table_scales_by_0_4_to_1_6_without_1() -> None:
    assert Params().factors == (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("maps", (1, 7), "`params.maps` (=1) must be in 2..16"),
        ("maps", (2, 17), "`params.maps` (=17) must be in 2..16"),
        ("maps", (7, 2), "`params.maps` (=[7, 2]) must have its lowest end first"),
        ("points", 99, "`params.points` (=99) must be in 100..10000000"),
        ("points", 1e4, "`params.points` (=10000.0) must be a whole number in 100..10000000"),
        ("variance_threshold", 1.1, "`params.variance_threshold` (=1.1) must be in 0..1"),
        ("variance_threshold", float("nan"), "`params.variance_threshold` (=nan) must be in 0..1"),
        ("weight_range", 0.7, "`params.weight_range` (=0.7) must be one of 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6"),
        ("viewpoint", "front", "`params.viewpoint` (='front') must be one of random, ring"),
        ("jitter_deg", 15.1, "`params.jitter_deg` (=15.1) must be in 0..15"),
        ("jitter_deg", -1, "`params.jitter_deg` (=-1) must be in 0..15"),
    ],
)
def test_what_is_out_of_range_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        Params(**{field: value})
    assert str(refusal.value) == message
