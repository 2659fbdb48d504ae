"""Faults of an object store, on a real server."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from fdsl import InputError
from shards.stores import uploading
from shards.stores.places import open_store
from tests.daemons import FaultyProxy, S3Server, makes_bucket, use_s3
from tests.processes import wait_for

pytest.importorskip("boto3", reason="boto3 is missing: pip install boto3")
pytestmark = pytest.mark.slow
LARGE = bytes(range(256)) * 2**15
"""8 MB."""


@pytest.fixture
def url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    use_s3(s3_server, monkeypatch)
    return f"s3://shards/{uuid.uuid4()}"


@pytest.fixture
def large(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path, hashlib.sha256(LARGE).hexdigest()


def reason(place: str) -> str:
    """Return why a store cannot be written, and check that it is one line with the place."""
    with pytest.raises(OSError, match=r".") as error, open_store(place).create("a") as file:
        file.write(b"1")
    assert error.value.filename == f"{place}/a"
    assert "\n" not in error.value.strerror
    return error.value.strerror


def test_missing_bucket_is_named(url: str) -> None:
    with pytest.raises(OSError, match="the bucket does not exist; create it"):
        open_store("s3://nowhere-at-all/x").entries()


def test_denied_access_is_named(url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(s3_server, monkeypatch, AWS_ACCESS_KEY_ID="writer")
    assert reason("s3://nowhere-at-all/x").startswith("access is denied")


def test_wrong_secret_is_named(url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(s3_server, monkeypatch, AWS_SECRET_ACCESS_KEY="wrong")
    assert reason(url).startswith("the secret key is wrong")


def test_unknown_key_is_named(url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(s3_server, monkeypatch, AWS_ACCESS_KEY_ID="nobody")
    assert reason(url).startswith("the access key is unknown")


def test_missing_credentials_are_named(url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(s3_server, monkeypatch, HOME="/nonexistent")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert reason(url).startswith("no credentials")


def test_server_down_is_one_line(url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "WAITS_S", ())
    use_s3(s3_server, monkeypatch, AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert "127.0.0.1:9" in reason(url)


@pytest.mark.parametrize(
    "wrong",
    [
        "s3://",
        "s3://a",
        "s3:///x",
        "s3://bucket/a?b",
        "s3://bucket/a b",
        "s3://-x-/a",
        "s3://Bucket/x",
        "s3://b-b/../x",
    ],
)
def test_wrong_url_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="must be s3://BUCKET/FOLDER"):
        open_store(wrong)


def test_dropped_connection_is_tried_again(
    url: str, s3_server: S3Server, large: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = FaultyProxy(s3_server.port, 3_000_000, lambda: None)
    use_s3(s3_server, monkeypatch, AWS_ENDPOINT_URL=f"http://127.0.0.1:{proxy.port}")
    store = open_store(url)
    store.put("a", *large)
    assert proxy.has_happened
    assert store.read("a", len(LARGE)) == LARGE
    proxy.close()


def test_file_changed_just_after_it_was_sent(
    url: str, large: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from shards.stores import s3

    call = s3.Bucket._call

    def overwritten(bucket: s3.Bucket, name: str, operation: str, **arguments: Any) -> Any:
        answer = call(bucket, name, operation, **arguments)
        if operation == "put_object":
            content = LARGE[::-1]
            checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
            call(bucket, name, operation, Body=content, ChecksumSHA256=checksum)
        return answer

    monkeypatch.setattr(s3.Bucket, "_call", overwritten)
    with pytest.raises(OSError, match="the store lost or changed it just after it was sent"):
        open_store(url).put("a", *large)


def test_server_killed_and_restarted_in_a_put(
    url: str, s3_server: S3Server, large: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def restart() -> None:
        s3_server.kill()
        s3_server.start()

    proxy = FaultyProxy(s3_server.port, 3_000_000, restart)
    monkeypatch.setattr(uploading, "WAITS_S", (0.5,) * 600)
    use_s3(s3_server, monkeypatch, AWS_ENDPOINT_URL=f"http://127.0.0.1:{proxy.port}")
    store = open_store(url)
    assert store.entries() == {}
    store.put("a", *large)
    assert proxy.has_happened
    assert store.read("a", len(LARGE)) == LARGE
    proxy.close()
    use_s3(s3_server, monkeypatch)
    wait_for(lambda: makes_bucket("shards"))


def test_byte_changed_on_the_way_is_refused(
    url: str, s3_server: S3Server, large: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = FaultyProxy(s3_server.port, 3_000_000, None)
    use_s3(s3_server, monkeypatch, AWS_ENDPOINT_URL=f"http://127.0.0.1:{proxy.port}")
    store = open_store(url)
    with pytest.raises(OSError, match="the store received other bytes than were sent"):
        store.put("a", *large)
    assert proxy.has_happened
    assert store.entries() == {}
    proxy.close()


PUT = """
import sys
from pathlib import Path
from shards.stores.places import open_store
open_store(sys.argv[1]).put("a", Path(sys.argv[2]), sys.argv[3])
"""


def test_client_killed_in_a_put_leaves_nothing(
    url: str, s3_server: S3Server, large: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = FaultyProxy(s3_server.port, 3_000_000, lambda: os.kill(client.pid, signal.SIGKILL))
    environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}
    client = subprocess.Popen(
        [sys.executable, "-c", PUT, url, *map(str, large)], env=environment, cwd=Path(__file__).parents[3]
    )
    assert client.wait() == -signal.SIGKILL
    assert open_store(url).entries() == {}
    proxy.close()


def test_uploads_of_others_are_kept(url: str) -> None:
    from shards.stores import s3

    bucket = s3.Bucket.of_url(url, "out")
    client = s3._client()
    client.create_multipart_upload(Bucket=bucket.bucket, Key=f"{bucket.prefix}model.bin")
    bucket.sweep()
    assert len(client.list_multipart_uploads(Bucket=bucket.bucket, Prefix=bucket.prefix)["Uploads"]) == 1


def test_thousands_of_files_are_listed(url: str) -> None:
    store = open_store(url)
    for number in range(1005):
        with store.create(f"receipts/{number}") as file:
            file.write(b"1")
    assert len(store.entries("receipts")) == 1005
