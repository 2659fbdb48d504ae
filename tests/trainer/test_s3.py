"""Shards in a bucket of a real S3 server.

The server asks for signatures. The `aws` command reads s3://.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import NO_S3, S3Server
from tests.processes import wait_for
from tests.trainer.runs import FULL, curve, records, train

BIN = Path(sys.executable).parent
NO_AWS = "" if (BIN / "aws").exists() else "no aws command: pip install awscli"
pytestmark = pytest.mark.skipif(bool(NO_S3 or NO_AWS), reason=NO_S3 or NO_AWS)


@pytest.fixture(scope="module")
def bucket(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a bucket's URL and the environment for `aws`.

    The bucket holds the small dataset.
    """
    server = S3Server(tmp_path_factory.mktemp("s3"))
    environment = {**server.environment, "AWS_MAX_ATTEMPTS": "2", "PATH": f"{BIN}:{os.environ['PATH']}"}
    server.start()
    try:
        for command in (["mb", "s3://shards"], ["cp", "--recursive", str(small), "s3://shards/small"]):
            wait_for(lambda command=command: aws(command, environment) == 0)
        yield "s3://shards/small", environment
    finally:
        server.kill()


def aws(command: list[str], environment: dict[str, str]) -> int:
    done = subprocess.run(
        [str(BIN / "aws"), "s3", *command],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode


def test_a_bucket_gives_a_disks_losses(
    bucket: tuple[str, dict[str, str]], small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, environment = bucket
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    one, other = tmp_path / "bucket", tmp_path / "disk"
    arguments = [*FULL, "--epochs", "1"]
    assert train("--data", url, "--out", one, *arguments) == 0
    assert train("--data", f"pipe:cat {small}/{{}}", "--out", other, *arguments) == 0
    assert curve(one) == curve(other)
    assert records(one, "validation") == records(other, "validation")


def test_unreadable_buckets_are_one_line(
    bucket: tuple[str, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def reported(place: str) -> str:
        """Return what rank 0 and `aws` report."""
        with pytest.raises(SystemExit):
            train("--data", place, "--out", tmp_path, *FULL)
        return capsys.readouterr().err

    url, environment = bucket
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert "nowhere/_info.json -` cannot be read" in reported(f"{url}/nowhere")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "_info.json -` cannot be read" in reported(url)
