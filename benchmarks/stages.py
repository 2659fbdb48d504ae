"""Times the stages of a shard.

Puts clocks around functions that the real `bake_shard` calls.
"""

from __future__ import annotations

import hashlib
import importlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import process_time
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from ours import Ours

T = TypeVar("T")

Place = tuple[str, str]
"""A module and the name in it, which may have a dot, by which a function is called."""

_PACKING: dict[str, list[Place]] = {
    "PNG: pack, deflate, chunks": [("shards.png", "encode")],
    "tar, hashes": [("shards.tar", "TarWriter.add"), ("shards.tar", "TarWriter.close")],
}

_RENDERING: dict[str, dict[str, list[Place]]] = {
    "exfractal": {
        "random words": [("fdsl.primitives.streams", "philox4x32")],
        "choose maps": [("exfractal.kernels", "choose_maps")],
        "iterate": [("exfractal.attractors", "play")],
        "project, plot": [("exfractal.render", "project")],
        "weight, view, arrays": [("exfractal.render", "_render_few")],
    },
    "rcdb": {
        "random words": [("fdsl.primitives.streams", "philox4x32")],
        "noise, geometry": [("rcdb.kernels", "grow_contours")],
        "lines": [("rcdb.render", "draw_polygons")],
        "parameters, arrays, white": [("rcdb.render", "_draw_variant"), ("rcdb.render", "_draw_image")],
    },
}
"""Stages of rendering by family, in the order of the work. Without an entry, rendering is part of REST."""

PARQUET = "samples parquet"
REST = "plan, names, files"


class Stopwatch:
    """Adds up CPU time by stage, without the clock's own cost.

    Attributes
    ----------
    seconds : by stage
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._within = self._inside_s = self._around_s = 0.0
        self._calibrate()

    def _calibrate(self, n: int = 2000) -> None:
        """Measure the cost of clocking a call.

        One part falls between the two readings of the clock, the other around them.
        """
        empty = self.clocked(lambda: None, "")
        start = process_time()
        for _ in range(n):
            empty()
        whole = (process_time() - start) / n
        self._inside_s = self.seconds.pop("") / n
        self._around_s = whole - self._inside_s
        self._within = 0.0

    def clocked(self, function: Callable[..., T], stage: str) -> Callable[..., T]:
        """Return a function that adds its time to a stage.

        Time in other clocked functions that it calls is left out.
        """
        self.seconds[stage] = 0.0

        def timed(*arguments: Any) -> T:
            outside, self._within = self._within, 0.0
            start = process_time()
            result = function(*arguments)
            spent = process_time() - start
            self.seconds[stage] += spent - self._inside_s - self._within
            self._within = outside + spent + self._around_s
            return result

        return timed


@contextmanager
def clocks(family: str) -> Iterator[Stopwatch]:
    """Clock the functions of a family's stages within the block."""
    watch = Stopwatch()
    replaced = []
    try:
        for stage, places in {**_RENDERING.get(family, {}), **_PACKING}.items():
            for module, path in places:
                *owners, name = path.split(".")
                owner: Any = importlib.import_module(module)
                for part in owners:
                    owner = getattr(owner, part)
                replaced.append((owner, name, getattr(owner, name)))
                setattr(owner, name, watch.clocked(getattr(owner, name), stage))
        yield watch
    finally:
        for owner, name, function in reversed(replaced):
            setattr(owner, name, function)


def _write_samples(ours: Ours) -> float:
    """Write the table of a baked shard again; return CPU seconds.

    Raises
    ------
    RuntimeError
        The bytes are not those of the baked table, so `bake_shard` writes it differently.
    """
    path = ours.samples
    baked = path.read_bytes()
    table = pq.read_table(pa.BufferReader(baked))
    columns, schema = table.to_pydict(), table.schema
    start = process_time()
    copy = pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema})
    file = io.BytesIO()
    pq.write_table(copy, file, compression="zstd")
    hashlib.sha256(file.getbuffer())
    seconds = process_time() - start
    if file.getvalue() != baked:
        raise RuntimeError(f"{path}: `bake_shard` writes this table differently; adapt `_write_samples`")
    return seconds


def stage_seconds(ours: Ours) -> dict[str, float]:
    """Bake a shard; return seconds per image of each stage."""
    with clocks(ours.directory.spec.family) as watch:
        ours.bake()
    seconds = {**watch.seconds, PARQUET: _write_samples(ours)}
    return {stage: spent / ours.shard.n_samples for stage, spent in seconds.items()}
