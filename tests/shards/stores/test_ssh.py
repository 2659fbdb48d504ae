"""Faults of a folder on another machine, with a real ssh daemon."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fdsl import InputError
from shards.stores import uploading
from shards.stores.contract import Entry, Store
from shards.stores.places import open_store
from tests.daemons import FaultyProxy, SshServer, use_ssh

pytestmark = pytest.mark.slow
LARGE = bytes(range(251)) * 2**15
"""8 MB."""


@pytest.fixture
def server(ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch) -> SshServer:
    use_ssh(ssh_server, monkeypatch)
    return ssh_server


def reason(store: Store) -> str:
    """Return why a store cannot be written, and check that it is one line with the place."""
    with pytest.raises(OSError, match=r".") as error, store.create("a") as file:
        file.write(b"1")
    assert error.value.filename == f"{store.url}/a"
    assert "\n" not in error.value.strerror
    return error.value.strerror


def test_changed_host_key_is_refused(server: SshServer, tmp_path: Path) -> None:
    store = open_store(f"ssh://127.0.0.1:{server.port}{tmp_path}/x")
    server.accept_host("other")
    try:
        assert reason(store).startswith("the host key changed")
    finally:
        server.accept_host("host")
    assert not (tmp_path / "x").exists()


def test_unknown_host_key_is_refused(server: SshServer, tmp_path: Path) -> None:
    store = open_store(f"ssh://localhost:{server.port}{tmp_path}/x")
    assert reason(store).startswith("the host key is unknown")


def test_refused_login_is_named(server: SshServer, tmp_path: Path) -> None:
    store = open_store(f"ssh://nobody@127.0.0.1:{server.port}{tmp_path}/x")
    assert reason(store).startswith("the login is refused")


def test_no_daemon_is_one_line(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "WAITS_S", ())
    assert "refused" in reason(open_store("ssh://127.0.0.1:9/tmp/x"))


def test_read_only_folder_is_one_line(server: SshServer) -> None:
    assert reason(open_store(f"ssh://127.0.0.1:{server.port}/proc/x"))


@pytest.mark.parametrize("wrong", ["ssh://", "ssh://host", "ssh://host/", "ssh://-oProxyCommand=x/a", "ssh://a b/c"])
def test_wrong_url_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="must be ssh://"):
        open_store(wrong)


def test_cut_connection_is_continued(server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "local"
    source.write_bytes(LARGE)
    proxy = FaultyProxy(server.port, 5_000_000, lambda: None)
    known = (server.folder / "known").read_text()
    (server.folder / "known").write_text(known + known.replace(str(server.port), str(proxy.port)))
    monkeypatch.setattr(uploading, "WAITS_S", (0.1,))
    sha256 = hashlib.sha256(LARGE).hexdigest()
    store = open_store(f"ssh://127.0.0.1:{proxy.port}{tmp_path}/x")
    store.put("a", source, sha256)
    assert proxy.has_happened
    assert proxy.n_sent < 2 * len(LARGE), "the second try sent everything again"
    assert (tmp_path / "x" / "a").read_bytes() == LARGE
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["a"]
    (server.folder / "known").write_text(known)
    proxy.close()


def test_stat_does_not_read_the_file(server: SshServer) -> None:
    store = open_store(f"ssh://127.0.0.1:{server.port}/proc/self")
    assert store.stat("mem") == Entry(0), "a file that nobody can read from its start"
