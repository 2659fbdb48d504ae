"""Progress on standard error and in a log file."""

from __future__ import annotations

import json
import sys
import threading
import time
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from fdsl.primitives.errors import encodable, one_line
from shards.events import Advanced, Event, Finished, ItemFailed, ItemsRetried, Started

_LINES_EVERY_S = 5.0
_TICK_S = 1.0
_LOG_NAMES = {
    Started: "started",
    Advanced: "advanced",
    ItemFailed: "failed",
    ItemsRetried: "retried",
    Finished: "finished",
}


class Progress:
    """Listener that shows progress.

    On a terminal it is a bar, otherwise a plain line every few seconds.

    Parameters
    ----------
    quiet : show failed items only
    log : file for one JSON object per event, or None
    """

    def __init__(self, quiet: bool = False, log: TextIO | None = None) -> None:
        self._quiet, self._log = quiet, log
        self._bar: _Bar | _Lines | None = None
        self._n_done, self._began = 0, time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if self._log is not None:
            self._write(self._log, event)
        match event:
            case Started():
                self._close()
                self._n_done, self._began = 0, time.monotonic()
                self._bar = self._open(event)
            case Advanced(n=n):
                self._n_done += n
                if self._bar is not None:
                    self._bar.advance(n)
            case ItemFailed(item=item, reason=reason):
                tqdm.write(one_line(f"{item}: {reason}"), file=sys.stderr)
            case ItemsRetried(n_items=n_items, reason=reason) if not self._quiet:
                tqdm.write(f"{reason}; retrying {count(n_items, 'task')}", file=sys.stderr)
            case Finished():
                self._close()

    @property
    def rate(self) -> float:
        """Units per second of the last activity."""
        return self._n_done / max(time.monotonic() - self._began, 1e-9)

    def _write(self, log: TextIO, event: Event) -> None:
        """Append an event to the log; an error names its file."""
        fields = {key: encodable(value) if isinstance(value, str) else value for key, value in event._asdict().items()}
        record = {"time": round(time.time(), 3), "event": _LOG_NAMES[type(event)], **fields}
        try:
            print(json.dumps(record), file=log, flush=True)
        except OSError as error:
            raise OSError(error.errno, error.strerror, log.name) from None

    def _open(self, event: Started) -> _Bar | _Lines | None:
        if self._quiet or event.n_total <= event.n_done:
            return None
        return _Bar(event) if sys.stderr.isatty() else _Lines(event)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Bar:
    """A progress bar whose clock ticks between events."""

    def __init__(self, event: Started) -> None:
        self._bar = tqdm(
            total=event.n_total, initial=event.n_done, unit=f" {event.unit}", desc=_label(event), dynamic_ncols=True
        )
        self._closed = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def _tick(self) -> None:
        while not self._closed.wait(_TICK_S):
            self._bar.refresh()

    def advance(self, n: int) -> None:
        """Count `n` units."""
        self._bar.update(n)

    def close(self) -> None:
        """Stop the clock; the bar stays on the screen."""
        self._closed.set()
        self._ticker.join()
        self._bar.close()


class _Lines:
    """A plain line every few seconds."""

    def __init__(self, event: Started) -> None:
        self._event, self._n_done = event, 0
        self._began = self._last = time.monotonic()

    def advance(self, n: int) -> None:
        """Count `n` units."""
        self._n_done += n
        now = time.monotonic()
        if now - self._last < _LINES_EVERY_S:
            return
        self._last = now
        event, rate = self._event, self._n_done / max(now - self._began, 1e-9)
        n_done = event.n_done + self._n_done
        speed = f", {format_rate(rate)} {event.unit}/s" if rate >= 0.1 else ""
        left = f", {duration((event.n_total - n_done) / rate)} left" if rate else ""
        text = f"{n_done:,} of {event.n_total:,} {event.unit}{speed}{left}"
        print(f"{_label(event)}: {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Do nothing."""


def _label(event: Started) -> str:
    return f"{event.activity} {event.dataset}"


def count(n: int, noun: str) -> str:
    """Return a number with its noun: `1 shard`, `2,100 categories`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{n:,} {noun if n == 1 else plural}"


def format_rate(per_second: float) -> str:
    """Format a rate, with a decimal below ten: `1.0`, `3,221`."""
    return f"{per_second:,.0f}" if per_second >= 9.95 else f"{per_second:.1f}"


def duration(seconds: float) -> str:
    """Format a time span: `12 s`, `3 min 20 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
