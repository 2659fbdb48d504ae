"""Runs a ladder: data, pre-training, search over learning rates, measurement."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from fdsl.dataset.sources import MAX_YAML_BYTES, parse_yaml
from fdsl.dataset.spec import difference
from fdsl.ladders.ladder import SCRATCH, Labels, Ladder, Target, parse_ladder
from fdsl.ladders.plan import Cell, Run, Sizes, cells, data_path, pretrainings, searches, trials
from fdsl.ladders.targets import Source, count_train, make_subsets, open_target, subset_sizes
from fdsl.primitives.errors import InputError, extra_hint
from fdsl.primitives.reading import read_bounded
from shards.events import Advanced, Finished, Listener, Started, ignore
from shards.files import make_folder, write_file
from shards.opening import find_categories

LADDER = "ladder.yaml"
RESULT = "result.json"
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
"""Variables of every run. With one thread, the results are the same for any number of workers."""
_GPUS = "CUDA_VISIBLE_DEVICES"
_PR_SET_PDEATHSIG = 1
_ENDING_WITH_PARENT = (
    "-ISc",
    f"import ctypes, os, sys; ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {signal.SIGTERM.value});"
    " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])",
)
"""Options that ask Linux to stop a training when the command is killed, and then become the training (linux/prctl.h)."""
_LOG, _STDERR = "log.jsonl", "stderr.txt"
_MAX_LOG_BYTES = 2**28
_TAIL_BYTES = 2**14


def read_result(folder: Path) -> float | None:
    """Return the top-1 of a run's last weights, %.

    None if it is not finished.
    """
    path = folder / RESULT
    if not path.exists():
        return None
    try:
        top1 = float(json.loads(read_bounded(path, 2**16))["top1"])
        if not 0 <= top1 <= 100:
            raise ValueError(f"`top1` (={top1}) must be in 0..100")
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"`{path}` is not a readable result: {error}; delete it to run again") from None
    return top1


def write_result(out: Path, run: Run) -> None:
    """Write the result of a run; delete what it no longer needs."""
    folder = out / run.path
    write_file(folder / RESULT, (json.dumps({"top1": _top1(folder / _LOG)}) + "\n").encode())
    _delete_leftovers(folder, run.keeps_weights)


def _delete_leftovers(folder: Path, keeps_weights: bool) -> None:
    """Delete what a finished run no longer needs.

    The checkpoints of hundreds of runs fill a disk.
    """
    for path in [*folder.glob("*.pt"), *([] if keeps_weights else folder.glob("*.safetensors"))]:
        path.unlink()
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)


def open_ladder(out: Path) -> Ladder:
    """Return the ladder that a folder holds.

    Raises InputError if there is none.
    """
    path = out / LADDER
    if not path.is_file():
        raise InputError(f"`{out}` holds no {LADDER}; `fdsl ladder run LADDER -o {out}` makes one")
    return parse_ladder(parse_yaml(read_bounded(path, MAX_YAML_BYTES), str(path)))


def run_ladder(ladder: Ladder, out: Path, n_workers: int = 1, listener: Listener = ignore) -> None:
    """Run what is missing of a ladder.

    Parameters
    ----------
    n_workers : runs at once, each on one thread, and one GPU of CUDA_VISIBLE_DEVICES in turn

    Raises
    ------
    InputError
        A run failed, or `out` holds another ladder. The others keep their last checkpoints.
    """
    for package in ("torch", "timm"):
        if find_spec(package) is None:
            raise InputError(f"the package {package} is missing, with which a ladder trains; {extra_hint('train')}")
    sizes = prepare(ladder, out)
    every = list(cells(ladder))
    scratch = [run for cell in every if cell.arm == SCRATCH for run in searches(ladder, cell, sizes)]
    pretraining = list(pretrainings(ladder))
    pretrained = [run for cell in every if cell.arm != SCRATCH for run in searches(ladder, cell, sizes)]
    n_total = len(scratch) + len(pretraining) + len(pretrained) + len(every) * ladder.seeds
    with _Runs(out, n_workers, n_total, listener) as runs:
        for stage in (scratch, pretraining, pretrained):
            runs.finish(stage)
        rates = {cell: best_rate(ladder, out, cell) for cell in every}
        runs.finish([run for cell, rate in rates.items() if rate for run in trials(ladder, cell, sizes, rate)])


def prepare(ladder: Ladder, out: Path) -> Sizes:
    """Write the ladder, the specs and the subsets of the targets.

    A folder resumes its own ladder; only `seeds` may change. So all that may be wrong is found before
    anything is written.

    Returns
    -------
    Number of images to train on, by target and number of labels of a class

    Raises
    ------
    InputError
        The folder holds another ladder, or an image, a category or a setting is missing or wrong.
    """
    mapping = ladder.model_dump(mode="json")
    path = out / LADDER
    if path.exists():
        line = difference({**open_ladder(out).model_dump(mode="json"), "seeds": ladder.seeds}, mapping)
        if line:
            raise InputError(f"`{out}` holds another ladder: {line}; name another folder")
    sources = {name: _opened(name, target) for name, target in ladder.targets.items()}
    sizes = {(name, n): size for name, (_, sizes) in sources.items() for n, size in sizes.items()}
    for cell in cells(ladder):
        searches(ladder, cell, sizes)
    specs = {rung: ladder.spec_of(rung) for rung in ladder.rungs}
    for spec in specs.values():
        find_categories(spec)  # into the cache, before several runs would search at once
    write_file(path, yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True).encode())
    for rung, spec in specs.items():
        write_file(out / data_path(rung), yaml.safe_dump(spec.to_mapping(), sort_keys=False).encode())
    for name, (source, _) in sources.items():
        make_subsets(source, ladder.seeds, out / "targets" / name)
    return sizes


def _opened(name: str, target: Target) -> tuple[Source, dict[Labels, int]]:
    """Return a target's images and sizes; errors name it."""
    try:
        source = open_target(target)
        return source, subset_sizes(source)
    except InputError as error:
        raise InputError(f"target `{name}`: {error}") from None


