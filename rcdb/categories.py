"""Categories of RCDB: the parameters that all images of a label share."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import ValidationError

from fdsl.primitives.errors import InputError
from fdsl.primitives.streams import CATEGORY, Stream, below, domain
from fdsl.primitives.validation import describe
from rcdb.params import LABELS, VALUE_CHECKS, Params

DOMAIN = 2
_PARAMETERS = 0
"""Lane of an attempt's stream."""

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
"""One row per category. A parameter outside the label is null: it is drawn per image."""


class Shape(NamedTuple):
    """Parameters that may be in a label.

    None if drawn per image. Units as in Params.
    """

    vertices: int | None
    contours: int | None
    perlin: float | None
    gap: float | None
    radius: int | None
    aspect_x: float | None
    aspect_y: float | None


def label_of(column: str) -> str:
    """Return the label parameter of a table column: `aspect` for `aspect_x`."""
    return column.removesuffix("_x").removesuffix("_y")


@lru_cache(maxsize=8)
def _vertex_distribution(low: int, high: int) -> list[float]:
    """Return P(vertices <= n) for n = low .. high.

    For the floor of an exponential of mean 100, the probability of n falls by exp(-1/100) from one n to the next. Redrawing
    outside the range only scales it. exp is computed as a power series, without libm.
    """
    ratio, term = 1.0, 1.0
    for k in range(1, 12):
        term *= -1.0 / (_MEAN_VERTICES * k)
        ratio += term
    weights = np.cumprod(np.full(high - low + 1, ratio))
    cumulative = np.cumsum(weights)
    distribution: list[float] = (cumulative / cumulative[-1]).tolist()
    return distribution


def _uniform(ends: tuple[float, float], word: int) -> float:
    """Return a number between two ends from one random word, uniform."""
    low, high = ends
    return low + (high - low) * (word + 0.5) * 2.0**-32


def draw(params: Params, words: npt.NDArray[np.uint32]) -> Shape:
    """Return a shape, drawn from one random word per parameter.

    Parameters
    ----------
    words : uint32 (7,), in the order of Shape
    """
    vertices, contours, perlin, gap, radius, aspect_x, aspect_y = words.tolist()
    return Shape(
        vertices=params.vertices[0] + bisect_left(_vertex_distribution(*params.vertices), (vertices + 0.5) * 2.0**-32),
        contours=params.contours[0] + below(contours, params.contours[1] - params.contours[0] + 1),
        perlin=_uniform(params.perlin, perlin),
        gap=_uniform(params.gap, gap),
        radius=params.radius[0] + below(radius, params.radius[1] - params.radius[0] + 1),
        aspect_x=_uniform(params.aspect, aspect_x),
        aspect_y=_uniform(params.aspect, aspect_y),
    )


def sample(params: Params, seed: int, attempts: range) -> pa.Table:
    """Return one category per attempt: a table of SCHEMA."""
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
                name: columns[name] if shapes and label_of(name) in params.label else [None] * len(shapes)
                for name in Shape._fields
            },
        },
        schema=SCHEMA,
    )


def unpack(params: Params, table: pa.Table) -> Sequence[Shape]:
    """Return the shapes of a categories table.

    Raises
    ------
    InputError
        A parameter of the label is null, another one is not null, or a value is out of the limits of Params.
    """
    return [checked_shape(params, row) for row in table.to_pylist()]


def checked_shape(params: Params, row: dict[str, Any]) -> Shape:
    """Return the shape in a row of a categories table.

    Raises InputError, as `unpack` does.
    """
    shape = Shape(*(row[name] for name in Shape._fields))
    for name, value in zip(Shape._fields, shape, strict=True):
        if (value is None) == (label_of(name) in params.label):
            raise InputError(
                f"category {row['category']}: `{name}` (={value}) does not fit the label {list(params.label)};"
                " it must be a value if it is in the label, and null if not"
            )
        if value is not None:
            try:
                VALUE_CHECKS[label_of(name)].validate_python(value)
            except ValidationError as error:
                raise InputError(f"category {row['category']}: {describe(error, name)}") from None
    return shape


assert {label_of(name) for name in Shape._fields} == set(LABELS)
