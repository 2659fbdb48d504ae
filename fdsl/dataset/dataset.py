"""The Dataset: a spec and its categories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from fdsl.dataset.categories import check_table, table_sha256
from fdsl.dataset.families import Image, solid
from fdsl.dataset.spec import SPLITS, Spec, dataset_hash
from fdsl.primitives.errors import InputError
from fdsl.primitives.streams import Stream, domain
from fdsl.primitives.validation import check_whole_number, shown


def require_spec(spec: object) -> None:
    """Raise InputError if an argument is not a Spec."""
    if not isinstance(spec, Spec):
        raise InputError(f"`spec` (={shown(spec)}) must be a Spec; `load_spec` returns one")


@dataclass(frozen=True, eq=False)
class Dataset:
    """A spec and its categories: all that decides a pixel.

    It is pickled as these, and unpacked again by each process.

    Attributes
    ----------
    spec : Spec
    table : categories, one row each, in the family's SCHEMA
    source : the table's name in messages
    older_hash : hash of a dataset of an older format, whose images this version cannot render; None for its own format

    Raises
    ------
    InputError
        The table does not fit the spec, or a row is wrong.
    """

    spec: Spec
    table: pa.Table
    source: str = "the categories table"
    older_hash: str | None = None

    def __post_init__(self) -> None:
        require_spec(self.spec)
        if not isinstance(self.table, pa.Table):
            raise InputError(
                f"`{self.source}` (={shown(self.table)}) must be a pyarrow table; `read_table` returns one"
            )
        object.__setattr__(self, "table", check_table(self.spec, self.table, self.source))
        self.rows  # noqa: B018 - unpacks now, so that a wrong row is reported now

    def __reduce__(self) -> tuple[type[Dataset], tuple[Spec, pa.Table, str, str | None]]:
        return Dataset, (self.spec, self.table, self.source, self.older_hash)

    @cached_property
    def rows(self) -> Sequence[Any]:
        """Categories, unpacked for the family's renderer."""
        try:
            return self.spec.family_module.unpack(self.spec.params, self.table)
        except InputError as error:
            raise InputError(f"`{self.source}`: {error}") from None

    @cached_property
    def categories_sha256(self) -> str:
        """Hash of the categories: 64 hexadecimal digits."""
        return table_sha256(self.table)

    @cached_property
    def hash(self) -> str:
        """Identity of the dataset: 64 hexadecimal digits."""
        return self.older_hash or dataset_hash(self.spec, self.categories_sha256)

    def stream(self, category: int, instance: int) -> Stream:
        """Return the random numbers of one image."""
        spec = self.spec
        role = SPLITS[spec.split_of(instance)]
        return Stream(spec.seed, domain(spec.family_module.DOMAIN, role), category, instance)

    def images(self, names: Iterable[tuple[int, int]]) -> Iterator[tuple[Image, tuple[Any, ...]]]:
        """Yield the image and variant of each (category, instance), in order.

        Yields
        ------
        image : uint8 (size_px, size_px), grey
        variant : the family's named tuple of the numbers drawn for this image

        Raises
        ------
        InputError
            The dataset has an older format.
        """
        self._require_renderable()
        samples = ((self.rows[category], self.stream(category, instance)) for category, instance in names)
        return self.spec.family_module.render_each(self.spec.params, self.spec.size_px, samples)

    def _require_renderable(self) -> None:
        """Raise InputError if the dataset has an older format."""
        if self.older_hash is not None:
            raise InputError(
                f"`{self.source}` belongs to a dataset of an older format, which cannot be rendered any more"
            )

    def turn(self, category: int, instance: int, n_frames: int) -> Iterator[Image]:
        """Yield an image, turned once around its vertical axis.

        Raises
        ------
        InputError
            The family's images are flat, or the dataset has an older format.
        """
        self._require_renderable()
        spec = self.spec
        return solid(spec.family).turn(
            spec.params, spec.size_px, self.rows[category], self.stream(category, instance), n_frames
        )

    def image(self, category: int, instance: int) -> Image:
        """Return one image: uint8 (size_px, size_px), grey.

        Parameters
        ----------
        category : 0 .. categories - 1
        instance : 0 .. train + validation - 1; validation continues after train

        Raises
        ------
        InputError
            `category` or `instance` is out of range.
        """
        check_whole_number("category", category, 0, len(self.rows) - 1)
        check_whole_number("instance", instance, 0, self.spec.instances.total - 1)
        return next(self.images([(category, instance)]))[0]
