"""One parameter swept over a range, everything else equal."""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fdsl.dataset.dataset import Dataset
from fdsl.dataset.plan import image_key
from fdsl.primitives.errors import InputError
from fdsl.primitives.validation import shown, suggestion
from fdsl.reports.histogram import format_number
from fdsl.reports.preview import Sheet, counted, sheet, tile
from shards.events import Listener, ignore

_NUMBER = r"-?\d{1,12}(?:\.\d{1,12})?"
_SWEEP = re.compile(rf"([a-z_]+)=({_NUMBER}):({_NUMBER}):(\d{{1,3}})", re.ASCII)
_MOST, _MOST_TILES = 100, 2_000
"""Values of a sweep, and images of its sheet."""


class Sweep(NamedTuple):
    """Values that a parameter takes in turn.

    Attributes
    ----------
    name : the parameter
    low, high : the first and the last value
    n : number of values, evenly spaced
    """

    name: str
    low: float
    high: float
    n: int


def parse_sweep(text: str) -> Sweep:
    """Return the sweep that a text such as perlin=0:4:8 names.

    Raises
    ------
    InputError
        The text is not one.
    """
    match = _SWEEP.fullmatch(text)
    if match is None or not 2 <= int(match[4]) <= _MOST or not float(match[2]) < float(match[3]):
        raise InputError(
            f"`sweep` (={shown(text)}) must be NAME=LOW:HIGH:N with LOW < HIGH and 2 <= N <= {_MOST}, such as perlin=0:4:8"
        )
    return Sweep(match[1], float(match[2]), float(match[3]), int(match[4]))


def sweep_sheet(
    dataset: Dataset, categories: list[int], instances: list[int], sweep: Sweep, listener: Listener = ignore
) -> Sheet:
    """Return a sheet: a row per image, a column per value.

    Whole-number parameters take the nearest whole numbers, each once.

    Parameters
    ----------
    listener : called with each event

    Returns
    -------
    uint8 (height, width), grey

    Raises
    ------
    InputError
        The parameter is unknown, a value is out of range, there are more than 2,000 images, or no image changes.
    """
    names = [(category, instance) for category in categories for instance in instances]
    values, n = _values(dataset, sweep), len(names)
    if n * len(values) > _MOST_TILES:
        raise InputError(
            f"`sweep` (={len(values)} values of {n:,} images) must have at most {_MOST_TILES:,} tiles: select fewer"
        )
    for value in (values[0], values[-1]):  # a value out of range is refused before an image is rendered
        _swept(dataset, sweep.name, value)
    images = (image for value in values for image, _ in _swept(dataset, sweep.name, value).images(names))
    tiles, digests = [], []
    for image in counted(images, n * len(values), dataset.spec.name, listener):
        tiles.append(tile(image))
        digests.append(hashlib.blake2b(image.tobytes(), digest_size=16).digest())
    if digests == digests[:n] * len(values):
        raise InputError(
            f"`sweep` (={sweep.name}) changes none of these images: another setting switches it off, or it only decides"
            " which categories are found"
        )
    title = f"{dataset.spec.name}: {sweep.name} from {format_number(values[0])} to {format_number(values[-1])}"
    labels = [image_key(*name) for name in names]
    return sheet(title, labels, [format_number(value) for value in values], [tiles[row::n] for row in range(n)])


def _current(dataset: Dataset, name: str) -> Any:
    """Return a parameter's value.

    That of a category, else that of the spec, which is often a pair.
    """
    table, params = dataset.table, dataset.spec.to_mapping()["params"]
    if name in table.column_names[2:] and table.column(name).null_count == 0:
        value = table.column(name)[0].as_py()
        if isinstance(value, int | float):
            return value
    if name not in params:
        columns = [column for column in table.column_names[2:] if table.column(column).null_count == 0]
        known = list(dict.fromkeys([*columns, *params]))
        raise InputError(f"`sweep` (={name}) is not a parameter; {suggestion(name, known, 'known: {}')}")
    return params[name]


def _values(dataset: Dataset, sweep: Sweep) -> list[float]:
    """Return the values of a sweep, as the parameter's type has them."""
    current = _current(dataset, sweep.name)
    example = current[0] if isinstance(current, list) else current
    if isinstance(example, bool) or not isinstance(example, int | float):
        raise InputError(f"`sweep` (={sweep.name}) must be a parameter that is a number or a range of numbers")
    numbers: npt.NDArray[np.float64] = np.linspace(sweep.low, sweep.high, sweep.n)
    if isinstance(example, int):
        return sorted({round(number) for number in numbers.tolist()})
    return [float(f"{number:.12g}") for number in numbers.tolist()]


def _swept(dataset: Dataset, name: str, value: float) -> Dataset:
    """Return a dataset in which a parameter has one value.

    All categories and images have it.
    """
    spec, table, params = dataset.spec, dataset.table, dataset.spec.to_mapping()["params"]
    source = f"sweep {name}={value:.12g}"
    current = _current(dataset, name)
    if name in table.column_names[2:] and not isinstance(current, list):
        k = table.column_names.index(name)
        table = table.set_column(k, name, pa.array([value] * len(table)))
        try:
            spec.family_module.unpack(
                spec.params, table.slice(0, 1)
            )  # knows the range, which the column's type does not
        except InputError as error:
            raise InputError(f"`{source}`: {error}") from None
        return Dataset(spec, table, source)
    changed = [value, value] if isinstance(current, list) else value
    return Dataset(spec.replace(params={**params, name: changed}), table, source)
