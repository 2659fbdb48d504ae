"""Waiting for a store that does not answer."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from shards.stores import uploading

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


def test_only_a_store_that_answered_is_waited_for() -> None:
    pytest.importorskip("boto3")
    from shards.stores import s3

    store = s3.Bucket("never-asked", "")
    assert type(store._unreachable("refused", store.url)) is ConnectionError
    assert pickle.loads(pickle.dumps(store)) == store, "a worker gets one that has answered"
    assert type(store._unreachable("refused", store.url)) is uploading.Unreachable
