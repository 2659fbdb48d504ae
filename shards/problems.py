"""Problems of a baked directory, as values."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import PurePosixPath
from typing import NamedTuple


class Kind(StrEnum):
    """Kind of a problem; decides how it is repaired."""

    CATEGORIES = "categories"
    """The categories table is missing or wrong."""
    UNBAKED = "unbaked"
    """A shard was never baked."""
    SHARD = "shard"
    """A file of a shard is missing or wrong."""
    PIXELS = "pixels"
    """An image is not what the spec renders here."""
    EXTRA = "extra"
    """A file is named like a shard of the dataset but is not in its plan."""
    FOREIGN = "foreign"
    """A file looks like a shard, but a bake never gives this name."""
    INDEX = "index"
    """A file that is written last is missing or contradicts the receipts."""


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes
    ----------
    kind : Kind
    path : the file, relative to the directory
    detail : what is wrong with it
    """

    kind: Kind
    path: str
    detail: str

    @property
    def shard(self) -> str:
        """Name of the shard that the file is named after."""
        return PurePosixPath(self.path).stem

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}"


TO_BAKE = (Kind.UNBAKED, Kind.SHARD, Kind.PIXELS)
"""Kinds that are repaired by baking the shard again."""


def summary(problems: Sequence[Problem], n_shown: int = 5) -> list[str]:
    """Return the problems as lines for people.

    Shards that were never baked share one line.
    """
    unbaked = [problem.shard for problem in problems if problem.kind == Kind.UNBAKED]
    lines = [str(problem) for problem in problems if problem.kind != Kind.UNBAKED]
    if not unbaked:
        return lines
    names = ", ".join(unbaked[:n_shown]) + (", ..." if len(unbaked) > n_shown else "")
    return [f"{len(unbaked):,} shards are not baked: {names}" if len(unbaked) > 1 else f"{names} is not baked", *lines]
