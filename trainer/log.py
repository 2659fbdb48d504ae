"""What a run says of itself: a line on the terminal, log.jsonl, TensorBoard, and a plot of the curves at the end."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


class Log:
    """The log of a run; only rank 0's writes. A resumed run goes on at `update`: what was logged after it is dropped."""

    def __init__(self, folder: Path, is_first: bool, update: int) -> None:
        self.path, self.is_first, self.board = folder / "log.jsonl", is_first, None
        if not is_first:
            return
        lines = self.path.read_text().splitlines() if self.path.exists() and update else []
        kept = [line for line in lines if json.loads(line)["update"] <= update]
        self.path.write_text("".join(f"{line}\n" for line in kept))
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=update)
        except ImportError:
            print("no TensorBoard log: `pip install tensorboard` adds it", file=sys.stderr)

    def write(self, kind: str, update: int, **values: Any) -> None:
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
        figure.tight_layout()
        figure.savefig(self.path.with_name("curves.png"), dpi=110)
        pyplot.close(figure)


def duration(seconds: float) -> str:
    """Return 75 as 1:15 and 7,500 as 2:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
