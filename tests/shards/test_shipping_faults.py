"""Shipping with `fdsl ship` while it is killed, its server is killed, the place is full, read-only, wrong or damaged."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shards.directory import open_directory
from shards.layout import SUMS
from shards.sending import claim_destination
from shards.shipping import ship
from shards.stores import uploading
from shards.stores.contract import HashedFile, Store
from shards.stores.folder import Folder
from shards.stores.places import open_store
from tests.commands import refused, succeeded
from tests.daemons import FaultyProxy, S3Server, SshServer, use_s3, use_ssh
from tests.processes import as_in_a_shell
from tests.shards.conftest import FDSL, SERIAL, content, files

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("family", ["rcdb"], indirect=True, scope="session")]


def received(store: Store, folder: Path) -> subprocess.CompletedProcess[str]:
    """Fetch a shipped dataset and check it as the receiver does."""
    for name in [*content(store), SUMS]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.read(name, 10**8))
    return subprocess.run(
        ["sha256sum", "--check", "--quiet", "--strict", SUMS], cwd=folder, capture_output=True, text=True, check=False
    )


def test_killed_command_resumes(
    baked: Path, destination: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with as_in_a_shell(FDSL, "ship", baked, destination.url, "--workers", "1", "--log-json", "-") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"advanced"' in line:
                break
        process.kill()
    if not destination.url.startswith("s3:"):  # a PUT leaves nothing unfinished
        (tmp_path / "there/samples" / f".train-000005.parquet.{'0' * 16}.tmp").write_bytes(b"half")
    proven = set(destination.entries("receipts"))
    assert proven
    sent: list[str] = []
    put = type(destination).put

    def noted(store: Store, name: str, path: Path, sha256: str) -> None:
        sent.append(name)
        put(store, name, path, sha256)

    monkeypatch.setattr(type(destination), "put", noted)
    result = ship(baked, destination.url, executor=SERIAL)
    assert (result.n_found + result.n_shards, result.is_complete) == (12, True)
    assert result.n_found >= len(proven)
    assert not proven & set(sent)
    assert sent[-1:] in ([], ["_info.json"])
    assert content(destination) == files(baked)
    assert not list((tmp_path / "there").rglob(".*"))


@pytest.mark.parametrize("kind", ["s3", "ssh"])
def test_killed_server_is_waited_for(
    kind: str, baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    server: Any = request.getfixturevalue(f"{kind}_server")

    def restart() -> None:
        server.kill()
        server.start()

    monkeypatch.setattr(uploading, "WAITS_S", (0.5,) * 600)
    proxy = FaultyProxy(server.port, 100_000, restart)
    if isinstance(server, S3Server):
        use_s3(server, monkeypatch, AWS_ENDPOINT_URL=f"http://127.0.0.1:{proxy.port}")
        url = f"s3://shards/restart{proxy.port}"
    else:
        use_ssh(server, monkeypatch)
        known = server.folder / "known"
        known.write_text(f"{known.read_text()}{known.read_text().replace(str(server.port), str(proxy.port))}")
        url = f"ssh://127.0.0.1:{proxy.port}{tmp_path}/there"
    result = ship(baked, url, executor=SERIAL)
    assert proxy.has_happened
    assert result.is_complete
    assert content(open_store(url)) == files(baked)
    proxy.close()


def test_flipped_byte_there_is_found(baked: Path, destination: Store, tmp_path: Path) -> None:
    ship(baked, destination.url, executor=SERIAL)
    damaged = bytearray(destination.read("train-000004.tar", 10**8))
    damaged[5000] ^= 1
    with destination.create("train-000004.tar") as file:
        file.write(damaged)
    check = received(destination, tmp_path / "received")
    assert (check.returncode, check.stdout) == (1, "train-000004.tar: FAILED\n")


def test_changed_host_key_ends_the_command(
    baked: Path, ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_ssh(ssh_server, monkeypatch)
    ssh_server.accept_host("other")
    try:
        line = refused("ship", baked, f"ssh://127.0.0.1:{ssh_server.port}{tmp_path}/there", "--workers", 1)
    finally:
        ssh_server.accept_host("host")
    assert "the host key changed; if that is expected, remove the old one: ssh-keygen -R" in line
    assert not (tmp_path / "there").exists()


def test_two_drivers_send_the_same(baked: Path, destination: Store) -> None:
    command = [FDSL, "ship", baked, destination.url, "--workers", "1", "-q"]
    with as_in_a_shell(*command) as one, as_in_a_shell(*command) as other:
        for process in (one, other):
            _, stderr = process.communicate()
            assert process.returncode == 0, stderr
    assert content(destination) == files(baked)


def test_sweep_of_another_driver_is_harmless(baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one completes the destination while this one has an unfinished file there."""
    create = Folder.create

    @contextmanager
    def slow_create(folder: Folder, name: str, exclusive: bool = False) -> Iterator[HashedFile]:
        with create(folder, name, exclusive) as file:
            yield file
            if name == "train-000003.tar":
                monkeypatch.setattr(Folder, "create", create)
                assert ship(baked, folder.path, executor=SERIAL).is_complete

    monkeypatch.setattr(Folder, "create", slow_create)
    assert ship(baked, tmp_path / "there", executor=SERIAL).is_complete
    assert content(Folder(tmp_path / "there")) == files(baked)


