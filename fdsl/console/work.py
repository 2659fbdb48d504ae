"""The executor and the progress display of a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fdsl.console.options import opened_log

if TYPE_CHECKING:
    from fdsl.console.progress import Progress
    from shards.executors.contract import Executor


@dataclass(frozen=True)
class Job:
    """The executor and the progress display of a command."""

    executor: Executor
    progress: Progress


@contextmanager
def job(
    workers: int | None, quiet: bool, log_json: Path | None, *outputs: Path | str | None,
    executor: str = "local", scheduler: str | None = None,
) -> Iterator[Job]:  # fmt: skip
    """Open the progress and the log, and choose the executor.

    Parameters
    ----------
    outputs : places where the log must not be
    """
    from fdsl.console.progress import Progress

    with opened_log(log_json, *outputs) as log, Progress(quiet, log) as progress:
        yield Job(_executor(executor, workers, scheduler, progress), progress)


def _executor(name: str, workers: int | None, scheduler: str | None, progress: Progress) -> Executor:
    from shards.executors.dask import DaskExecutor
    from shards.executors.local import LocalExecutor

    if (name == "dask") != (scheduler is not None):
        raise click.UsageError("--executor dask and --scheduler ADDRESS go together")
    if scheduler is None:
        return LocalExecutor(workers, progress)
    if workers is not None:
        raise click.UsageError("--workers goes with --executor local; a Dask cluster has its own workers")
    return DaskExecutor(scheduler)
