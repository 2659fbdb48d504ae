"""A real Slurm with two virtual nodes on this machine.

It listens on loopback only.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import free_ports
from tests.processes import kill_all, read_proc, running, wait_for

_PATH = f"{os.environ['PATH']}:/usr/sbin"
_DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
_MARKER = "FDSL_TEST_NODE"
ABSENT = "no Slurm: apt-get install --no-install-recommends slurm-wlm munge"

_CONFIGURATION = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
SlurmdTimeout={node_timeout_s}
KillWait=1
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
"""`cred_expire` is also the time for which a requeued job waits."""


class Slurm:
    """A controller and the nodes n1 and n2, with two processors each.

    Parameters
    ----------
    folder : for configuration, state and logs
    node_timeout_s : time after which a silent node counts as lost
    """

    def __init__(self, folder: Path, node_timeout_s: int = 5) -> None:
        self.folder = folder
        controller, first, second = free_ports(3)
        self._configuration = folder / "slurm.conf"
        self._configuration.write_text(
            _CONFIGURATION.format(
                host=socket.gethostname().partition(".")[0], folder=folder, node_timeout_s=node_timeout_s,
                controller=controller, first=first, second=second,
            )
        )  # fmt: skip
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.environment = {"SLURM_CONF": str(self._configuration), "PATH": _PATH}

    def start(self) -> None:
        """Start all daemons; wait until both nodes can work."""
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = {"key": "munge.key", "socket": "munge.socket", "pid": "munged.pid", "seed": "munged.seed"}
        paths = [f"--{name}{'' if name == 'socket' else '-file'}={self.folder / file}" for name, file in files.items()]
        self._start("munged", "--foreground", "--force", f"--log-file={self.folder / 'munged.log'}", *paths)
        wait_for((self.folder / "munge.socket").exists)
        self._start("slurmctld", "-D", "-i")
        for name in ("n1", "n2"):
            self.start_node(name)
        wait_for(
            lambda: self.run("sinfo", "--Node", "--noheader", "--format=%N %t").split() == ["n1", "idle", "n2", "idle"]
        )

    def start_node(self, name: str) -> None:
        """Start the daemon of a node."""
        self._start("slurmd", "-D", "-N", name, node=name)

    def _start(self, daemon: str, *arguments: str, node: str = "") -> None:
        environment = {**os.environ, **self.environment, _MARKER: node}
        with (self.folder / f"{daemon}{node}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(shutil.which(daemon, path=_PATH)), *arguments],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._daemons.append(process)

    def run(self, *command: str) -> str:
        """Return what a command of Slurm prints; empty if the controller does not answer."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout

    def wait_until_done(self) -> None:
        """Wait until no job is left."""
        wait_for(lambda: self.run("scontrol", "ping").count("UP") and not self.run("squeue", "--noheader"))

    def lose_node(self, name: str) -> None:
        """Kill all processes of a node at once, as a power cut does."""
        kill_all(self._processes(f"{_MARKER}={name}") | self._processes(f"SLURMD_NODENAME={name}"))

    def stop(self) -> None:
        """Kill the daemons, and all that they have started."""
        while pids := self._processes():
            kill_all(pids)
        for daemon in self._daemons:
            daemon.wait()

    def _processes(self, word: str = "") -> set[int]:
        """Return the processes of this Slurm, or those that have a word in their environment."""
        words = {f"SLURM_CONF={self._configuration}".encode(), *([word.encode()] if word else [])}
        return {pid for pid in running() if words <= _environment(pid)}


def _environment(pid: int) -> set[bytes]:
    """Return the variables of a process; none if it is not ours."""
    try:
        return set(read_proc(pid, "environ").split(b"\0"))
    except PermissionError:
        return set()


def running_slurm(folder: Path) -> Iterator[Slurm]:
    """Yield a Slurm; stop it at the end."""
    if not all(shutil.which(name, path=_PATH) for name in _DAEMONS):
        pytest.skip(ABSENT)
    if os.geteuid() != 0:
        pytest.skip("this Slurm needs root")
    slurm = Slurm(folder)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()
