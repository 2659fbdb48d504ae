"""Events of the progress of an activity."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Started(NamedTuple):
    """An activity begins.

    Attributes
    ----------
    activity : search, bake, verify, ship, read or render
    dataset : name of the dataset
    unit : categories, images or shards
    n_total : units in all
    n_done : units that were done before
    """

    activity: str
    dataset: str
    unit: str
    n_total: int
    n_done: int = 0


class Advanced(NamedTuple):
    """Some units are done.

    Attributes
    ----------
    n : number of units
    item : what they belong to, such as a shard's name
    """

    n: int
    item: str


class ItemFailed(NamedTuple):
    """An item failed; the others continue."""

    item: str
    reason: str


class ItemsRetried(NamedTuple):
    """Some items are tried again."""

    n_items: int
    reason: str


class Finished(NamedTuple):
    """An activity ends."""

    activity: str


Event = Started | Advanced | ItemFailed | ItemsRetried | Finished
Listener = Callable[[Event], None]
"""Called with each event, in the process that runs the activity."""


def ignore(event: Event) -> None:
    """Do nothing."""
