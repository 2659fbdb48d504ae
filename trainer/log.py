"""What a run says of itself: a line on the terminal, log.jsonl, TensorBoard, and a plot of the curves at the end."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path


class Log:
    """The log of a run; only rank 0's writes. A resumed run goes on at `update`: what was logged after it is dropped."""

    def __init__(self, folder: Path, is_first: bool, update: int) -> None:
        self.path, self.is_first, self.board = folder / "log.jsonl", is_first, None
        if not is_first:
            return
        lines = self.path.read_text().splitlines() if self.path.exists() and update else []
        kept = [line for line in lines if _update_of(line) <= update]
        hidden = self.path.with_name(".log.jsonl.tmp")
        hidden.write_text("".join(f"{line}\n" for line in kept))
        hidden.replace(self.path)
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=update + 1)
        except ImportError:
            print("no TensorBoard log: `pip install tensorboard` adds it", file=sys.stderr)

    def write(self, kind: str, update: int, values: dict[str, float]) -> None:
        """Add a record, {"kind": "train" or "validation", "update": ..., ...}."""
        if not self.is_first:
            return
        with self.path.open("a") as file:
            file.write(json.dumps({"kind": kind, "update": update, **values}) + "\n")
        if self.board:
            for name, value in values.items():
                self.board.add_scalar(f"{kind}/{name}", value, update)

    def say(self, line: str, last: bool = False) -> None:
        """Show a line of progress: in place on a terminal, one after the other elsewhere."""
        if self.is_first:
            on_terminal = sys.stderr.isatty()
            print(
                f"\r{line:<110}" if on_terminal else line,
                end="" if on_terminal and not last else "\n",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """Write curves.png from what was logged."""
        if not self.is_first:
            return
        if self.board:
            self.board.close()
        try:
            import matplotlib

            matplotlib.use("Agg")
            from matplotlib import pyplot
        except ImportError:
            print("no curves.png: `pip install matplotlib` adds it", file=sys.stderr)
            return
        records = [json.loads(line) for line in self.path.read_text().splitlines()]
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
        for axes, name in ((left, "loss"), (right, "top1")):
            for kind in ("train", "validation"):
                points = [(each["update"], each[name]) for each in records if each["kind"] == kind and name in each]
                if points:
                    axes.plot(*zip(*points, strict=True), label=kind, marker="." if len(points) < 60 else None)
            axes.set_xlabel("update")
            axes.set_ylabel({"loss": "loss", "top1": "top-1, %"}[name])
            axes.grid(alpha=0.3)
            axes.legend() if axes.lines else None
        losses = [each["loss"] for each in records if each["kind"] == "train" and math.isfinite(each["loss"])]
        if losses:  # a validation far off, as of batch norm's first means, must not flatten the rest
            left.set_ylim(0, 1.3 * max(losses))
        figure.tight_layout()
        figure.savefig(self.path.with_name("curves.png"), dpi=110)
        pyplot.close(figure)


class Progress:
    """How fast a run is, how much of the time it waits for data, and when it will be done."""

    def __init__(self, log: Log, n_epochs: int, updates_per_epoch: int, update: int) -> None:
        self.log, self.n_epochs, self.updates_per_epoch = log, n_epochs, updates_per_epoch
        self.first, self.began, self.since = update, time.perf_counter(), time.perf_counter()
        self.seen, self.waited_s = 0, 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time within as waiting for data."""
        asked = time.perf_counter()
        yield
        self.waited_s += time.perf_counter() - asked

    def tell(self, update: int, loss: float, lr: float) -> None:
        """Log and show the loss of an update, and the speed since the last one that was told."""
        now = time.perf_counter()
        rate, share = self.seen / (now - self.since), self.waited_s / (now - self.since)
        left_s = (now - self.began) / (update - self.first) * (self.n_epochs * self.updates_per_epoch - update)
        self.log.write("train", update, {"loss": loss, "lr": lr, "images_per_s": rate, "data_wait": share})
        self.log.say(
            f"epoch {update / self.updates_per_epoch:.2f}/{self.n_epochs}  loss {loss:.3f}  lr {lr:.2e}  {rate:,.0f} img/s"
            f"  waiting for data {share:.0%}  {duration(left_s)} left"
        )
        self.seen, self.waited_s, self.since = 0, 0.0, now

    def tell_validation(self, update: int, found: dict[str, float]) -> None:
        """Log and show what a validation found."""
        self.log.write("validation", update, found)
        self.log.say(
            f"epoch {update // self.updates_per_epoch}/{self.n_epochs}: validation top-1 {found['top1']:.2f} %,"
            f" top-5 {found['top5']:.2f} %, loss {found['loss']:.3f}",
            last=True,
        )
        self.since = time.perf_counter()


def _update_of(line: str) -> float:
    """Return a record's update; that of a line which was cut off is after all others."""
    try:
        return float(json.loads(line)["update"])
    except ValueError:
        return float("inf")


def duration(seconds: float) -> str:
    """Return 75 as 1:15 and 7,500 as 2:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
