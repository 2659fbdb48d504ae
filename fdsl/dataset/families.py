"""The contract of a family, and the registry of all families."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import exfractal
import rcdb
from fdsl.primitives import kernel_cache
from fdsl.primitives.errors import InputError
from fdsl.primitives.streams import Stream
from fdsl.primitives.validation import FamilyParams

kernel_cache.guard()

Image = npt.NDArray[np.uint8]
"""A grey image, uint8 (size_px, size_px)."""


P = TypeVar("P", bound=FamilyParams)
C = TypeVar("C")
V = TypeVar("V", bound=tuple[Any, ...])
V_co = TypeVar("V_co", bound=tuple[Any, ...], covariant=True)


class Family(Protocol[P, C, V_co]):
    """What the package of a family offers.

    P is the type of its parameters, C that of an unpacked category, V that of a variant: a named tuple of the numbers drawn
    for an image.
    """

    @property
    def DOMAIN(self) -> int:
        """1..255, unique among families; part of every random stream's address."""

    @property
    def TITLE(self) -> str:
        """Name of the dataset as published."""

    @property
    def CITATION(self) -> str:
        """The paper, one line."""

    @property
    def SIZE_PX(self) -> int:
        """Published image size, px."""

    @property
    def BIT_DEPTH(self) -> int:
        """1 if images hold only 0 and 255, else 8."""

    @property
    def BACKGROUND(self) -> int:
        """0..255; grey level of an empty pixel."""

    @property
    def SCHEMA(self) -> pa.Schema:
        """Columns of the categories table: `category`, `attempt`, then every parameter."""

    @property
    def VARIANT_SCHEMA(self) -> pa.Schema:
        """Columns of V, in its order."""

    @property
    def UNITS(self) -> Mapping[str, str]:
        """Unit of each of these columns that has one."""

    @property
    def Params(self) -> type[P]:
        """Class of the parameters."""

    def sample(self, params: P, seed: int, attempts: range) -> pa.Table:
        """Return the categories among some attempts: a table of SCHEMA."""

    def unpack(self, params: P, table: pa.Table) -> Sequence[C]:
        """Return the rows of a categories table, ready to render.

        Raises InputError on a bad row.
        """

    def render_each(self, params: P, size_px: int, samples: Iterable[tuple[C, Stream]]) -> Iterator[tuple[Image, V_co]]:
        """Yield image and variant of each (category, stream), in order. Pure."""

    def compile_kernels(self) -> None:
        """Compile every kernel into numba's cache, before workers start."""


def _checked(module: Family[P, C, V]) -> Family[Any, Any, Any]:
    """Return a family's package, which mypy checks here."""
    return cast("Family[Any, Any, Any]", module)


FAMILIES: dict[str, Family[Any, Any, Any]] = {
    "exfractal": _checked(exfractal),
    "rcdb": _checked(rcdb),
}
"""All families by name. A new family is one import and one entry."""


class PublishedCsv(Protocol):
    """Optional part of a family: CSV files in the authors' layout."""

    @property
    def CSV_NAME(self) -> str:
        """Format of a category's file name, such as {:06}.csv; unique among families."""

    def read_csv(self, folder: Path) -> pa.Table:
        """Return the categories in a folder.

        Raises InputError, naming the file.
        """

    def write_csv(self, table: pa.Table, folder: Path) -> None:
        """Write a categories table as CSV files into an empty folder."""


class Solid(Protocol):
    """Optional part of a family: turns the solids it shows."""

    def turn(self, params: Any, size_px: int, category: Any, stream: Stream, n_frames: int) -> Iterator[Image]:
        """Yield an image, turned once around its vertical axis.

        The first frame is the image itself.
        """


def solid(name: str) -> Solid:
    """Return what turns a family's images.

    Raises
    ------
    InputError
        Its images are flat.
    """
    if not hasattr(FAMILIES[name], "turn"):
        names = ", ".join(key for key, module in FAMILIES.items() if hasattr(module, "turn"))
        raise InputError(f"`family` (={name}) has flat images, which cannot be turned; these have solids: {names}")
    return cast("Solid", FAMILIES[name])


def published_csv(name: str) -> PublishedCsv:
    """Return a family's CSV reader and writer.

    Raises
    ------
    InputError
        The family has no published CSV layout.
    """
    if not hasattr(FAMILIES[name], "read_csv"):
        names = ", ".join(key for key, module in FAMILIES.items() if hasattr(module, "read_csv"))
        raise InputError(f"`family` (={name}) has no published CSV layout; these have one: {names}")
    return cast("PublishedCsv", FAMILIES[name])


def family_of_csv(folder: Path) -> str:
    """Return the family whose CSV files a folder holds.

    Raises InputError unless the first file of exactly one family is there.
    """
    firsts = {name: published_csv(name).CSV_NAME.format(0) for name in FAMILIES if hasattr(FAMILIES[name], "read_csv")}
    found = [name for name, first in firsts.items() if (folder / first).exists()]
    if len(found) != 1:
        names = ", ".join(f"{first} of {name}" for name, first in firsts.items())
        raise InputError(f"`{folder}` must hold the CSV files of one family, beginning with the first: {names}")
    return found[0]
