"""A Dask cluster: workers that die, lack the package or come late, and a scheduler that is lost, restarted or secured."""

from __future__ import annotations

import gc
import shutil
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fdsl import DaskExecutor, InputError, WorkerDied
from fdsl.primitives.errors import machine_of
from shards.executors import dask
from shards.executors.contract import Done, Failed
from tests.processes import wait_for
from tests.shards.executors.cluster import ABSENT, FOREVER, IS_INSTALLED, Cluster, dask_config
from tests.shards.executors.tasks import Company, Meeting, die_in_company, die_once, meet, refuse_multiples_of_3, square

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not IS_INSTALLED, reason=ABSENT)]


def by_item(outcomes: Iterator[Any]) -> dict[Any, Any]:
    return {outcome.item: outcome for outcome in outcomes}


# Workers


def test_item_of_killed_worker_is_retried(own_cluster: Cluster, tmp_path: Path) -> None:
    for _ in range(2):
        own_cluster.start_worker()
    markers = [tmp_path / str(number) for number in range(8)]
    for marker in markers[1:]:
        marker.touch()
    outcomes = by_item(DaskExecutor(own_cluster.address).run(die_once, markers))
    assert outcomes == {marker: Done(marker, marker.name) for marker in markers}


def test_item_that_kills_workers_fails_alone(own_cluster: Cluster, tmp_path: Path) -> None:
    """The scheduler blames the item that waits on the same worker, too."""
    own_cluster.start_worker()
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    items = [Company(number, deaths) for number in (13, 14, 15, 16)]
    outcomes = by_item(DaskExecutor(own_cluster.address).run(die_in_company, items))
    failed = outcomes.pop(items[0])
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, WorkerDied)
    assert str(failed.error).startswith("2 workers died on the same task, the last at tcp://127.0.0.1:")
    assert outcomes == {item: Done(item, item.number) for item in items[1:]}
    assert len(list(deaths.iterdir())) == 4, "twice with another item, twice alone"


