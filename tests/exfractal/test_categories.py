"""Categories are drawn and accepted as published."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from exfractal import categories
from exfractal.categories import _POINTS, DOMAIN, SCHEMA, accepted, accepts, draw, sample, thresholds, unpack
from exfractal.params import Params
from fdsl.primitives.errors import InputError
from fdsl.primitives.streams import CATEGORY, Stream, domain
from tests import misfit
from tests.fidelity import fractals

PARAMS = Params()
SEED = 0
N_ATTEMPTS = 600


def published_variance(attempt: int, maps: npt.NDArray[np.float64]) -> float:
    """Return the least variance of a candidate's attractor; NaN if it diverges."""
    words = Stream(SEED, domain(DOMAIN, CATEGORY), 0, attempt).words(_POINTS, PARAMS.points)
    return fractals.least_variance(fractals.play(maps, fractals.probabilities(maps), words / 2.0**32))


@pytest.mark.slow
def test_candidates_are_accepted_as_published() -> None:
    batch = draw(PARAMS, SEED, range(N_ATTEMPTS))
    candidates = [batch.candidate(k) for k in range(N_ATTEMPTS)]
    verdicts = np.array([accepts(PARAMS, SEED, k, candidate) for k, candidate in enumerate(candidates)])
    least = np.array([published_variance(attempt, candidate.maps) for attempt, candidate in enumerate(candidates)])
    certain = ~(np.abs(least - PARAMS.variance_threshold) < 1e-9)
    assert np.array_equal(verdicts[certain], (least > PARAMS.variance_threshold)[certain])
    n_diverging, n_flat, n_accepted = np.isnan(least).sum(), (least < PARAMS.variance_threshold).sum(), verdicts.sum()
    assert min(n_diverging, n_flat, n_accepted) >= 5, "this test needs candidates of each kind"


@pytest.mark.parametrize(
    "params", [PARAMS, Params(points=100), Params(variance_threshold=0.1), Params(maps=(2, 16), variance_threshold=0.0)]
)
def test_survey_never_changes_a_verdict(params: Params) -> None:
    attempts = range(1000, 2201)
    batch = draw(params, SEED, attempts)
    verdicts = accepted(params, SEED, attempts, batch)
    expected = [accepts(params, SEED, attempt, batch.candidate(k)) for k, attempt in enumerate(attempts)]
    assert verdicts.tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_doubtful_candidates_are_checked_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = range(300)
    batch = draw(PARAMS, SEED, attempts)
    verdicts = accepted(PARAMS, SEED, attempts, batch)
    checked: list[int] = []
    monkeypatch.setattr(categories, "_ROUNDING", math.inf)
    monkeypatch.setattr(categories, "accepts", lambda params, seed, attempt, candidate: bool(checked.append(attempt)))
    assert not accepted(PARAMS, SEED, attempts, batch).any()
    assert set(np.flatnonzero(verdicts)) < set(checked) < set(attempts)


def test_threshold_and_points_matter() -> None:
    attempts = range(300)

    def accepted_attempts(params: Params) -> set[int]:
        return set(sample(params, SEED, attempts).column("attempt").to_pylist())

    usual = accepted_attempts(PARAMS)
    assert accepted_attempts(Params(variance_threshold=0.15)) < usual
    assert usual < accepted_attempts(Params(variance_threshold=0.0))
    assert accepted_attempts(Params(points=100)) != usual


def test_maps_and_coefficients_are_uniform() -> None:
    batch = draw(PARAMS, SEED, range(3000))
    candidates = [batch.candidate(k) for k in range(3000)]
    counts = np.bincount([len(candidate.maps) for candidate in candidates], minlength=8)
    assert counts[:2].sum() == 0
    assert len(counts) == 8
    assert abs(misfit(counts[2:], [1.0] * 6)) < 4
    for column in np.concatenate([candidate.maps for candidate in candidates]).T:
        assert abs(misfit(np.histogram(column, bins=40, range=(-1, 1))[0], [1.0] * 40)) < 4
    first_two = np.array([[len(candidate.maps), *candidate.maps[:2].ravel()] for candidate in candidates])
    assert first_two.shape == (3000, 1 + 2 * 12)
    assert np.abs(np.corrcoef(first_two.T) - np.eye(25)).max() < 0.08  # independent of each other


