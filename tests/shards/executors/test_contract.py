"""The contract of an executor. A new engine adds one entry to EXECUTORS and passes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fdsl import DaskExecutor, LocalExecutor
from shards.executors.contract import Done, Executor, Failed
from tests.processes import PATIENCE_S
from tests.shards.executors.tasks import Meeting, meet, raise_unpicklable, refuse_multiples_of_3, square

EXECUTORS: dict[str, Callable[[pytest.FixtureRequest], Executor]] = {
    "local, 1 worker": lambda request: LocalExecutor(1),
    "local, 2 workers": lambda request: LocalExecutor(2),
    "local, 5 workers": lambda request: LocalExecutor(5),
    "dask, 2 workers": lambda request: DaskExecutor(request.getfixturevalue("cluster").address),
}
"""Factories of executors by name. One that needs daemons asks for their fixture."""

SERIAL = {"local, 1 worker"}
"""Those that run one task at a time."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=EXECUTORS)
def name(request: pytest.FixtureRequest) -> str:
    executor_name: str = request.param
    return executor_name


@pytest.fixture
def executor(name: str, request: pytest.FixtureRequest) -> Executor:
    return EXECUTORS[name](request)


def test_every_item_has_one_outcome(executor: Executor) -> None:
    outcomes = list(executor.run(square, range(40)))
    assert sorted(outcomes, key=lambda outcome: outcome.item) == [Done(n, n * n) for n in range(40)]


def test_no_items_give_no_outcomes(executor: Executor) -> None:
    assert list(executor.run(square, [])) == []
    assert list(executor.run(square, iter([]))) == []


def test_equal_items_each_have_an_outcome(executor: Executor) -> None:
    assert list(executor.run(square, [3] * 12)) == [Done(3, 9)] * 12


def test_outcomes_do_not_wait_for_slow_item(name: str, executor: Executor, tmp_path: Path) -> None:
    """The first item ends only after the last one has."""
    if name in SERIAL:
        pytest.skip("runs one task at a time")
    slow = Meeting(wait_for=tmp_path / "last", announce=None)
    last = Meeting(wait_for=None, announce=tmp_path / "last")
    outcomes = list(executor.run(meet, [slow, last]))
    assert {outcome.item for outcome in outcomes} == {slow, last}
    assert all(isinstance(outcome, Done) for outcome in outcomes)


def test_failed_item_does_not_end_others(executor: Executor) -> None:
    outcomes = {outcome.item: outcome for outcome in executor.run(refuse_multiples_of_3, range(20))}
    assert outcomes.keys() == set(range(20))
    for number, outcome in outcomes.items():
        if number % 3:
            assert outcome == Done(number, number * number)
        else:
            assert isinstance(outcome, Failed)
            assert isinstance(outcome.error, OSError)
            assert (outcome.error.errno, outcome.error.filename) == (28, f"shard {number}")


def test_unpicklable_exception_is_one_failure(executor: Executor) -> None:
    outcomes = {outcome.item: outcome for outcome in executor.run(raise_unpicklable, range(12))}
    assert {number for number, outcome in outcomes.items() if isinstance(outcome, Failed)} == {1, 2}
    assert outcomes.keys() == set(range(12))
    for number in (1, 2):
        outcome = outcomes[number]
        assert isinstance(outcome, Failed)
        assert f"number must be other than {number}" in str(outcome.error)


def test_items_are_taken_lazily(executor: Executor) -> None:
    """At most two items per worker wait."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    for n_done, _ in enumerate(executor.run(square, items()), start=1):
        assert len(taken) <= n_done + 2 * 5
    assert len(taken) == 100


def test_items_may_be_endless(executor: Executor) -> None:
    with closing(executor.run(square, itertools.count())) as outcomes:
        for outcome in itertools.islice(outcomes, 30):
            assert outcome == Done(outcome.item, outcome.item**2)


def test_run_after_early_close(executor: Executor) -> None:
    with closing(executor.run(square, itertools.count())) as outcomes:
        next(outcomes)
    assert list(outcomes) == []
    assert len(list(executor.run(square, range(7)))) == 7


def test_error_of_items_is_raised(executor: Executor) -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the plan is broken")

    with pytest.raises(ValueError, match="the plan is broken"):
        list(executor.run(square, items()))
    assert len(list(executor.run(square, range(7)))) == 7


def test_run_in_thread(executor: Executor) -> None:
    outcomes: list[Done[int, int] | Failed[int]] = []
    thread = threading.Thread(target=lambda: outcomes.extend(executor.run(square, [4, 5])))
    thread.start()
    thread.join(PATIENCE_S)
    assert sorted(outcomes, key=lambda outcome: outcome.item) == [Done(4, 16), Done(5, 25)]
