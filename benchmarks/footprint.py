"""Measures start-up time and memory of the command.

Reads /proc, so it needs Linux.

.venv/bin/python benchmarks/footprint.py        # about a minute; `make bench` runs this too
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pyarrow as pa
import yaml
from outputs import PERFORMANCE, tar_folder, write_block

from fdsl import Spec, load_spec, presets, search_categories
from fdsl.dataset.families import FAMILIES
from shards.files import parquet_bytes, write_file

FDSL = Path(sys.executable).with_name("fdsl")
_HIDE_PANDAS = str(Path(__file__).parent / "without")
_STARTS = 5
_POLL_S = 0.01
_MIB = 1024.0


@dataclass
class Run:
    """What was measured while a command ran.

    Attributes
    ----------
    seconds : wall time
    parent : MiB of the command's process, at each poll
    workers : MiB of each child process, at each poll, by process id
    """

    seconds: float = 0.0
    parent: list[float] = field(default_factory=list)
    workers: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))


def _status(pid: int) -> dict[str, str]:
    try:
        return dict(re.findall(r"(\w+):\s+(\d+)", Path(f"/proc/{pid}/status").read_text()))
    except (FileNotFoundError, ProcessLookupError):
        return {}


def _children(pid: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        if _status(int(entry.name)).get("PPid") == str(pid):
            yield int(entry.name)


def watch(*arguments: object, environment: dict[str, str] | None = None, with_workers: bool = False) -> Run:
    """Run `fdsl` and measure it.

    pandas is hidden. The test tools install it and pyarrow would import it; a user who only bakes does not have it.
    """
    search_path = os.pathsep.join([_HIDE_PANDAS, *filter(None, [os.environ.get("PYTHONPATH")])])
    start = time.perf_counter()
    with subprocess.Popen(
        [FDSL, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": search_path, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        run = Run()
        while process.poll() is None:
            if memory := _status(process.pid).get("VmRSS"):
                run.parent.append(int(memory) / _MIB)
            for child in _children(process.pid) if with_workers else ():
                if memory := _status(child).get("VmRSS"):
                    run.workers[child].append(int(memory) / _MIB)
            time.sleep(_POLL_S)
    run.seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"fdsl {' '.join(map(str, arguments))}: exit status {process.returncode}")
    return run


def _seconds(run: Callable[[], Run], times: int = _STARTS) -> float:
    return median(run().seconds for _ in range(times))


def _start_lines(folder: Path) -> Iterator[str]:
    """Yield a line on the start-up time of each command."""
    sheet = ("preview", "quickstart-exfractal", "--categories", 1, "--instances", 1, "-o", folder / "sheet.png")
    yield f"{'fdsl -h':<52}{_seconds(lambda: watch('-h')):8.2f} s"
    cold = _seconds(lambda: watch(*sheet, environment={"NUMBA_CACHE_DIR": tempfile.mkdtemp(dir=folder)}), times=1)
    yield f"{'first image, nothing compiled yet':<52}{cold:8.2f} s"
    yield f"{'first image, kernels in the cache':<52}{_seconds(lambda: watch(*sheet)):8.2f} s"
    plan = watch("plan", "exfractaldb-21k")
    yield f"{'fdsl plan exfractaldb-21k':<52}{plan.seconds:8.2f} s{max(plan.parent):8.0f} MiB"


def _largest_preset(family: str) -> Spec:
    """Return the preset of a family with the most categories."""
    specs = [load_spec(name) for name in presets()]
    return max((spec for spec in specs if spec.family == family), key=lambda spec: spec.categories)


def _repeated_table(spec: Spec, n_distinct: int = 100) -> pa.Table:
    """Return a table that repeats a few categories.

    A real one would take minutes to find.
    """
    few = search_categories(spec.replace(categories=n_distinct)).table
    table = pa.concat_tables([few] * -(-spec.categories // n_distinct)).slice(0, spec.categories)
    numbers = pa.array(range(table.num_rows), pa.int32())
    return table.set_column(0, table.schema.field(0), numbers).replace_schema_metadata(few.schema.metadata)


def _large_bake_line(family: str, folder: Path) -> str:
    """Return a line on the memory of a large bake."""
    spec = _largest_preset(family).replace(shards={"samples": 2000})
    table, source = folder / f"{family}.parquet", folder / f"{family}.yaml"
    write_file(table, parquet_bytes(_repeated_table(spec)))
    source.write_text(yaml.safe_dump(spec.to_mapping()))
    arguments = ("--categories-from", table, "--shards", "0:4", "--workers", 2)
    run = watch("bake", source, "-o", folder / family, *arguments, with_workers=True)
    worker = max(max(of_worker) for of_worker in run.workers.values())
    return f"{f'{spec.name}, four shards: parent, largest worker':<52}{max(run.parent):8.0f} MiB{worker:8.0f} MiB"


def _many_shards_line(folder: Path) -> str:
    """Return a line on the parent's memory while 2,100 shards are baked."""
    source = folder / "many.yaml"
    tiny = {"image": {"size": 16}, "params": {"points": 100}, "shards": {"samples": 1}}
    source.write_text(
        yaml.safe_dump({"name": "many", "family": "exfractal", "categories": 100, "instances": {"train": 21}, **tiny})
    )
    memory = watch("bake", source, "-o", folder / "many", "--workers", 2, with_workers=True).parent
    middle, end = (median(memory[int(share * len(memory)) :][:20]) for share in (0.4, 0.9))
    return f"{'2,100 shards: parent in the middle, near the end':<52}{middle:8.0f} MiB{end:8.0f} MiB"


def main() -> None:
    """Measure, print, and write the block of docs/performance.md."""
    with tempfile.TemporaryDirectory(prefix="fdsl-bench-", dir=tar_folder()[0]) as name:
        folder = Path(name)
        lines = [
            *_start_lines(folder),
            *(_large_bake_line(family, folder) for family in FAMILIES),
            _many_shards_line(folder),
        ]
    print(*lines, sep="\n")
    write_block(PERFORMANCE, "footprint", lines)


if __name__ == "__main__":
    main()
