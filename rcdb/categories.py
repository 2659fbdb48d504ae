"""RCDB's categories: the parameters that all images of a label share."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from primitives.fields import InputError
from primitives.streams import CATEGORY, Stream, below, domain
from rcdb.params import LABELS, Params, limits

DOMAIN = 2
_PARAMETERS = 0
"""The lane of an attempt's stream."""

_MEAN_VERTICES = 100

SCHEMA = pa.schema(
    [
        pa.field("category", pa.int32(), nullable=False),
        pa.field("attempt", pa.int64()),
        ("vertices", pa.int16()),
        ("contours", pa.int16()),
        ("perlin", pa.float64()),
        ("gap", pa.float64()),
        ("radius", pa.int16()),
        ("aspect_x", pa.float64()),
        ("aspect_y", pa.float64()),
    ]
)
"""One row per category; a parameter that is not in the label is null, for it is drawn per image."""


class Shape(NamedTuple):
    """The parameters that may be in a label; None if drawn per image. Units as in Params."""

    vertices: int | None
    contours: int | None
    perlin: float | None
    gap: float | None
    radius: int | None
    aspect_x: float | None
    aspect_y: float | None


def labels_of(column: str) -> str:
    """Return the label parameter that a column of a table belongs to: `aspect` for `aspect_x`."""
    return column.removesuffix("_x").removesuffix("_y")


@lru_cache(maxsize=8)
def _vertex_distribution(low: int, high: int) -> list[float]:
    """Return P(vertices <= low), P(vertices <= low + 1), ...: high - low + 1 of them, the last one 1.

    The floor of an exponential of mean 100 is n with a probability that falls by exp(-1/100) from one n to the next;
    drawing again outside the range only scales it. The exponential is its power series: no libm.
    """
    ratio, term = 1.0, 1.0
    for k in range(1, 12):
        term *= -1.0 / (_MEAN_VERTICES * k)
        ratio += term
    weights = np.cumprod(np.full(high - low + 1, ratio))
    cumulative = np.cumsum(weights)
    distribution: list[float] = (cumulative / cumulative[-1]).tolist()
    return distribution


def _within(ends: tuple[float, float], word: int) -> float:
    """Return a number uniform between two ends from one random word."""
    low, high = ends
    return low + (high - low) * (word + 0.5) * 2.0**-32


def draw(params: Params, words: npt.NDArray[np.uint32]) -> Shape:
    """Return the shape that uint32 (7,) random words give: one word for each of its parameters, in their order."""
    vertices, contours, perlin, gap, radius, aspect_x, aspect_y = words.tolist()
    return Shape(
        vertices=params.vertices[0] + bisect_left(_vertex_distribution(*params.vertices), (vertices + 0.5) * 2.0**-32),
        contours=params.contours[0] + below(contours, params.contours[1] - params.contours[0] + 1),
        perlin=_within(params.perlin, perlin),
        gap=_within(params.gap, gap),
        radius=params.radius[0] + below(radius, params.radius[1] - params.radius[0] + 1),
        aspect_x=_within(params.aspect, aspect_x),
        aspect_y=_within(params.aspect, aspect_y),
    )


def sample(params: Params, seed: int, attempts: range) -> pa.Table:
    """Return the categories among some attempts, which all of them are: a table of SCHEMA, `category` counted from 0."""
    shapes = [
        draw(params, Stream(seed, domain(DOMAIN, CATEGORY), 0, attempt).words(_PARAMETERS, len(Shape._fields)))
        for attempt in attempts
    ]
    columns = dict(zip(Shape._fields, zip(*shapes, strict=True), strict=True)) if shapes else {}
    return pa.table(
        {
            "category": range(len(shapes)),
            "attempt": list(attempts),
            **{
                name: columns[name] if shapes and labels_of(name) in params.label else [None] * len(shapes)
                for name in Shape._fields
            },
        },
        schema=SCHEMA,
    )


def unpack(params: Params, table: pa.Table) -> Sequence[Shape]:
    """Return a categories table's shapes, ready to render.

    Raises
    ------
    InputError
        A parameter of the label is missing from a row, one that is not in the label stands there, or one is out of the
        limits that Params sets to its range.
    """
    shapes = []
    for row in table.to_pylist():
        shape = Shape(*(row[name] for name in Shape._fields))
        for name, value in zip(Shape._fields, shape, strict=True):
            if (value is None) == (labels_of(name) in params.label):
                raise InputError(
                    f"category {row['category']}: `{name}` (={value}) does not fit the label {list(params.label)};"
                    " it must be there if it is in the label, and null if not"
                )
            if value is not None:
                try:
                    limits(labels_of(name)).check(name, value)
                except InputError as error:
                    raise InputError(f"category {row['category']}: {error}") from None
        shapes.append(shape)
    return shapes


assert {labels_of(name) for name in Shape._fields} == set(LABELS)