# Mistakes: each is one line, before any shard is sent


def test_wrong_buckets_are_one_line(baked: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(s3_server, monkeypatch)
    line = refused("ship", baked, "s3://nowhere-at-all/x", "--workers", 1)
    assert "`s3://nowhere-at-all/x/`: the bucket does not exist; create it; " in line
    monkeypatch.setattr(uploading, "WAITS_S", (0.0,))
    use_s3(s3_server, monkeypatch, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert "127.0.0.1:9" in refused("ship", baked, "s3://shards/x", "--workers", 1)
    use_s3(s3_server, monkeypatch, AWS_SECRET_ACCESS_KEY="wrong")
    line = refused("ship", baked, "s3://shards/x", "--workers", 1)
    assert "the secret key is wrong; check AWS_SECRET_ACCESS_KEY" in line


def test_wrong_port_is_not_waited_for(baked: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(s3_server, monkeypatch, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    monkeypatch.setattr(uploading, "WAITS_S", (0.0,) * 5)
    for url in ("s3://shards/never-asked", "ssh://127.0.0.1:9/never-asked"):
        for words in (("ship", baked, url), ("bake", baked / "spec.yaml", "-o", url), ("status", url), ("verify", url)):
            line = refused(*words)
            assert "127.0.0.1:9" in line if url.startswith("s3") else "Connection refused" in line
            assert "; fix this and run the same command again" in line


def test_read_only_bucket_is_found_first(baked: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(s3_server, monkeypatch)
    url = "s3://shards/read-only"
    claim_destination(open_directory(baked), open_store(url))
    use_s3(s3_server, monkeypatch, AWS_ACCESS_KEY_ID="reader")
    line = refused("ship", baked, url, "--workers", 1)
    assert f"`{url}`: access is denied" in line
    assert "has no shard of `split` (=train); ship or bake one there" in refused("urls", url)


def url_of(kind: str, folder: Path, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> str:
    """Return a folder's path, or its URL over ssh."""
    if kind == "folder":
        return str(folder)
    server: SshServer = request.getfixturevalue("ssh_server")
    use_ssh(server, patch)
    return f"ssh://127.0.0.1:{server.port}{folder}"


@pytest.mark.parametrize("kind", ["folder", "ssh"])
def test_full_disk_there_is_one_line(
    kind: str,
    baked: Path,
    mount_point: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    size = sum(path.stat().st_size for path in baked.rglob("*") if path.is_file()) // 2
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", mount_point], check=True)
    url = url_of(kind, mount_point, request, monkeypatch)
    line = refused("ship", baked, url, "--workers", 1)
    assert ("the disk there is full; free space on it" if kind == "ssh" else "No space left on device") in line
    assert line.endswith("; finished shards are kept")
    n_sent = len(list(mount_point.glob("receipts/*")))
    subprocess.run(["mount", "-o", "remount,size=100m", mount_point], check=True)
    assert f"{n_sent} shard" in succeeded("ship", baked, url, "--workers", 1)
    assert content(open_store(url)) == files(baked)


@pytest.mark.parametrize("kind", ["folder", "ssh"])
def test_read_only_folder_there_is_found_first(
    kind: str, baked: Path, mount_point: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    url = url_of(kind, mount_point, request, monkeypatch)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mount_point], check=True)
    claim_destination(open_directory(baked), Folder(mount_point))
    subprocess.run(["mount", "-o", "remount,ro", mount_point], check=True)
    assert re.search(f"`{url}`: .*Read-only file system", refused("ship", baked, url, "--workers", 1))
