"""Waiting for a store that does not answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TRY = """
from shards.stores import uploading

def call():
    if left := tries.pop():
        raise uploading.Unreachable(0, "connection refused", "s3://bucket/a")
    return "stored"

uploading.WAITS_S, tries = (0.0, 0.0), [False, True, True]
print(uploading.retried(call))
"""


@pytest.mark.slow
def test_each_wait_is_told() -> None:
    done = subprocess.run([sys.executable, "-c", TRY], cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "stored\n")
    assert done.stderr.splitlines() == [
        "s3://bucket/a: connection refused; trying again in 0 s (1 of 2)",
        "s3://bucket/a: connection refused; trying again in 0 s (2 of 2)",
    ]
