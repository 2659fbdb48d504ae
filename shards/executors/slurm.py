"""The Slurm script: a job array that bakes, and a job that follows it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from fdsl.primitives.errors import InputError

MAX_PARTS = 1000
"""Largest index of a job array, unless the cluster's `MaxArraySize` is above its default."""

_RESERVED = ("--array", "-a", "--dependency", "-d")


@dataclass(frozen=True)
class SlurmBake:
    """A bake by Slurm jobs.

    Attributes
    ----------
    command : words that start `fdsl` from any folder
    name : name of the dataset
    spec : a preset, or the absolute path of a YAML file
    out : the absolute path of a folder, or a URL
    n_parts : number of equal parts into which the shards are divided
    n_workers : number of processes of each task
    n_rounds : how often missing shards may be submitted, now included
    options : options for sbatch; they take precedence over ours

    Raises
    ------
    InputError
        `options` contains one that the script needs for itself.
    """

    command: tuple[str, ...]
    name: str
    spec: str
    out: str
    n_parts: int
    n_workers: int
    n_rounds: int
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option in self.options:
            if option.startswith(_RESERVED):
                raise InputError(f"option `{option}` of sbatch is set by `fdsl slurm`; remove it")

    def script(self, parts: Iterable[int]) -> str:
        """Return the bash script that submits some parts.

        Without parts, it writes the index.

        Parameters
        ----------
        parts : numbers of parts, from 1, in ascending order
        """
        bake = [*self.command, "bake", self.spec, "-o", self.out]
        if not (numbers := list(parts)):
            return _INDEX.format(name=self.name, bake=shlex.join([*bake, "--workers", str(self.n_workers)]))
        task = f'{shlex.join(bake)} --part "$SLURM_ARRAY_TASK_ID/{self.n_parts}" --workers "$SLURM_CPUS_PER_TASK"'
        return _ROUND.format(
            name=self.name,
            n=len(numbers),
            n_parts=self.n_parts,
            n_workers=self.n_workers,
            array=array_indices(numbers),
            options=f"{shlex.join(self.options)} " if self.options else "",
            task=shlex.quote(f"exec {task}"),
            next=shlex.quote(f"exec {shlex.join(self._next_round())}"),
        )

    def _next_round(self) -> list[str]:
        """Return the words of the command that submits what this round leaves."""
        words = [*self.command, "slurm", self.spec, "-o", self.out, "--parts", str(self.n_parts)]
        words += ["--workers", str(self.n_workers), "--rounds", str(self.n_rounds - 1), "--submit"]
        return [*words, "--", *self.options] if self.options else words


_ROUND = """\
#!/bin/bash
# Bakes {name}: {n} of {n_parts} parts have missing shards. A second job then submits what is missing, or writes the index.
set -euo pipefail
mkdir -p slurm-{name}
bakes=$(sbatch --parsable --job-name={name} --cpus-per-task={n_workers} --requeue --open-mode=append \\
    --output=slurm-{name}/%A_%a.log {options}--array={array} \\
    --wrap={task})
bakes=${{bakes%%;*}}
trap 'scancel "$bakes"' ERR
echo "submitted job array $bakes: {n} of {n_parts} parts"
sbatch --job-name={name}-next --open-mode=append \\
    --output=slurm-{name}/next-%j.log {options}--dependency="afterany:$bakes" \\
    --wrap={next}
"""

_INDEX = """\
#!/bin/bash
# No shard of {name} is missing: writes the index.
exec {bake}
"""


def array_indices(numbers: Iterable[int]) -> str:
    """Return ascending numbers as the value of --array: "3,17,42-50"."""
    runs = (list(run) for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]))
    return ",".join(f"{run[0][1]}-{run[-1][1]}" if len(run) > 1 else str(run[0][1]) for run in runs)


def submit(script: str) -> None:
    """Run a script.

    Raises
    ------
    InputError
        This machine has no sbatch.
    ChildProcessError
        The script failed. It has printed why.
    """
    if shutil.which("sbatch") is None:
        raise InputError("--submit needs sbatch, which is not installed here; use a login node of the cluster")
    status = subprocess.run(["bash"], input=script, encoding="utf-8", errors="surrogateescape", check=False).returncode
    if status:
        raise ChildProcessError(f"the script failed with exit code {status}; the lines above say why")
