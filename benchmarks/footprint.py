"""How long the commands take to begin, and how much memory a bake takes, seen from outside; Linux only, from /proc.

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
from outputs import PERFORMANCE, say_on_page, tar_folder

from shards import sample_categories
from shards.directory import write_table
from shards.spec import parse_spec, presets

FDSL = Path(sys.executable).with_name("fdsl")
_STARTS = 5
_POLL_S = 0.01
_MIB = 1024.0


@dataclass
class Seen:
    """What was seen of a command while it ran: seconds, and the memory of each of its processes in MiB, again and again."""

    seconds: float
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


def watch(*arguments: object, environment: dict[str, str] | None = None, workers: bool = False) -> Seen:
    """Run `fdsl` and return what was seen of it; with `workers`, of its child processes too.

    pandas, which the test tools bring along and pyarrow would import, is hidden: who only bakes does not have it.
    """
    environment = {"PYTHONPATH": str(Path(__file__).parent / "without"), **(environment or {})}
    start = time.perf_counter()
    with subprocess.Popen(
        [FDSL, *map(str, arguments)], env={**os.environ, **environment}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        seen = Seen(0.0)
        while process.poll() is None:
            if memory := _status(process.pid).get("VmRSS"):
                seen.parent.append(int(memory) / _MIB)
            for child in _children(process.pid) if workers else ():
                if memory := _status(child).get("VmRSS"):
                    seen.workers[child].append(int(memory) / _MIB)
            time.sleep(_POLL_S)
    seen.seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"fdsl {' '.join(map(str, arguments))}: exit status {process.returncode}")
    return seen


def _seconds(run: Callable[[], Seen], times: int = _STARTS) -> float:
    return median(run().seconds for _ in range(times))


def starts(folder: Path) -> Iterator[str]:
    """Yield a line for each command whose beginning a person waits for."""
    sheet = ("preview", "quickstart-exfractal", "--categories", 1, "--instances", 1, "-o", folder / "sheet.png")
    yield f"{'fdsl -h':<52}{_seconds(lambda: watch('-h')):8.2f} s"
    cold = _seconds(lambda: watch(*sheet, environment={"NUMBA_CACHE_DIR": tempfile.mkdtemp(dir=folder)}), times=1)
    yield f"{'first image, nothing compiled yet':<52}{cold:8.2f} s"
    yield f"{'first image, kernels in the cache':<52}{_seconds(lambda: watch(*sheet)):8.2f} s"
    plan = watch("plan", "exfractaldb-21k")
    yield f"{'fdsl plan exfractaldb-21k':<52}{plan.seconds:8.2f} s{max(plan.parent):8.0f} MiB"


def large_bake(family: str, folder: Path) -> str:
    """Return a line about the memory of two workers that bake four shards of 21,000 categories."""
    name = {"exfractal": "exfractaldb-21k", "rcdb": "rcdb-21k"}[family]
    mapping = yaml.safe_load(presets()[name])
    few = sample_categories(parse_spec({**mapping, "categories": 100}), 1).table
    table = pa.concat_tables([few] * (mapping["categories"] // 100))
    numbers = pa.array(range(table.num_rows), pa.int32())
    table = table.set_column(0, table.schema.field(0), numbers).replace_schema_metadata(few.schema.metadata)
    write_table(folder / f"{family}.parquet", table)
    source = folder / f"{family}.yaml"
    source.write_text(yaml.safe_dump({**mapping, "shards": {"samples": 2000}}))
    arguments = ("--categories-from", folder / f"{family}.parquet", "--shards", "0:4", "--workers", 2)
    seen = watch("bake", source, "-o", folder / family, *arguments, workers=True)
    worker = max(max(each) for each in seen.workers.values())
    return f"{f'{name}, four shards: parent, largest worker':<52}{max(seen.parent):8.0f} MiB{worker:8.0f} MiB"


def many_shards(folder: Path) -> str:
    """Return a line about the parent's memory while 2,100 shards are baked."""
    source = folder / "many.yaml"
    tiny = {"image": {"size": 16}, "params": {"points": 100}, "shards": {"samples": 1}}
    source.write_text(
        yaml.safe_dump({"name": "many", "family": "exfractal", "categories": 100, "instances": {"train": 21}, **tiny})
    )
    seen = watch("bake", source, "-o", folder / "many", "--workers", 2, workers=True).parent
    early, late = (median(seen[int(share * len(seen)) :][:20]) for share in (0.4, 0.9))
    return f"{'2,100 shards: parent in the midst, near the end':<52}{early:8.0f} MiB{late:8.0f} MiB"


def main() -> None:
    """Measure, print, and put it into the page about performance."""
    with tempfile.TemporaryDirectory(prefix="fdsl-bench-", dir=tar_folder()[0]) as name:
        folder = Path(name)
        lines = [
            *starts(folder),
            *(large_bake(family, folder) for family in ("exfractal", "rcdb")),
            many_shards(folder),
        ]
    print(*lines, sep="\n")
    say_on_page(PERFORMANCE, "footprint", lines)


if __name__ == "__main__":
    main()
