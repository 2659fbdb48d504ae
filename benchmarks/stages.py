"""Where the time of a shard goes: the real `bake_shard`, with clocks around the functions that its stages consist of."""

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

from shards.directory import Directory
from shards.plan import Shard

T = TypeVar("T")

Place = tuple[str, str]
"""A module and the name in it, which may have a dot, under which `bake_shard` finds a function."""

_PACKING: dict[str, list[Place]] = {
    "PNG: pack, deflate, chunks": [("shards.bake", "encode")],
    "tar, hashes": [("shards.tar", "TarWriter.add"), ("shards.tar", "TarWriter.close")],
}

STAGES: dict[str, dict[str, list[Place]]] = {
    "exfractal": {
        "random words": [("primitives.streams", "philox4x32")],
        "choose maps": [("exfractal.kernels", "choose_maps")],
        "iterate": [("exfractal.attractors", "play")],
        "project, plot": [("exfractal.render", "project")],
        "weight, view, arrays": [("exfractal.render", "_render_few")],
        **_PACKING,
    },
    "rcdb": {
        "random words": [("primitives.streams", "philox4x32")],
        "noise, geometry": [("rcdb.kernels", "grow_contours")],
        "lines": [("rcdb.render", "draw_polygons")],
        "parameters, arrays, white": [("rcdb.render", "render")],
        **_PACKING,
    },
}
"""Of each family, in the order of the work. A stage's time does not contain that of another stage within it."""

PARQUET = "samples parquet"
REST = "plan, names, files"


class Stopwatch:
    """Adds up process CPU time by stage, the clock's own cost taken off.

    seconds : by stage.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._within = self._inside_s = self._around_s = 0.0
        self._calibrate()

    def _calibrate(self, n: int = 2000) -> None:
        """Measure what a clocked call adds: inside its own two readings, and around them."""
        empty = self.clocked(lambda: None, "")
        start = process_time()
        for _ in range(n):
            empty()
        whole = (process_time() - start) / n
        self._inside_s = self.seconds.pop("") / n
        self._around_s = whole - self._inside_s
        self._within = 0.0

    def clocked(self, function: Callable[..., T], stage: str) -> Callable[..., T]:
        """Return a function that adds its time to a stage's, without what clocked functions within it take."""
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
    """Put clocks around the functions of a family's stages, and take them off again."""
    watch = Stopwatch()
    replaced = []
    try:
        for stage, places in STAGES[family].items():
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


def write_samples(directory: Directory, shard: Shard) -> float:
    """Make a baked shard's table of parameters once more; return the seconds of process CPU time.

    Raises
    ------
    RuntimeError
        The bytes are not those of the baked table: `bake_shard` writes it in another way than this function.
    """
    baked = directory.samples(shard).read_bytes()
    table = pq.read_table(pa.BufferReader(baked))
    columns, schema = table.to_pydict(), table.schema
    start = process_time()
    again = pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema})
    file = io.BytesIO()
    pq.write_table(again, file, compression="zstd")
    hashlib.sha256(file.getbuffer())
    seconds = process_time() - start
    if file.getvalue() != baked:
        raise RuntimeError(f"{directory.samples(shard)}: `bake_shard` writes it in another way; adapt `write_samples`")
    return seconds
