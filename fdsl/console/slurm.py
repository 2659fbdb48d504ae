"""The script of `fdsl slurm`."""

from __future__ import annotations

from pathlib import Path

import click

from fdsl.console.exits import say
from fdsl.console.process import own_command
from fdsl.console.results import missing_line
from fdsl.dataset.plan import part_of, plan_shards
from fdsl.dataset.sources import presets
from fdsl.dataset.spec import Spec
from fdsl.reports.estimate import choose_parts, estimate
from shards.directory import Directory
from shards.executors.slurm import MAX_PARTS, SlurmBake
from shards.layout import SPEC


def require_parts(spec: Spec, n_parts: int) -> None:
    """Refuse more parts than shards; warn of large arrays."""
    n_shards = len(plan_shards(spec))
    if n_parts > n_shards:
        raise click.UsageError(f"--parts (={n_parts}) must be at most {n_shards:,}, the number of shards")
    if n_parts > MAX_PARTS:
        say(
            f"note: --parts {n_parts} needs `MaxArraySize` above {n_parts} in slurm.conf; the default is 1001", err=True
        )


def slurm_script(
    directory: Directory, source: str, out: Path | str, n_parts: int | None, n_workers: int, n_rounds: int,
    options: tuple[str, ...],
) -> str:  # fmt: skip
    """Return the script that submits the missing shards of a prepared directory.

    Parameters
    ----------
    source : SPEC of the command
    n_parts : number of parts; by default such that each takes about ten minutes
    n_workers, n_rounds, options : see `SlurmBake`

    Raises
    ------
    ClickException
        Shards are missing and `n_rounds` is 0.
    """
    planned = plan_shards(directory.spec)
    done = directory.all_finished(planned)
    missing = [position for position, shard in enumerate(planned) if shard not in done]
    if missing and not n_rounds:
        raise click.ClickException(missing_line(out, [planned[position].name for position in missing]))
    n_parts = n_parts or choose_parts(estimate(directory.spec, directory.dataset.table), n_workers)
    bake = SlurmBake(
        command=own_command(),
        name=directory.spec.name,
        spec=_shared_spec(source, out),
        out=str(out.absolute() if isinstance(out, Path) else out),
        n_parts=n_parts,
        n_workers=n_workers,
        n_rounds=n_rounds,
        options=options,
    )
    return bake.script(sorted({part_of(position, len(planned), n_parts) for position in missing}))


def _shared_spec(source: str, out: Path | str) -> str:
    """Return the SPEC of the tasks.

    That of a prepared folder: a node that does not see the folder fails at once, instead of baking a folder of its own.
    """
    if isinstance(out, Path):
        return str(out.absolute() / SPEC)
    return source if source in presets() else str(Path(source).absolute())
