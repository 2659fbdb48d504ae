"""One parameter swept over a range, everything else equal."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fdsl.dataset.dataset import Dataset
from fdsl.primitives.errors import InputError
from fdsl.primitives.validation import shown, suggestion
from fdsl.reports.preview import Sheet, sheet

_NUMBER = r"-?\d{1,12}(?:\.\d{1,12})?"
_SWEEP = re.compile(rf"([a-z_]+)=({_NUMBER}):({_NUMBER}):(\d{{1,3}})", re.ASCII)
_MOST = 100


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


def sweep_sheet(dataset: Dataset, categories: list[int], instances: list[int], sweep: Sweep) -> Sheet:
    """Return a sheet: a row per image, a column per value.

    Whole-number parameters take the nearest whole numbers, each once.

    Returns
    -------
    uint8 (height, width), grey

    Raises
    ------
    InputError
        The parameter is unknown, a value is out of range, or no image changes.
    """
    names = [(category, instance) for category in categories for instance in instances]
    values = _values(dataset, sweep)
    columns = [[image for image, _ in _swept(dataset, sweep.name, value).images(names)] for value in values]
    if all(np.array_equal(image, first) for column in columns for image, first in zip(column, columns[0], strict=True)):
        raise InputError(
            f"`sweep` (={sweep.name}) changes none of these images: another setting switches it off, or it only decides"
            " which categories are found"
        )
    rows = [[column[row] for column in columns] for row in range(len(names))]
    spec = dataset.spec
    title = f"{spec.name}: {sweep.name} from {_shown(values[0])} to {_shown(values[-1])}"
    labels = [(f"{category}", f"{instance}") for category, instance in names]
    return sheet(title, labels, [_shown(value) for value in values], rows)


def _shown(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


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
    table, params = dataset.table, dataset.spec.to_mapping()["params"]
    source = f"sweep {name}={value:g}"
    current = _current(dataset, name)
    if name in table.column_names[2:] and not isinstance(current, list):
        k = table.column_names.index(name)
        try:
            column = pa.array([value] * len(table), table.schema.field(k).type)
        except (pa.ArrowException, OverflowError) as error:
            raise InputError(f"`{source}`: {error}") from None
        return Dataset(dataset.spec, table.set_column(k, table.schema.field(k), column), source)
    changed = [value, value] if isinstance(current, list) else value
    return Dataset(dataset.spec.replace(params={**params, name: changed}), table, source)
