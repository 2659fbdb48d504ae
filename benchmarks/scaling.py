"""Measures bakes with more workers, and computes what very large datasets take.

    .venv/bin/python benchmarks/scaling.py           # a few minutes on two cores; `make bench-scaling` runs this

Each number of workers bakes the same dataset in turns, over several rounds. The workers are warm. The Dask workers and their
scheduler run on this machine. A rate is images per second of a whole `bake`, in wall time, so the ratios need an idle
machine: the block names the load that it found. CPU time and bytes per image of the large datasets are those of `make bench`.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import machine
import psutil
from distributed import LocalCluster
from outputs import RESULTS, SCALING, tar_folder, write_block
from simulation import cpu_seconds, dataset_of, peak_bytes, simulated_bake, worker_requests

from fdsl import DaskExecutor, Executor, LocalExecutor, Spec, bake, parse_spec, search_categories
from fdsl.dataset.families import FAMILIES

_ROUNDS = 3
_N_SHARDS = 16
_BAKE_S = 5.0
"""Approximate time of a bake with one worker."""
_N_CATEGORIES = 50
_DATASETS = ((21_000, 1_000), (100_000, 10_000))
"""Shards, and images per shard: 21,000,000 and 1,000,000,000 images."""
_NETWORK_BYTES_PER_S = 10e9 / 8
"""10 Gbit/s."""


@dataclass
class Measured:
    """Rounds of one family with some workers.

    Attributes
    ----------
    rates : images per second, wall time
    cpu_us : CPU time per image, us, of all processes
    """

    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)


def _spec(family: str, n_images: int) -> Spec:
    """Return a spec of the published size with about `n_images`."""
    train = max(1, n_images // _N_CATEGORIES)
    samples = -(-train * _N_CATEGORIES // _N_SHARDS)
    return parse_spec(
        {
            "name": "scaling",
            "family": family,
            "categories": _N_CATEGORIES,
            "instances": {"train": train},
            "shards": {"samples": samples},
        }
    )


def _cpu_seconds() -> float:
    """Return the CPU time of this process and its children so far."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _bake(spec: Spec, executor: Executor) -> tuple[float, float]:
    """Bake; return images per second, and CPU us per image."""
    categories = search_categories(spec).table
    with tempfile.TemporaryDirectory(prefix="fdsl-bench-", dir=tar_folder()[0]) as folder:
        cpu_s, start = _cpu_seconds(), time.perf_counter()
        done = bake(spec, Path(folder, "out"), categories=categories, executor=executor)
        seconds, cpu_s = time.perf_counter() - start, _cpu_seconds() - cpu_s
    return done.n_images / seconds, 1e6 * cpu_s / done.n_images


def measure(family: str, executors: dict[str, Executor]) -> dict[str, Measured]:
    """Return the rounds of each executor."""
    tiny = _spec(family, 50 * _N_CATEGORIES)
    for executor in executors.values():
        _, us = _bake(tiny, executor)
    spec = _spec(family, round(1e6 * _BAKE_S / us))
    measured = {name: Measured() for name in executors}
    for _ in range(_ROUNDS):
        for name, executor in executors.items():
            rate, us = _bake(spec, executor)
            measured[name].rates.append(rate)
            measured[name].cpu_us.append(us)
    return measured


def _rate_lines(family: str, measured: dict[str, Measured]) -> Iterator[str]:
    """Yield the rates of a family; ratios are medians over the rounds."""
    yield f"{FAMILIES[family].TITLE:28}{'images/s':>12}{'ratio':>8}{'CPU us/image':>16}"
    first = next(iter(measured.values())).rates
    for name, rounds in measured.items():
        ratio = median(rate / one for rate, one in zip(rounds.rates, first, strict=True))
        yield f"  {name:26}{median(rounds.rates):>12,.0f}{ratio:>8.2f}{median(rounds.cpu_us):>16,.0f}"


def _size_lines(cpu_us: Sequence[float], n_bytes: Sequence[float]) -> Iterator[str]:
    """Yield what large datasets take.

    Parameters
    ----------
    cpu_us, n_bytes : per image, by family
    """
    titles = "".join(f"{family.TITLE:>14}" for family in FAMILIES.values())
    for n_shards, images_per_shard in _DATASETS:
        n = n_shards * images_per_shard
        rows = {
            "core-hours": [n * us / 3.6e9 for us in cpu_us],
            "minutes on 1,000 cores": [n * us / 6e10 for us in cpu_us],
            "GB": [n * size / 1e9 for size in n_bytes],
            "MB of a shard": [images_per_shard * size / 1e6 for size in n_bytes],
        }
        yield ""
        yield f"{f'{n:,} images':28}{titles}"
        for label, numbers in rows.items():
            yield f"  {label:26}" + "".join(
                f"{number:>14.2g}" if number < 10 else f"{number:>14,.0f}" for number in numbers
            )
        yield from _command_lines(n_shards, images_per_shard)


def _command_lines(n_shards: int, images_per_shard: int) -> Iterator[str]:
    """Yield files, requests, and the cost of the command itself."""
    dataset = dataset_of(n_shards, images_per_shard)
    cpu, memory = simulated_bake(dataset, cpu_seconds), simulated_bake(dataset, peak_bytes)
    per_shard = worker_requests(dataset_of(100, 10).spec)
    total = {kind: n_shards * per_shard[kind] + cpu.requests[kind] for kind in ("PUT", "HEAD", "GET", "LIST")}
    yield f"  {f'{n_shards:,} shards of {images_per_shard:,}; {cpu.n_files:,} files or objects'}"
    yield "  requests to a bucket: " + ", ".join(f"{n:,} {kind}" for kind, n in total.items())
    yield f"  the command itself: {cpu.amount:,.0f} s of one core, {memory.amount / 1e6:,.0f} MB"


def _bottleneck_lines(cpu_us: Sequence[float], n_bytes: Sequence[float]) -> Iterator[str]:
    """Yield how many cores fill a network."""
    yield ""
    for family, us, size in zip(FAMILIES.values(), cpu_us, n_bytes, strict=True):
        per_core = size / us * 1e6
        yield (
            f"{family.TITLE}: a core writes {per_core / 1e6:,.0f} MB/s;"
            f" {_NETWORK_BYTES_PER_S / per_core:,.0f} cores fill 10 Gbit/s"
        )


def main() -> None:
    """Measure, print, and write the block of docs/scaling.md."""
    here, recorded = machine.describe("distributed"), json.loads((RESULTS / "all.json").read_text())["results"]
    lines = [
        f"{here['cpu']}, {here['cores']} cores, Python {here['python']}; tars on {tar_folder()[1]}",
        f"medians of {_ROUNDS} rounds in which the workers take turns; load of other programs {os.getloadavg()[0]:.1f}",
    ]
    cpu_us, n_bytes = ([recorded[family][key] for family in FAMILIES] for key in ("shard_us", "disk_bytes"))
    with ExitStack() as stack:
        cluster = stack.enter_context(
            LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0")
        )
        executors: dict[str, Executor] = {
            "1 local worker": LocalExecutor(1),
            "2 local workers": LocalExecutor(2),
            "2 Dask workers": DaskExecutor(cluster.scheduler_address),
        }
        for family in FAMILIES:
            lines += ["", *_rate_lines(family, measure(family, executors))]
    lines += [*_size_lines(cpu_us, n_bytes), *_bottleneck_lines(cpu_us, n_bytes)]
    print(*lines, sep="\n")
    write_block(SCALING, "scaling", lines)


if __name__ == "__main__":
    main()
