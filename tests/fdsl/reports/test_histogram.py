"""A histogram of a stream counts like NumPy, however the stream is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdsl.reports.histogram import Histogram, format_number

NUMBERS = st.lists(st.floats(-1e9, 1e9, allow_subnormal=False), min_size=1, max_size=30)


def filled(*portions: object, is_whole: bool = False) -> Histogram:
    histogram = Histogram(is_whole)
    for portion in portions:
        histogram.add(portion)  # type: ignore[arg-type]
    return histogram


@given(portions=st.lists(NUMBERS, min_size=1, max_size=4), is_whole=st.booleans())
def test_counts_are_those_of_numpy(portions: list[list[float]], is_whole: bool) -> None:
    if is_whole:
        portions = [[float(int(number)) for number in portion] for portion in portions]
    histogram, numbers = filled(*portions, is_whole=is_whole), np.concatenate(portions)
    assert (histogram.n, histogram.low, histogram.high) == (len(numbers), numbers.min(), numbers.max())
    assert histogram.mean == pytest.approx(numbers.mean(), rel=1e-9, abs=1e-6)
    assert len(histogram.counts) <= 64
    numbers = numbers + 0.5 * is_whole  # bins are closed below and open above; the last one of NumPy is closed
    edges = histogram.edges + 0.5 * is_whole
    assert histogram.counts.sum() == len(numbers)
    expected = np.bincount(np.searchsorted(edges, numbers, side="right") - 1, minlength=len(edges) - 1)
    assert np.array_equal(histogram.counts, expected)


def test_portions_do_not_matter() -> None:
    numbers = np.random.default_rng(0).normal(3, 100, 5000)
    whole, cut = filled(numbers), filled(*np.array_split(numbers[np.argsort(np.abs(numbers))], 30))
    assert whole.width == cut.width == 16.0
    assert np.array_equal(whole.edges, cut.edges)
    assert np.array_equal(whole.counts, cut.counts)


def test_whole_numbers_have_bins_of_their_own() -> None:
    histogram = filled([3, 5], [3], is_whole=True)
    assert histogram.edges.tolist() == [2.5, 3.5, 4.5, 5.5]
    assert histogram.counts.tolist() == [2, 0, 1]


def test_unusable_numbers_are_left_out() -> None:
    histogram = filled([np.nan, np.inf, -1e308, 5e-324, 1e140, -1e140])
    assert histogram.n == histogram.counts.sum() == 3
    assert np.isfinite(histogram.edges).all()


def test_nothing_has_no_bins() -> None:
    histogram = filled([], [np.nan])
    assert (histogram.n, len(histogram.counts), len(histogram.edges)) == (0, 0, 1)
    assert np.isnan(histogram.mean)


@pytest.mark.parametrize("is_whole", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0, 100), (3, 200), (-400, 437), (0, 1001)])
def test_bars_of_even_numbers_are_level(low: int, high: int, is_whole: bool) -> None:
    """Bins are wider than the range in places; that must not look like a dip."""
    numbers = np.arange(low, high + 1) if is_whole else np.linspace(low, high, 50_001)
    heights, edges = filled(numbers, is_whole=is_whole).bars()
    assert (edges[0], edges[-1]) == (low - 0.5 * is_whole, high + 0.5 * is_whole)
    assert heights.min() > 0.9 * heights.max()
    width = (heights * np.diff(edges)).sum() / len(numbers)
    assert np.log2(width) == pytest.approx(np.round(np.log2(width)), abs=1e-9)


def test_few_numbers_have_bars() -> None:
    for numbers in ([5.0], [5.0, 5.0], [0.0, 1.0], [1.0, 1.0 + 1e-12]):
        heights, edges = filled(numbers).bars()
        assert len(edges) == len(heights) + 1
        assert np.isfinite(heights).all()
        assert (np.diff(edges) > 0).all()


def test_numbers_are_short() -> None:
    numbers = (0, 0.12345, 7, 999, 12_345, 12_345.6, -2_000_000.0)
    assert [*map(format_number, numbers)] == ["0", "0.1235", "7", "999", "12,345", "12,346", "-2,000,000"]
