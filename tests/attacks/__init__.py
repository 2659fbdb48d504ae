"""Hostile inputs, and what a command must not do with them.

    python -m tests.attacks [WORD ...]

runs every kind of attack, or those whose name contains a word, and prints a line for each. The tests do the same. A kind is a
function with the decorator `attack`, in a module of this folder. Where many differ in a word, `register` adds each.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import NamedTuple

from fdsl import LocalExecutor, bake, parse_spec

ROOT = Path(__file__).parents[2]
MEMORY_BYTES = 2**31
"""Address space of a process. One that meets nothing hostile, and starts no others, needs half of it."""
CPU_S = 60
"""Processor time of a command. One that meets nothing hostile needs 2 s."""
MAX_CHARACTERS = 2500
"""Of a command's last line."""


class Attack(NamedTuple):
    """What a victim runs in the folder with the hostile input.

    Attributes
    ----------
    command : program and arguments
    says : a part of what the command must answer
    is_harmless : whether the command succeeds, because only the intent of the input is wrong
    folder : where it runs, relative to the folder of the input
    writes : entry of the folder that it may write
    memory_bytes : address space of each process
    """

    command: tuple[str, ...]
    says: str
    is_harmless: bool = False
    folder: str = "."
    writes: str = ""
    memory_bytes: int = MEMORY_BYTES


Kind = Callable[[Path], Attack]
"""Makes the hostile input in an empty folder."""

KINDS: dict[str, Kind] = {}


def register(name: str, kind: Kind) -> None:
    """Add a kind of attack."""
    assert name not in KINDS
    KINDS[name] = kind


def attack(kind: Kind) -> Kind:
    """Add a kind of attack under the name of its function."""
    register(kind.__name__, kind)
    return kind


def fdsl(*arguments: str) -> tuple[str, ...]:
    """Return the command `fdsl` of this source."""
    return (sys.executable, str(ROOT / "cli.py"), *arguments)


@cache
def _baked() -> Path:
    """Bake a small dataset, once per process."""
    holder = tempfile.TemporaryDirectory()
    _KEPT.append(holder)
    bake(parse_spec(MAPPING), Path(holder.name, "out"), executor=LocalExecutor(1))
    return Path(holder.name, "out")


MAPPING = {
    "name": "attacked",
    "family": "rcdb",
    "categories": 3,
    "instances": {"train": 4, "validation": 2},
    "image": {"size": 32},
    "shards": {"samples": 6},
    "params": {"vertices": [3, 9], "contours": [1, 5]},
}
_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def dataset(folder: Path) -> Path:
    """Copy a small baked dataset to `out` in a folder: 18 images in 3 shards."""
    return Path(shutil.copytree(_baked(), folder / "out"))


def _entries(folder: Path, without: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of everything in a folder."""
    paths = [path for path in folder.rglob("*") if path != without and without not in path.parents]
    stats = {path: path.lstat() for path in paths}
    return {str(path): (stat.st_size, 0 if path.is_dir() else stat.st_mtime_ns) for path, stat in stats.items()}


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def faults(kind: Kind) -> list[str]:
    """Carry out an attack; return what the command did that it must not do."""
    with tempfile.TemporaryDirectory() as home:
        place = Path(home, "a", "b")
        place.mkdir(parents=True)
        plan = kind(place)
        before = _entries(Path(home), place / (plan.writes or "nothing"))
        done = subprocess.run(
            plan.command, cwd=place / plan.folder, preexec_fn=partial(_limit, plan.memory_bytes),
            capture_output=True, text=True, errors="replace",
            env={**os.environ, "HOME": home, "PYTHONPATH": f"{ROOT / 'benchmarks' / 'without'}{os.pathsep}{ROOT}"},
        )  # fmt: skip
        after = _entries(Path(home), place / (plan.writes or "nothing"))
    return [*_answer_faults(plan, done), *(["it wrote or deleted files"] if before != after else [])]


def _answer_faults(plan: Attack, done: subprocess.CompletedProcess[str]) -> list[str]:
    answer = f"{done.stdout}\n{done.stderr}"
    last = ([*done.stderr.splitlines(), ""] if plan.is_harmless else done.stderr.splitlines() or [""])[-1]
    rules = {
        f"killed by signal {-done.returncode}": done.returncode >= 0,
        f"exit code {done.returncode}": done.returncode < 0
        or done.returncode in ((0,) if plan.is_harmless else (1, 2)),
        "a traceback": "Traceback" not in answer,
        f"a last line of {len(last):,} characters": len(last) <= MAX_CHARACTERS,
        "no last line": bool(last) or plan.is_harmless,
        f"it does not say {plan.says!r} but {answer[-300:]!r}": plan.says in answer,
    }
    return [fault for fault, is_kept in rules.items() if not is_kept]


for _module in iter_modules(__path__):
    if _module.name != "__main__" and (_module.name != "trainer" or find_spec("torch")):
        import_module(f"{__name__}.{_module.name}")
