"""Workers: results in the order that is asked for, from any thread, and signals that wait for what must not be broken."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time

import pytest

from shards.workers import _unbroken, in_parallel


def squared(number: int, after_s: float = 0.0) -> int:
    time.sleep(after_s)
    return number * number


def failing(number: int) -> int:
    raise OSError(28, "No space left on device", f"shard {number}")


@pytest.mark.parametrize("workers", [1, 2])
def test_ordered_results_come_in_the_order_of_their_tasks(workers: int) -> None:
    tasks = [(number, 0.2 if number == 0 else 0.0) for number in range(12)]
    with in_parallel(squared, tasks, workers, ordered=True) as results:
        assert list(results) == [number * number for number in range(12)]


def test_other_results_do_not_wait_for_a_slow_one() -> None:
    tasks = [(number, 1.0 if number == 0 else 0.0) for number in range(6)]
    with in_parallel(squared, tasks, 2) as results:
        found = list(results)
    assert sorted(found) == [number * number for number in range(6)]
    assert found[-1] == 0


def test_tasks_are_taken_as_workers_become_free() -> None:
    taken: list[int] = []

    def tasks() -> object:
        for number in range(20):
            taken.append(number)
            yield (number,)

    with in_parallel(squared, tasks(), 2) as results:  # type: ignore[arg-type]
        for done, _ in enumerate(results, start=1):
            assert len(taken) <= done + 4


def test_of_endless_tasks_one_takes_as_many_as_one_wants() -> None:
    for workers in (1, 2, 3):
        with in_parallel(squared, ((number,) for number in itertools.count()), workers, ordered=True) as results:
            assert list(itertools.islice(results, 10)) == [number * number for number in range(10)]


def test_an_error_of_a_task_comes_out_and_the_next_tasks_run() -> None:
    with pytest.raises(OSError, match="No space left on device"), in_parallel(failing, [(1,), (2,)], 2) as results:
        list(results)
    with in_parallel(squared, [(3,)], 2) as results:
        assert list(results) == [9]


def test_it_works_in_a_thread() -> None:
    found: list[int] = []

    def work() -> None:
        with in_parallel(squared, [(4,), (5,)], 2, ordered=True) as results:
            found.extend(results)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert found == [16, 25]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_what_must_not_be_broken(number: int) -> None:
    caught: list[int] = []
    old = signal.signal(number, lambda number, frame: caught.append(number))
    idle = threading.Event()
    threading.Thread(
        target=idle.wait, daemon=True
    ).start()  # a thread that blocks no signal takes them from one that does
    try:
        with _unbroken():
            os.kill(os.getpid(), number)
            time.sleep(0.1)
            assert caught == []
        assert caught == [number]
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        idle.set()
        signal.signal(number, old)
