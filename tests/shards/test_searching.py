"""The search for categories: the same with any workers, distinct, and given up in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from fdsl import InputError, LocalExecutor, Spec, search_categories
from fdsl.dataset.families import FAMILIES
from shards.events import Advanced, Event, Finished, Started
from shards.executors.contract import Done, Failed
from tests.shards.conftest import small_spec


class Backwards:
    """An executor that answers a dozen items in reverse order, in this process."""

    def run(self, task: Any, items: Iterable[Any]) -> Iterator[Any]:
        iterator = iter(items)
        while chunk := [item for item, _ in zip(iterator, range(12), strict=False)]:
            yield from (Done(item, task(item)) for item in reversed(chunk))


class Failing:
    """An executor of which every item fails."""

    def run(self, task: Any, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            yield Failed(item, OSError("no memory"))


def test_order_of_answers_changes_nothing(spec: Spec) -> None:
    alone, backwards = (search_categories(spec, executor) for executor in (None, Backwards()))
    assert backwards == alone
    assert backwards.table.schema.metadata == alone.table.schema.metadata


@pytest.mark.slow
def test_categories_do_not_depend_on_the_workers() -> None:
    """Of each family, with more attempts than one task has."""
    for name in FAMILIES:
        spec = small_spec(name, categories=400)
        alone = search_categories(spec)
        assert alone.table.num_rows == 400
        assert alone.n_tried == alone.table.column("attempt")[-1].as_py() + 1 >= 400
        assert alone.acceptance == 400 / alone.n_tried
        assert search_categories(spec, LocalExecutor(2)) == alone


def test_fewer_categories_are_the_first_ones(spec: Spec) -> None:
    more = search_categories(spec.replace(categories=9)).table
    assert more.slice(0, 5).equals(search_categories(spec).table)


def test_categories_are_distinct() -> None:
    params = {"label": ["vertices", "contours"], "vertices": [3, 7], "contours": [1, 4]}
    table = search_categories(small_spec("rcdb", categories=20, params=params)).table
    assert len({(row["vertices"], row["contours"]) for row in table.to_pylist()}) == 20


def test_search_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.searching._MAX_ATTEMPTS", 512)
    line = "only 0 of 512 candidates passed; relax `params` to find 5 `categories`"
    with pytest.raises(InputError) as refused:
        search_categories(small_spec("exfractal", params={"points": 100, "variance_threshold": 1.0}))
    assert str(refused.value) == line


def test_failed_task_ends_the_search(spec: Spec) -> None:
    with pytest.raises(OSError, match="no memory"):
        search_categories(spec, Failing())


def test_listener_counts_every_category(spec: Spec) -> None:
    events: list[Event] = []
    search_categories(spec, listener=events.append)
    assert events[0] == Started("search", spec.name, "categories", 5)
    assert events[-1] == Finished("search")
    assert sum(event.n for event in events if isinstance(event, Advanced)) == 5
