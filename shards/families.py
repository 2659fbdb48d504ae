"""What a family of images must offer, and which there are. Nothing else of a family is used outside its folder."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from primitives.fields import Choice, InputError
from primitives.streams import Stream

FAMILIES = ("exfractal", "rcdb")
"""A family is a package of this name that follows the Family protocol."""


class Params(Protocol):
    """A family's frozen dataclass of parameters, a subclass of primitives.fields.Checked."""

    @property
    def max_categories(self) -> int | None:
        """How many different categories there can be; None is any number."""


class Family(Protocol):
    """The contract of a family package.

    DOMAIN : 1..255, its own among the families; keys its random streams.
    SCHEMA : of its categories table: `category`, `attempt`, then every parameter.
    DRAWN_SCHEMA : of what is drawn for one image; the fields of its named tuple `Drawn`.
    SIZE_PX : the published image size.
    BIT_DEPTH : 1 if images hold only 0 and 255, else 8.
    BACKGROUND : 0..255; what a pixel is where nothing is drawn.
    Params : its parameters' dataclass.
    Drawn : what is drawn for one image, a named tuple of plain numbers.
    """

    DOMAIN: int
    SCHEMA: pa.Schema
    DRAWN_SCHEMA: pa.Schema
    SIZE_PX: int
    BIT_DEPTH: int
    BACKGROUND: int
    Params: type[Any]
    Drawn: type[Any]

    def sample(self, params: Any, seed: int, attempts: range) -> pa.Table:
        """Return the categories among some attempts: a table of SCHEMA."""

    def unpack(self, params: Any, table: pa.Table) -> Sequence[Any]:
        """Return a categories table's rows in the form that `render` takes; InputError names a bad row."""

    def render(self, params: Any, size_px: int, category: Any, stream: Stream) -> tuple[npt.NDArray[np.uint8], Any]:
        """Draw the image that `stream` names: uint8 (size_px, size_px) and its Drawn. Pure."""

    def render_each(
        self, params: Any, size_px: int, samples: Iterable[tuple[Any, Stream]]
    ) -> Iterator[tuple[npt.NDArray[np.uint8], Any]]:
        """Return what `render` returns for each (category, stream), in order; a family may make a few side by side."""

    def warm(self) -> None:
        """Compile every kernel, so that processes started later load them from numba's cache."""

    def make(self, params: Any, size_px: int, category: Any, stream: Stream, drawn: Any) -> npt.NDArray[np.uint8]:
        """Return the image again from its Drawn. Pure."""


class PublishedCsv(Protocol):
    """What a family also offers whose authors published its categories as CSV files."""

    def read_csv(self, folder: Path) -> pa.Table:
        """Return the categories table of a folder; InputError says which file is wrong."""

    def write_csv(self, table: pa.Table, folder: Path) -> None:
        """Write a categories table as such a folder."""


def published_csv(name: str) -> PublishedCsv:
    """Return a family's reader and writer of the published CSV files, or raise InputError if there is no such layout."""
    found = family(name)
    if not hasattr(found, "read_csv"):
        raise InputError(f"`family` (={name}) has no published CSV layout of its categories; exfractal has")
    return cast(PublishedCsv, found)


@cache
def known(name: str) -> Family:
    """Return the family of a name that has been checked: every image asks for it."""
    return cast(Family, importlib.import_module(name))


def family(name: object) -> Family:
    """Return the family of a name; InputError lists them."""
    return known(str(Choice(FAMILIES).check("family", name)))
