"""Categories of RCDB are drawn from the published distributions, hold the label's parameters and no others."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from primitives.fields import InputError
from rcdb.categories import SCHEMA, Shape, _vertex_distribution, labels_of, sample, unpack
from rcdb.params import LABELS, Params
from tests import misfit

ALL = Params(label=LABELS)
N = 12_000


@cache
def drawn() -> dict[str, list[Any]]:
    """Return the columns of many categories."""
    columns: dict[str, list[Any]] = sample(ALL, 0, range(N)).to_pydict()
    return columns


def exponential_floors(low: int, high: int, mean: float = 100.0) -> list[float]:
    """Return the shares of low..high among the floors of an exponential distribution."""
    return [math.exp(-n / mean) - math.exp(-(n + 1) / mean) for n in range(low, high + 1)]


def counts_of(column: str, low: int, high: int) -> list[int]:
    """Return how often each of low..high was drawn, having checked that nothing else was."""
    values = np.array(drawn()[column])
    assert low <= values.min()
    assert values.max() <= high
    return np.bincount(values - low, minlength=high - low + 1).tolist()


def test_vertices_are_the_floor_of_an_exponential_within_their_range() -> None:
    counts = counts_of("vertices", 3, 200)
    assert min(counts) > 0
    assert abs(misfit(counts, exponential_floors(3, 200))) < 4


@pytest.mark.parametrize(("low", "high"), [(3, 200), (3, 3), (50, 53), (3, 1000)])
def test_the_shares_of_vertices_are_exact(low: int, high: int) -> None:
    exact = np.cumsum(exponential_floors(low, high)) / math.fsum(exponential_floors(low, high))
    assert np.abs(_vertex_distribution(low, high) - exact).max() < 1e-12
    assert _vertex_distribution(low, high)[-1] == 1.0


def test_vertices_are_as_if_drawn_again_until_they_fit() -> None:
    floors = np.floor(np.random.default_rng(0).exponential(100, 4 * N)).astype(int)
    kept = floors[(floors >= 3) & (floors <= 200)][:N]
    assert len(kept) == N
    ours, theirs = np.array(counts_of("vertices", 3, 200)), np.bincount(kept - 3, minlength=198)
    statistic = ((ours - theirs) ** 2 / (ours + theirs)).sum()  # of two samples of one size
    assert abs(statistic - 197) / math.sqrt(2 * 197) < 4


@pytest.mark.parametrize("edges", [(3, 4, 5), (50, 51, 52, 53, 54), (3, 30, 60, 100, 200, 400, 1001)])
def test_another_range_of_vertices_has_the_same_shares(edges: tuple[int, ...]) -> None:
    low, high = edges[0], edges[-1] - 1
    values = sample(Params(vertices=(low, high)), 0, range(6000)).column("vertices").to_numpy()
    shares = [sum(exponential_floors(start, stop - 1)) for start, stop in pairwise(edges)]
    assert low <= values.min()
    assert values.max() <= high
    assert abs(misfit(np.histogram(values, bins=edges)[0], shares)) < 4


@pytest.mark.parametrize(("column", "low", "high"), [("contours", 1, 200), ("radius", 0, 100)])
def test_whole_numbers_are_uniform_with_both_ends(column: str, low: int, high: int) -> None:
    counts = counts_of(column, low, high)
    assert min(counts) > 0
    assert abs(misfit(counts, [1.0] * len(counts))) < 4


@pytest.mark.parametrize(
    ("column", "low", "high"), [("perlin", 0, 4), ("gap", 0, 0.1), ("aspect_x", 1, 2), ("aspect_y", 1, 2)]
)
def test_real_numbers_are_uniform(column: str, low: float, high: float) -> None:
    values = np.array(drawn()[column])
    assert low < values.min()
    assert values.max() < high
    assert abs(misfit(np.histogram(values, bins=50, range=(low, high))[0], [1.0] * 50)) < 4


def test_parameters_are_independent_of_each_other() -> None:
    columns = np.array([drawn()[name] for name in Shape._fields], dtype=float)
    assert np.abs(np.corrcoef(columns) - np.eye(len(columns))).max() < 0.04


def test_equal_ends_hold_a_parameter_fixed() -> None:
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
def test_a_column_is_null_unless_the_label_has_it(k: int) -> None:
    params = Params(label=LABELS[:k])
    table = sample(params, 0, range(20))
    assert table.schema == SCHEMA
    for name in Shape._fields:
        assert table.column(name).null_count == (0 if labels_of(name) in LABELS[:k] else 20)
    assert [list(shape) for shape in unpack(params, table)] == [
        list(row.values()) for row in table.select(list(Shape._fields)).to_pylist()
    ]


def test_what_a_label_holds_does_not_depend_on_what_else_it_holds() -> None:
    short, long = (sample(Params(label=label), 0, range(50)) for label in (("vertices",), LABELS))
    assert short.column("vertices").equals(long.column("vertices"))


def test_attempts_stand_alone_and_every_one_is_a_category() -> None:
    whole = sample(Params(), 0, range(100))
    parts = pa.concat_tables([sample(Params(), 0, range(k, k + 25)) for k in range(0, 100, 25)])
    assert whole.column("category").to_pylist() == whole.column("attempt").to_pylist() == list(range(100))
    assert whole.drop_columns("category").equals(parts.drop_columns("category"))
    assert sample(Params(), 0, range(0)).equals(SCHEMA.empty_table())


def test_another_seed_draws_other_categories() -> None:
    assert len({str(sample(Params(), seed, range(5)).to_pylist()) for seed in (0, 1, 2**64 - 1)}) == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gap": None}, "`gap` (=None) does not fit the label ['vertices', 'contours', 'perlin', 'gap']"),
        ({"vertices": None}, "`vertices` (=None) does not fit the label"),
        ({"radius": 5}, "`radius` (=5) does not fit the label"),
        ({"aspect_y": 1.5}, "`aspect_y` (=1.5) does not fit the label"),
        ({"vertices": 2}, "`vertices` (=2) must be in 3..1000"),
        ({"vertices": 1_001}, "`vertices` (=1001) must be in 3..1000"),
        ({"contours": 0}, "`contours` (=0) must be in 1..1000"),
        ({"perlin": -0.5}, "`perlin` (=-0.5) must be in 0..100"),
        ({"perlin": math.nan}, "`perlin` (=nan) must be in 0..100"),
        ({"gap": math.inf}, "`gap` (=inf) must be in 0..100"),
    ],
)
def test_a_bad_row_is_refused_in_one_line_that_names_the_category(changes: dict[str, Any], told: str) -> None:
    rows = sample(Params(), 0, range(3)).to_pylist()
    unpack(Params(), pa.Table.from_pylist(rows, schema=SCHEMA))
    rows[1].update(changes)
    with pytest.raises(InputError) as refusal:
        unpack(Params(), pa.Table.from_pylist(rows, schema=SCHEMA))
    assert str(refusal.value).startswith(f"category 1: {told}")
    assert len(str(refusal.value).splitlines()) == 1
