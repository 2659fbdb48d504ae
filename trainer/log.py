"""Log of a run: stderr, log.jsonl, TensorBoard, a plot."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter


class Log:
    """Log of rank 0.

    n_bytes : length of log.jsonl at the checkpoint; later records are cut off.
    """

    def __init__(self, folder: Path, is_first: bool, n_epochs: int, n_updates: int, update: int, n_bytes: int) -> None:
        self.path, self.is_first = folder / "log.jsonl", is_first
        self.n_epochs, self.n_updates, self.first_update = n_epochs, n_updates, update
        self.began = self.since = time.perf_counter()
        self.n_images, self.waited_s = 0, 0.0
        if is_first:
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=update + 1)
            with self.path.open("a") as file:
                file.truncate(min(n_bytes, file.tell()))

    def timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield batches; add up the time spent waiting."""
        while True:
            asked = time.perf_counter()
            batch = next(batches)
            self.waited_s += time.perf_counter() - asked
            yield batch

    def training(self, update: int, loss: float, lr: float) -> None:
        """Log an update's loss, speed and time left."""
        now = time.perf_counter()
        rate, share = self.n_images / (now - self.since), self.waited_s / (now - self.since)
        left_min = (now - self.began) / (update - self.first_update) * (self.n_updates - update) / 60
        values = {"loss": loss, "lr": lr, "images_per_s": rate, "data_wait": share, "minutes_left": left_min}
        self.write("train", update, values)

    def write(self, kind: str, update: int, values: dict[str, float]) -> None:
        """Write a record, of training or validation, everywhere."""
        self.n_images, self.waited_s, self.since = 0, 0.0, time.perf_counter()
        if self.is_first:
            with self.path.open("a") as file:
                file.write(json.dumps({"kind": kind, "update": update, **values}) + "\n")
            for name, value in values.items():
                self.board.add_scalar(f"{kind}/{name}", value, update)
            epoch, line = update * self.n_epochs / self.n_updates, "  ".join(f"{k} {v:.4g}" for k, v in values.items())
            print(f"epoch {epoch:.2f}/{self.n_epochs}  {kind}  {line}", file=sys.stderr, flush=True)

    def plot(self) -> None:
        """Write curves.png, and close TensorBoard's file."""
        self.board.close()
        records = [json.loads(line) for line in self.path.read_text().splitlines()]
        figure = Figure(figsize=(11, 4), layout="tight")
        for axes, name in zip(figure.subplots(1, 2), ("loss", "top1"), strict=True):
            for kind in ("train", "validation"):
                points = [(each["update"], each[name]) for each in records if each["kind"] == kind and name in each]
                axes.plot(*zip(*points, strict=True), label=kind)
            axes.set(xlabel="update", ylabel="top-1, %" if name == "top1" else name)
            axes.legend()
        figure.axes[0].set_yscale("log")  # the first validations with batch normalization are far off
        figure.savefig(self.path.with_name("curves.png"), dpi=110)
