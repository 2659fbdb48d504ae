"""The trainer's commands and their output."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest

from tests.trainer.conftest import ROOT
from trainer import finetune, pretrain
from trainer.errors import InputError
from trainer.recipe import FinetuneOptions, Options, parse

LITTLE = [
    "--model", "test_vit", "--size", "32", "--batch", "8", "--warmup", "1", "--lr", "0.003", "--warmup-lr", "0.0003",
    "--log-every", "1", "--workers", "1", "--device", "cpu", "--repeats", "1", "--randaugment", "", "--crop-scale", "0.9",
    "--mixup", "0", "--cutmix", "0", "--erasing", "0", "--drop-path", "0",
]  # fmt: skip
FULL = [*LITTLE[: LITTLE.index("--repeats")], "--ema", "0.9", "--clip", "1.0", "--accumulate", "2", "--keep-every", "1"]
"""All of the published augmentation, and the options."""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--local-addr", "127.0.0.1"]


def command(*arguments: object, processes: int = 1) -> list[str]:
    start = [sys.executable]
    if processes > 1:
        start = [*TORCHRUN, "--standalone", "--nproc-per-node", str(processes)]
    return [*start, "-m", "trainer.pretrain", *map(str, arguments)]


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )


def run(*arguments: object, processes: int = 1) -> subprocess.CompletedProcess[str]:
    process = start(command(*arguments, processes=processes))
    _, text = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, "", text)


def train(*arguments: object, options: type[Options] = Options) -> int:
    """Train in this process, without loader workers.

    This is faster; workers would end with the process only.
    """
    text = finetune.__doc__ if options is FinetuneOptions else pretrain.__doc__
    with mock.patch.object(sys, "argv", ["train", *map(str, arguments), "--workers", "0"]):
        return pretrain.train(*parse(options, "pretrain", text or ""))


def error_of(*arguments: object, options: type[Options] = Options) -> str:
    """Return the line of an InputError."""
    with pytest.raises(InputError) as caught:
        train(*arguments, options=options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def kill_when(process: subprocess.Popen[str], is_due: Callable[[], bool]) -> None:
    """Kill a run with its children when due."""
    while not is_due():
        assert process.poll() is None
        time.sleep(0.005)
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # commands that read shards end by themselves
            one.kill()
    process.communicate()


def records(out: Path, kind: str) -> list[dict[str, Any]]:
    lines = (out / "log.jsonl").read_text().splitlines() if (out / "log.jsonl").exists() else []
    return [record for line in lines if (record := json.loads(line))["kind"] == kind]


def curve(out: Path) -> list[tuple[int, float]]:
    return [(record["update"], record["loss"]) for record in records(out, "train")]


def assert_one_line(text: str, reason: str) -> None:
    """Assert that stderr is one line beside progress."""
    lines = [line for line in text.splitlines() if not line.startswith(("epoch ", "indexing "))]
    assert len(lines) == 1, text
    assert lines[0].startswith("trainer: ")
    assert reason in lines[0]