def test_error_has_the_name_of_its_machine(own_cluster: Cluster) -> None:
    rename = ("unshare", "--uts", "bash", "-c", 'hostname n7 && exec "$@"', "renamed")
    if subprocess.run([*rename, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a process with another host name needs root, unshare and hostname")
    own_cluster.start_worker(prefix=rename)
    (outcome,) = DaskExecutor(own_cluster.address).run(refuse_multiples_of_3, [3])
    assert isinstance(outcome, Failed)
    assert machine_of(outcome.error) == "n7"
    assert socket.gethostname() != "n7"


def test_late_workers_are_used(own_cluster: Cluster, tmp_path: Path) -> None:
    """The first two items end only after the third has, and one worker gets two at most."""
    own_cluster.start_worker()
    first = Meeting(wait_for=tmp_path / "last", announce=tmp_path / "first")
    second = Meeting(wait_for=tmp_path / "last", announce=tmp_path / "second")
    last = Meeting(wait_for=None, announce=tmp_path / "last")
    outcomes: list[Any] = []
    run = threading.Thread(
        target=lambda: outcomes.extend(DaskExecutor(own_cluster.address).run(meet, [first, second, last]))
    )
    run.start()
    wait_for((tmp_path / "first").exists)
    assert not (tmp_path / "last").exists()
    for _ in range(2):
        own_cluster.start_worker()
    run.join()
    assert {outcome.item for outcome in outcomes} == {first, second, last}
    assert all(isinstance(outcome, Done) for outcome in outcomes)


def without_package(folder: Path) -> dict[str, Any]:
    """Options of a worker that has every package but this one: it ignores what is installed editable."""
    import distributed

    return {"flags": ["-S"], "python_path": Path(distributed.__file__).parents[1]}


def with_other_numba(folder: Path) -> dict[str, Any]:
    """Options of a worker that sees another version of numba."""
    root = Path(__file__).parents[3]
    info = folder / "numba-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: numba\nVersion: 0.1\n")
    return {"python_path": f"{folder}:{root}"}


REFUSED: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "without the package": (without_package, r"cannot import fdsl: .*No module named 'fdsl'.*; install it there$"),
    "with another version": (
        with_other_numba,
        r'has other versions: `numba` is "0.1" there and "[\d.]+" here; install',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("is_late", [False, True], ids=["at start", "late"])
def test_unfit_worker_is_refused(name: str, is_late: bool, own_cluster: Cluster, tmp_path: Path) -> None:
    options, message = REFUSED[name]
    own_cluster.start_worker()
    ran = tmp_path / "ran"
    if not is_late:
        own_cluster.start_worker(**options(tmp_path))
        wait_for(lambda: own_cluster.n_workers() == 2)
    endless = Meeting(wait_for=tmp_path / "never", announce=ran)
    with closing(DaskExecutor(own_cluster.address).run(meet, [endless])) as outcomes:
        if is_late:
            threading.Thread(
                target=lambda: (wait_for(ran.exists), own_cluster.start_worker(**options(tmp_path)))
            ).start()
        with pytest.raises(InputError, match=rf"^the worker at tcp://127\.0\.0\.1:\d+ {message}"):
            next(outcomes)
    assert ran.exists() == is_late
    (tmp_path / "never").touch()


@pytest.mark.parametrize("name", REFUSED)
def test_unfit_worker_runs_no_task_before_its_check(
    name: str, own_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, message = REFUSED[name]
    check, ran = dask._Run._check, tmp_path / "ran"

    def late(run: Any, workers: Any) -> None:
        if run._again:  # a task was sent and came back
            check(run, workers)

    monkeypatch.setattr(dask._Run, "_check", late)
    own_cluster.start_worker(**options(tmp_path))
    with pytest.raises(InputError, match=message):
        list(DaskExecutor(own_cluster.address).run(meet, [Meeting(wait_for=None, announce=ran)]))
    assert not ran.exists()


def test_worker_that_restarts_unfit_is_checked_again() -> None:
    """At the same address; its tasks would come back for ever otherwise."""

    class Back:
        status = "error"

        def result(self, timeout_s: float) -> None:
            raise ImportError("other versions", name="fdsl")

    run: Any = dask._Run(None, square, 0.0)  # type: ignore[arg-type]
    run._checked, run._pending = {"tcp://127.0.0.1:1"}, {(back := Back()): dask._Try(3)}
    assert run._outcome(back) is None
    assert (run._checked, run._again) == (set(), [dask._Try(3)])


def test_no_worker_is_one_line(own_cluster: Cluster) -> None:
    with pytest.raises(ConnectionError, match=r"^the Dask scheduler has had no worker for 0 s$"):
        list(DaskExecutor(own_cluster.address, patience_s=0).run(square, [1]))


# Scheduler


def test_lost_scheduler_gets_items_again(own_cluster: Cluster, tmp_path: Path) -> None:
    for _ in range(2):
        own_cluster.start_worker(prefix=FOREVER)
    meetings = [Meeting(wait_for=tmp_path / "go", announce=tmp_path / str(number)) for number in range(6)]
    outcomes: list[Any] = []
    run = threading.Thread(target=lambda: outcomes.extend(DaskExecutor(own_cluster.address).run(meet, meetings)))
    run.start()
    wait_for((tmp_path / "1").exists)
    own_cluster.kill_scheduler()
    own_cluster.start_scheduler()
    (tmp_path / "go").touch()
    run.join()
    assert sorted(outcome.item.announce.name for outcome in outcomes) == list("012345")
    assert all(isinstance(outcome, Done) for outcome in outcomes)


def test_scheduler_lost_for_good_is_one_line(own_cluster: Cluster, tmp_path: Path) -> None:
    own_cluster.start_worker()
    endless = Meeting(wait_for=tmp_path / "never", announce=tmp_path / "ran")
    threading.Thread(target=lambda: (wait_for((tmp_path / "ran").exists), own_cluster.kill_scheduler())).start()
    with (
        dask_config(distributed__comm__timeouts__connect="2s"),
        pytest.raises(ConnectionError, match=r"^the Dask scheduler is gone and did not come back$"),
    ):
        list(DaskExecutor(own_cluster.address).run(meet, [endless]))
    (tmp_path / "never").touch()


def test_no_scheduler_is_one_line() -> None:
    with (
        dask_config(distributed__comm__timeouts__connect="0.1s"),
        pytest.raises(ConnectionError, match=r"^no Dask scheduler answers at tcp://127\.0\.0\.1:1$"),
    ):
        list(DaskExecutor("tcp://127.0.0.1:1").run(square, [1]))


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "", "tls://127.0.0.1:1"])
def test_wrong_address_is_one_line(address: str) -> None:
    with pytest.raises(InputError, match=rf"^`scheduler` \(={address}\) is not usable: ") as refused:
        list(DaskExecutor(address).run(square, [1]))
    assert "\n" not in str(refused.value)


def test_missing_dask_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        InputError, match=r"^Dask is missing here; install fdsl with its extra `dask`, such as pip install '"
    ):
        DaskExecutor("tcp://127.0.0.1:1")


