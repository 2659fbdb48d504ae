"""Hosts on this machine: network namespaces, joined by a switch in another one, with names of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

NAMES = ("h0", "h1", "h2")
ADDRESSES = {name: f"10.77.0.1{k}" for k, name in enumerate(NAMES)}


def _ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True)


class Hosts:
    """Three hosts with addresses in 10.77.0.0/24. The network of this machine is not touched.

    Attributes
    ----------
    prefix : of the names of namespaces, so that two test runs do not meet
    """

    def __init__(self) -> None:
        self.prefix = f"fdsl{os.getpid()}"

    def start(self) -> None:
        """Make the namespaces and their cables."""
        switch = f"{self.prefix}sw"
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "dev", "bridge0", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge0", "up")
        for name in NAMES:
            host = self.prefix + name
            _ip("netns", "add", host)
            _ip("-n", switch, "link", "add", "dev", name, "type", "veth", "peer", "name", "eth0", "netns", host)
            _ip("-n", switch, "link", "set", name, "master", "bridge0", "up")
            _ip("-n", host, "addr", "add", f"{ADDRESSES[name]}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", host, "link", "set", device, "up")

    def stop(self) -> None:
        """Remove the namespaces."""
        for name in (*NAMES, "sw"):
            _ip("netns", "del", self.prefix + name, check=False)

    def on(self, name: str) -> tuple[str, ...]:
        """Return the start of a command that runs on a host."""
        network = f"--net=/run/netns/{self.prefix}{name}"
        return ("nsenter", network, "unshare", "--uts", "bash", "-c", 'hostname "$0"; exec "$@"', name)

    def pull_cable(self, name: str) -> None:
        """Cut a host off; its processes go on."""
        _ip("-n", f"{self.prefix}sw", "link", "set", name, "down")


@contextmanager
def running_hosts() -> Iterator[Hosts]:
    """Yield hosts; skip the test where they cannot be made."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nsenter", "unshare", "hostname"))):
        pytest.skip("network namespaces need root, ip, nsenter, unshare and hostname")
    hosts = Hosts()
    try:
        try:
            hosts.start()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces: {error.stderr.decode().strip()}")
        yield hosts
    finally:
        hosts.stop()