def made_sizes(ladder: Ladder, out: Path) -> Sizes:
    """Return the sizes of the subsets that a ladder's folder holds."""
    return {
        (name, labels): count_train(out / "targets" / name / str(labels) / "seed-0")
        for name, target in ladder.targets.items()
        for labels in target.labels
    }


def best_rate(ladder: Ladder, out: Path, cell: Cell) -> float | None:
    """Return the learning rate with the best top-1 on held-out images.

    Of equal ones, the lowest. None if one is not finished.
    """
    scores = {}
    for rate in sorted(ladder.transfer[cell.kind].rates):
        if (top1 := read_result(out / cell.search_path(rate))) is None:
            return None
        scores[rate] = top1
    return max(scores, key=scores.__getitem__)


class _Runs:
    """Runs side by side, each a process of the trainer."""

    def __init__(self, out: Path, n_workers: int, n_total: int, listener: Listener) -> None:
        self.out, self.listener, self.n_total = out, listener, n_total
        self.pool = ThreadPoolExecutor(n_workers)
        self.processes: set[subprocess.Popen[bytes]] = set()
        self.lock, self.is_stopping = threading.Lock(), False
        gpus = os.environ.get(_GPUS, "").split(",")
        self.gpus: queue.SimpleQueue[str] = queue.SimpleQueue()
        for number in range(n_workers):
            self.gpus.put(gpus[number % len(gpus)])

    def __enter__(self) -> _Runs:
        n_done = len(list(self.out.glob(f"**/{RESULT}")))
        self.listener(Started("train", self.out.name, "runs", self.n_total, min(n_done, self.n_total)))
        return self

    def __exit__(self, *error: object) -> None:
        """Let each live run write its checkpoint and end."""
        with self.lock:
            self.is_stopping = True
            for process in self.processes:
                process.terminate()
        self.pool.shutdown(cancel_futures=True)
        self.listener(Finished("train"))

    def finish(self, runs: Sequence[Run]) -> None:
        """Run those that have no result; tidy the others."""
        missing = [run for run in runs if read_result(self.out / run.path) is None]
        for run in {*runs}.difference(missing):  # their command may have been killed before it did
            _delete_leftovers(self.out / run.path, run.keeps_weights)
        for future in as_completed([self.pool.submit(self._run, run) for run in missing]):
            self.listener(Advanced(1, future.result()))

    def _run(self, run: Run) -> str:
        """Run, write the result, and return the run's path."""
        folder = self.out / run.path
        make_folder(folder)
        (folder / _STDERR).unlink(missing_ok=True)
        with (folder / _STDERR).open("xb") as errors, self._started(run, errors) as process:
            status = process.wait()
        if status:
            reason = _last_line(folder / _STDERR) if status > 0 else f"killed by signal {-status}"
            raise InputError(f"{run.path} failed: {reason}; finished runs are kept")
        write_result(self.out, run)
        return run.path

    @contextmanager
    def _started(self, run: Run, errors: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Start a run, unless this is the end."""
        gpu = self.gpus.get()
        environment = {**os.environ, **ENVIRONMENT, **({_GPUS: gpu} if gpu else {})}
        try:
            with self.lock:
                if self.is_stopping:
                    raise InputError(f"{run.path} was not started")
                process = subprocess.Popen(
                    [sys.executable, *(_ENDING_WITH_PARENT if sys.platform == "linux" else ()), *run.arguments],
                    cwd=self.out, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                )  # fmt: skip
                self.processes.add(process)
            yield process
            with self.lock:
                self.processes.discard(process)
        finally:
            self.gpus.put(gpu)


def _last_line(path: Path) -> str:
    """Return the last line of what a run printed."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").split("\n")
    line = next((line for line in reversed(lines) if line.strip()), "it printed nothing").removeprefix("trainer: ")
    return f"{line}; {extra_hint('train')}" if line.startswith("ModuleNotFoundError") else line


def _top1(path: Path) -> float:
    """Return the top-1 of a run's last validation, %."""
    records = [json.loads(line) for line in read_bounded(path, _MAX_LOG_BYTES).splitlines()]
    return float([record["top1"] for record in records if record["kind"] == "validation"][-1])
