"""The trainer's programs, run as a user runs them, and what they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.trainer.conftest import ROOT

PRETRAIN, FINETUNE, START = (ROOT / "trainer" / f"{name}.py" for name in ("pretrain", "finetune", "start"))
LITTLE = [
    "--model", "test_vit", "--size", "32", "--batch", "8", "--warmup", "1", "--lr", "0.003", "--warmup-lr", "0.0003",
    "--log-every", "1", "--workers", "1", "--device", "cpu", "--repeats", "1", "--randaugment", "", "--crop-scale", "0.9",
    "--mixup", "0", "--cutmix", "0", "--erasing", "0", "--drop-path", "0",
]  # fmt: skip
FULL = [*LITTLE[: LITTLE.index("--repeats")], "--ema", "0.9", "--clip", "1.0", "--accumulate", "2", "--keep-every", "1"]
"""All of the published augmentation, and the options."""


def command(*arguments: object, processes: int = 1, program: Path = PRETRAIN) -> list[str]:
    start = [sys.executable]
    if processes > 1:
        start = [sys.executable, str(START), "--standalone", "--nproc-per-node", str(processes)]
    return [*start, str(program), *map(str, arguments)]


def run(*arguments: object, processes: int = 1, program: Path = PRETRAIN) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, processes=processes, program=program),
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def records(out: Path, kind: str) -> list[dict[str, Any]]:
    return [each for line in (out / "log.jsonl").read_text().splitlines() if (each := json.loads(line))["kind"] == kind]


def curve(out: Path) -> list[tuple[int, float]]:
    return [(each["update"], each["loss"]) for each in records(out, "train")]


def assert_told(done: subprocess.CompletedProcess[str], reason: str, program: Path = PRETRAIN) -> None:
    """Exit 1 and one line; nothing else, unless progress before it."""
    assert done.returncode == 1
    *progress, line = done.stderr.splitlines()
    assert all(each.endswith(" left") for each in progress), done.stderr
    assert line.startswith(f"{program.stem}: ")
    assert reason in line