@pytest.mark.parametrize("attempt", range(20))
def test_probability_is_the_share_of_determinants(attempt: int) -> None:
    maps, probability = draw(PARAMS, SEED, range(attempt, attempt + 1)).candidate(0)
    shares = np.abs(np.linalg.det(maps[:, :9].reshape(-1, 3, 3)))
    assert np.abs(probability - shares / shares.sum()).max() < 1e-14


def test_number_of_maps_is_in_range() -> None:
    assert set(draw(Params(maps=(3, 3)), SEED, range(50)).n_maps) == {3}
    assert set(draw(Params(maps=(15, 16)), SEED, range(50)).n_maps) == {15, 16}


def test_no_category_is_an_empty_table() -> None:
    assert sample(Params(variance_threshold=1.0), SEED, range(3)).equals(SCHEMA.empty_table())


def test_unpack_gives_the_same_numbers() -> None:
    table = sample(PARAMS, SEED, range(300))
    systems = unpack(PARAMS, table)
    assert len(systems) == table.num_rows > 2
    for row, system in zip(table.to_pylist(), systems, strict=True):
        assert system.maps.tolist() == row["maps"]
        assert system.thresholds.dtype == np.uint32
        cumulative = np.cumsum(row["probability"])[:-1] * 2.0**32
        assert np.abs(system.thresholds - cumulative).max() <= 1.0


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        ([0.25, 0.5, 0.25], [2**30, 3 * 2**30]),
        ([0.0, 1.0], [0]),
        ([1.0, 0.0], [2**32 - 1]),
        ([0.5, 0.5005, 0.0], [2**31, 2**32 - 1]),
    ],
)
def test_thresholds_fit_in_32_bits(probability: list[float], expected: list[int]) -> None:
    assert thresholds(probability).tolist() == expected


GOOD = [0.1] * 12


@pytest.mark.parametrize(
    ("maps", "probability", "rule"),
    [
        (None, [0.5, 0.5], "`maps` has 0 maps; it must have 2..256"),
        ([GOOD, GOOD], None, "`probability` (=None) must have one finite number for each of 2 maps"),
        ([], [], "`maps` has 0 maps; it must have 2..256"),
        ([GOOD], [1.0], "`maps` has 1 maps; it must have 2..256"),
        ([GOOD, GOOD], [1.0], "`probability` (=[1.0]) must have one finite number for each of 2 maps"),
        ([GOOD, GOOD[:11]], [0.5, 0.5], "12 finite numbers for each map"),
        ([GOOD, GOOD + [0.1]], [0.5, 0.5], "12 finite numbers for each map"),
        ([GOOD, None], [0.5, 0.5], "12 finite numbers for each map"),
        ([GOOD, [float("nan")] * 12], [0.5, 0.5], "12 finite numbers for each map"),
        ([GOOD, [float("inf")] * 12], [0.5, 0.5], "12 finite numbers for each map"),
        ([GOOD, [None] * 12], [0.5, 0.5], "12 finite numbers for each map"),
        ([GOOD, GOOD], [0.5, 0.6], "must sum to 1 within 0.001"),
        ([GOOD, GOOD], [1.5, -0.5], "must sum to 1 within 0.001"),
        (
            [GOOD, GOOD],
            [0.5, float("nan")],
            "`probability` (=[0.5, nan]) must have one finite number for each of 2 maps",
        ),
        ([GOOD, GOOD], [1.0, None], "`probability` (=[1.0, None]) must have one finite number for each of 2 maps"),
        pytest.param([GOOD] * 257, [1 / 257] * 257, "`maps` has 257 maps; it must have 2..256", id="257 maps"),
        pytest.param([GOOD] * 300, [1 / 300] * 300, "`maps` has 300 maps; it must have 2..256", id="300 maps"),
    ],
)
def test_bad_row_is_refused(maps: Any, probability: Any, rule: str) -> None:
    rows = [{"category": 0, "maps": [GOOD, GOOD], "probability": [0.5, 0.5]}]
    rows += [{"category": 1, "maps": maps, "probability": probability}]
    with pytest.raises(InputError) as refused:
        unpack(PARAMS, pa.Table.from_pylist(rows, schema=SCHEMA))
    assert str(refused.value).startswith("category 1: ")
    assert rule in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_256_maps_are_accepted() -> None:
    rows = [{"category": 0, "maps": [GOOD] * 256, "probability": [1 / 256] * 256}]
    (system,) = unpack(PARAMS, pa.Table.from_pylist(rows, schema=SCHEMA))
    assert system.maps.shape == (256, 12)
    assert system.thresholds.tolist() == [k * 2**24 for k in range(1, 256)]
