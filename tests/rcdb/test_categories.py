"""Categories of RCDB: published distributions, and only the parameters of the label."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fdsl.primitives.errors import InputError
from rcdb.categories import SCHEMA, Shape, _vertex_distribution, label_of, sample, unpack
from rcdb.params import LABELS, Params
from tests import misfit

ALL = Params(label=LABELS)
N = 12_000


@cache
def columns_of_many() -> dict[str, list[Any]]:
    """Return the columns of many categories."""
    columns: dict[str, list[Any]] = sample(ALL, 0, range(N)).to_pydict()
    return columns


def exponential_floors(low: int, high: int, mean: float = 100.0) -> list[float]:
    """Return the shares of low..high among the floors of an exponential distribution."""
    return [math.exp(-n / mean) - math.exp(-(n + 1) / mean) for n in range(low, high + 1)]


def counts_of(column: str, low: int, high: int) -> list[int]:
    """Return the frequencies of low..high. Fails if another value was drawn."""
    values = np.array(columns_of_many()[column])
    assert low <= values.min()
    assert values.max() <= high
    return np.bincount(values - low, minlength=high - low + 1).tolist()


def test_vertices_are_floors_of_an_exponential() -> None:
    counts = counts_of("vertices", 3, 200)
    assert min(counts) > 0
    assert abs(misfit(counts, exponential_floors(3, 200))) < 4


@pytest.mark.parametrize(("low", "high"), [(3, 200), (3, 3), (50, 53), (3, 1000)])
def test_vertex_distribution_is_exact(low: int, high: int) -> None:
    exact = np.cumsum(exponential_floors(low, high)) / math.fsum(exponential_floors(low, high))
    assert np.abs(_vertex_distribution(low, high) - exact).max() < 1e-12
    assert _vertex_distribution(low, high)[-1] == 1.0


def test_vertices_match_redrawing_until_in_range() -> None:
    floors = np.floor(np.random.default_rng(0).exponential(100, 4 * N)).astype(int)
    kept = floors[(floors >= 3) & (floors <= 200)][:N]
    assert len(kept) == N
    ours, expected = np.array(counts_of("vertices", 3, 200)), np.bincount(kept - 3, minlength=198)
    statistic = ((ours - expected) ** 2 / (ours + expected)).sum()  # of two samples of equal size
    assert abs(statistic - 197) / math.sqrt(2 * 197) < 4


@pytest.mark.parametrize("edges", [(3, 4, 5), (50, 51, 52, 53, 54), (3, 30, 60, 100, 200, 400, 1001)])
def test_other_vertex_ranges_match(edges: tuple[int, ...]) -> None:
    low, high = edges[0], edges[-1] - 1
    values = sample(Params(vertices=(low, high)), 0, range(6000)).column("vertices").to_numpy()
    shares = [sum(exponential_floors(start, stop - 1)) for start, stop in pairwise(edges)]
    assert low <= values.min()
    assert values.max() <= high
    assert abs(misfit(np.histogram(values, bins=edges)[0], shares)) < 4


@pytest.mark.parametrize(("column", "low", "high"), [("contours", 1, 200), ("radius", 0, 100)])
def test_whole_numbers_are_uniform(column: str, low: int, high: int) -> None:
    counts = counts_of(column, low, high)
    assert min(counts) > 0
    assert abs(misfit(counts, [1.0] * len(counts))) < 4


@pytest.mark.parametrize(
    ("column", "low", "high"), [("perlin", 0, 4), ("gap", 0, 0.1), ("aspect_x", 1, 2), ("aspect_y", 1, 2)]
)
def test_real_numbers_are_uniform(column: str, low: float, high: float) -> None:
    values = np.array(columns_of_many()[column])
    assert low < values.min()
    assert values.max() < high
    assert abs(misfit(np.histogram(values, bins=50, range=(low, high))[0], [1.0] * 50)) < 4


def test_parameters_are_independent() -> None:
    columns = np.array([columns_of_many()[name] for name in Shape._fields], dtype=float)
    assert np.abs(np.corrcoef(columns) - np.eye(len(columns))).max() < 0.04


def test_equal_ends_fix_a_parameter() -> None:
    fixed = Params(
        label=LABELS,
        vertices=(7, 7),
        contours=(9, 9),
        perlin=(2.5, 2.5),
        gap=(0.1, 0.1),
        radius=(0, 0),
        aspect=(1.5, 1.5),
    )
    rows = sample(fixed, 0, range(50)).select(list(Shape._fields)).to_pylist()
    assert {tuple(row.values()) for row in rows} == {(7, 9, 2.5, 0.1, 0, 1.5, 1.5)}


@pytest.mark.parametrize("k", range(1, len(LABELS) + 1))
def test_column_outside_the_label_is_null(k: int) -> None:
    params = Params(label=LABELS[:k])
    table = sample(params, 0, range(20))
    assert table.schema == SCHEMA
    for name in Shape._fields:
        assert table.column(name).null_count == (0 if label_of(name) in LABELS[:k] else 20)
    assert [list(shape) for shape in unpack(params, table)] == [
        list(row.values()) for row in table.select(list(Shape._fields)).to_pylist()
    ]


def test_labels_share_their_parameters() -> None:
    short, long = (sample(Params(label=label), 0, range(50)) for label in (("vertices",), LABELS))
    assert short.column("vertices").equals(long.column("vertices"))


def test_every_attempt_is_a_category() -> None:
    table = sample(Params(), 0, range(5, 100))
    assert table.column("attempt").to_pylist() == list(range(5, 100))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"gap": None}, "`gap` (=None) does not fit the label ['vertices', 'contours', 'perlin', 'gap']"),
        ({"vertices": None}, "`vertices` (=None) does not fit the label"),
        ({"radius": 5}, "`radius` (=5) does not fit the label"),
        ({"aspect_y": 1.5}, "`aspect_y` (=1.5) does not fit the label"),
        ({"vertices": 2}, "`vertices` (=2) must be at least 3"),
        ({"vertices": 1_001}, "`vertices` (=1001) must be at most 1,000"),
        ({"contours": 0}, "`contours` (=0) must be at least 1"),
        ({"perlin": -0.5}, "`perlin` (=-0.5) must be at least 0"),
        ({"perlin": math.nan}, "`perlin` (=nan) must be a finite number"),
        ({"gap": math.inf}, "`gap` (=inf) must be a finite number"),
    ],
)
def test_bad_row_is_refused(changes: dict[str, Any], rule: str) -> None:
    rows = sample(Params(), 0, range(3)).to_pylist()
    unpack(Params(), pa.Table.from_pylist(rows, schema=SCHEMA))
    rows[1].update(changes)
    with pytest.raises(InputError) as refused:
        unpack(Params(), pa.Table.from_pylist(rows, schema=SCHEMA))
    assert str(refused.value).startswith(f"category 1: {rule}")
    assert len(str(refused.value).splitlines()) == 1
