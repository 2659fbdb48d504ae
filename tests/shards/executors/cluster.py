"""A Dask cluster of real processes on the loopback device."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.processes import descendants, kill_all, wait_for

if TYPE_CHECKING:
    from distributed import Client

ROOT = Path(__file__).parents[3]
IS_INSTALLED = find_spec("distributed") is not None
ABSENT = "dask is not installed"
ENVIRONMENT = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
"""A task is given up after two deaths, not four: it takes seconds until a worker is back."""

FOREVER = ("bash", "-c", 'while :; do "$@"; done', "supervisor")
"""Starts a command again whenever it ends."""


@contextmanager
def dask_config(**values: Any) -> Iterator[None]:
    """Change Dask's configuration for a block; two underscores stand for a dot."""
    import dask
    import distributed  # noqa: F401 - its defaults would be lost at the end if they were loaded in the block

    with dask.config.set({name.replace("__", "."): value for name, value in values.items()}):
        yield


class Cluster:
    """A scheduler and workers, each a process with its own log in a folder.

    Parameters
    ----------
    folder : for logs and the workers' files
    host : address to listen at
    options : of scheduler and workers, such as certificates
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1", options: Sequence[str] = ()) -> None:
        self.folder, self.host, self.options = folder, host, options
        self.port = 0
        self.address = ""
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        folder.mkdir(exist_ok=True)

    def start_scheduler(self, protocol: str = "tcp", prefix: Sequence[str] = ()) -> None:
        """Start the scheduler, at the port that it had before; wait until it listens."""
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        self.scheduler = self._start(
            "scheduler", "--host", self.host, "--port", str(self.port), "--no-dashboard", "--scheduler-file", str(file),
            "--protocol", protocol, prefix=prefix,
        )  # fmt: skip
        wait_for(lambda: file.exists() and file.read_text().endswith("}"))
        self.address = json.loads(file.read_text())["address"]
        self.port = int(self.address.rpartition(":")[2])

    def start_worker(
        self, *options: str, prefix: Sequence[str] = (), flags: Sequence[str] = (), python_path: Path | str = ROOT
    ) -> subprocess.Popen[bytes]:
        """Start a nanny and its worker.

        Parameters
        ----------
        flags : of Python
        python_path : where the worker finds modules before the installed ones
        """
        worker = self._start(
            "worker", self.address, "--nthreads", "1", "--no-dashboard", "--local-directory", str(self.folder),
            "--memory-limit", "0", *options,
            prefix=prefix, flags=flags, python_path=python_path,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def _start(
        self,
        kind: str,
        *arguments: str,
        prefix: Sequence[str],
        flags: Sequence[str] = (),
        python_path: Path | str = ROOT,
    ) -> subprocess.Popen[bytes]:
        command = [*prefix, sys.executable, *flags, "-m", f"distributed.cli.dask_{kind}", *arguments, *self.options]
        environment = {**os.environ, "PYTHONPATH": str(python_path), **ENVIRONMENT}
        with (self.folder / f"{kind}.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)

    def n_workers(self) -> int:
        """Return how many workers the scheduler knows."""
        with self._client() as client:
            return len(client.ncores())

    def n_tasks(self) -> int:
        """Return how many tasks the scheduler knows."""
        with self._client() as client:
            n: int = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
            return n

    def _client(self) -> Client:
        from distributed import Client

        return Client(self.address, set_as_default=False)

    def kill_scheduler(self) -> None:
        """Kill the scheduler as a power cut does."""
        assert self.scheduler is not None
        self.scheduler.kill()
        self.scheduler.wait()

    def stop(self) -> None:
        """Kill all processes."""
        processes = [process for process in (self.scheduler, *self.workers) if process is not None]
        for process in processes:
            below = descendants(process.pid)
            process.send_signal(signal.SIGKILL)
            process.wait()
            kill_all(below)