def test_no_garbage_is_collected_in_a_new_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed client that is collected there waits for the new one's lock, and never ends."""

    class Failed:
        def __init__(self) -> None:
            self.cycle = self

    failed = weakref.ref(Failed())
    assert failed() is not None

    def client(*arguments: object, **options: object) -> None:
        assert failed() is None
        assert not gc.isenabled()
        raise OSError

    monkeypatch.setattr("distributed.Client", client)
    with pytest.raises(ConnectionError):
        next(iter(DaskExecutor("tcp://127.0.0.1:1").run(str, [1])))
    assert gc.isenabled()


def test_closing_cancels_pending_tasks(own_cluster: Cluster, tmp_path: Path) -> None:
    own_cluster.start_worker()
    begun = Meeting(wait_for=None, announce=tmp_path / "begun")
    endless = Meeting(wait_for=tmp_path / "never", announce=None)
    with closing(DaskExecutor(own_cluster.address).run(meet, [begun] + 20 * [endless])) as outcomes:
        assert next(outcomes) == Done(begun, begun)
        assert own_cluster.n_tasks() > 0
    wait_for(lambda: own_cluster.n_tasks() == 0)
    (tmp_path / "never").touch()


# TLS


NO_OPENSSL = "" if shutil.which("openssl") else "no openssl: apt-get install openssl"


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A certificate authority, and a certificate that it has signed."""
    if NO_OPENSSL:
        pytest.skip(NO_OPENSSL)
    folder = tmp_path / "tls"
    folder.mkdir()
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=authority", "-keyout", "ca-key.pem", "-out", "ca.pem")  # fmt: skip
    openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=node", "-keyout", "key.pem", "-out", "request.pem")  # fmt: skip
    openssl(folder, "x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial",
            "-days", "2", "-out", "cert.pem")  # fmt: skip
    return folder


def test_tls_needs_a_certificate(certificates: Path, tmp_path: Path) -> None:
    ca, cert, key = (str(certificates / name) for name in ("ca.pem", "cert.pem", "key.pem"))
    cluster = Cluster(tmp_path / "cluster", options=("--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key))
    tls = {"comm__tls__ca_file": ca, "comm__tls__client__cert": cert, "comm__tls__client__key": key}
    try:
        cluster.start_scheduler(protocol="tls")
        assert cluster.address.startswith("tls://")
        cluster.start_worker()
        with dask_config(**{f"distributed__{name.replace('_file', '-file')}": value for name, value in tls.items()}):
            assert by_item(DaskExecutor(cluster.address).run(square, [2, 3])) == {2: Done(2, 4), 3: Done(3, 9)}
        with dask_config(distributed__comm__timeouts__connect="2s"), pytest.raises(ConnectionError, match="no Dask"):
            list(DaskExecutor(cluster.address.replace("tls:", "tcp:")).run(square, [2]))
    finally:
        cluster.stop()
