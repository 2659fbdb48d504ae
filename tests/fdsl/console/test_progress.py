"""Progress: a bar on a terminal, plain lines elsewhere, and a log of events."""

from __future__ import annotations

import json
import os
import re
import select
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import SimpleNamespace

import pytest

from fdsl.console import progress
from fdsl.console.progress import Progress, duration
from shards.events import Advanced, Event, Finished, ItemFailed, ItemsRetried, Started
from tests.processes import PATIENCE_S

EVENTS = (
    Started("bake", "small", "images", 20, 5),
    Advanced(7, "train-000001"),
    ItemFailed("train-000002", "out of luck"),
    Advanced(8, "train-000003"),
    Finished("bake"),
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that advances the clock."""
    seconds = 1000.0

    def move(by_s: float) -> None:
        nonlocal seconds
        seconds += by_s

    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: seconds, time=time.time))
    return move


@contextmanager
def terminal() -> Iterator[Callable[[str], str]]:
    """Make standard error a terminal. Yields a function that reads it until a pattern appears.

    Not a fixture: pytest sets its own standard error between setup and call.
    """
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 100))
    shown = ""

    def read_until(pattern: str) -> str:
        nonlocal shown
        end = time.monotonic() + PATIENCE_S
        while not re.search(pattern, shown):
            assert select.select([master], [], [], max(0.0, end - time.monotonic()))[0], shown
            shown += os.read(master, 4096).decode(errors="replace")
        return shown

    with os.fdopen(slave, "w", encoding="utf-8") as stream, redirect_stderr(stream):
        yield read_until
    os.close(master)


def send(listener: Callable[[Event], None], *events: Event) -> None:
    for event in events:
        listener(event)


def test_bar_moves_on_terminal() -> None:
    with terminal() as read_until, Progress() as shown:
        send(shown, EVENTS[0])
        assert read_until("5/20").startswith("\rbake small:  25%")
        send(shown, *EVENTS[1:])
        assert "train-000002: out of luck" in read_until("20/20")


def test_clock_of_bar_ticks_between_events() -> None:
    with terminal() as read_until, Progress() as shown:
        send(shown, Started("bake", "small", "images", 20))
        read_until(r"0/20 \[00:00")
        read_until(r"0/20 \[00:0[1-9]")


def test_second_activity_has_its_own_bar() -> None:
    with terminal() as read_until, Progress() as shown:
        send(shown, Started("search", "small", "categories", 4), Advanced(4, "categories"), Finished("search"))
        read_until("search small: 100%.*4/4")
        send(shown, Started("bake", "small", "images", 20), Advanced(20, "train-000000"), Finished("bake"))
        read_until("bake small: 100%.*20/20")


def test_quiet_shows_nothing_on_terminal() -> None:
    with terminal() as read_until:
        with Progress(quiet=True) as shown:
            send(shown, EVENTS[0], EVENTS[1], EVENTS[3], EVENTS[4])
        print("end", file=sys.stderr, flush=True)
        assert read_until("end") == "end\r\n"


def test_lines_every_five_seconds(capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]) -> None:
    with Progress() as shown:
        send(shown, Started("bake", "small", "images", 1020, 20))
        for _ in range(3):
            clock(2.0)
            send(shown, Advanced(100, "train"))
        assert capsys.readouterr().err == "bake small: 320 of 1,020 images, 50 images/s, 14 s left\n"
        clock(1.0)
        send(shown, Advanced(100, "train"))
        clock(5.0)
        send(shown, Advanced(0, "train"), Finished("bake"))
    assert capsys.readouterr().err.splitlines() == ["bake small: 420 of 1,020 images, 33 images/s, 18 s left"]
    assert shown.rate == pytest.approx(400 / 12)


def test_retried_tasks_are_shown_unless_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (False, True):
        with Progress(quiet) as shown:
            send(shown, ItemsRetried(1, "a worker process died"))
    assert capsys.readouterr().err == "a worker process died; retrying 1 task\n"


def test_line_without_progress_has_no_estimate(
    capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]
) -> None:
    with Progress() as shown:
        send(shown, Started("search", "small", "categories", 4))
        clock(6.0)
        send(shown, Advanced(0, "categories"))
    assert capsys.readouterr().err == "search small: 0 of 4 categories\n"


def test_slow_rate_is_left_out(capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]) -> None:
    with Progress() as shown:
        send(shown, Started("train", "transfer", "runs", 4))
        clock(600.0)
        send(shown, Advanced(1, "pretrain"))
    assert capsys.readouterr().err == "train transfer: 1 of 4 runs, 30 min 0 s left\n"


def test_finished_work_shows_no_progress(capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]) -> None:
    with Progress() as shown:
        send(shown, Started("bake", "small", "images", 20, 20))
        clock(60.0)
        send(shown, Advanced(0, "train-000000"), Finished("bake"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("quiet", [False, True])
def test_failures_are_shown_even_if_quiet(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(quiet) as shown:
        send(shown, *EVENTS)
    assert capsys.readouterr().err == "train-000002: out of luck\n"


def test_log_has_one_object_per_event(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="utf-8") as log, Progress(quiet=True, log=log) as shown:
        for n_events, event in enumerate(EVENTS, start=1):
            shown(event)
            lines = (tmp_path / "log").read_text().splitlines()
            assert len(lines) == n_events, "an event is in the file as soon as it happened"
    records = [json.loads(line) for line in lines]
    assert all(isinstance(record.pop("time"), float) for record in records)
    assert records == [
        {"event": "started", "activity": "bake", "dataset": "small", "unit": "images", "n_total": 20, "n_done": 5},
        {"event": "advanced", "n": 7, "item": "train-000001"},
        {"event": "failed", "item": "train-000002", "reason": "out of luck"},
        {"event": "advanced", "n": 8, "item": "train-000003"},
        {"event": "finished", "activity": "bake"},
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3599.4, "59 min 59 s"),
        (3600, "1 h 0 min"), (7500, "2 h 5 min"), (360_000, "100 h 0 min"),
    ],
)  # fmt: skip
def test_duration_is_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
