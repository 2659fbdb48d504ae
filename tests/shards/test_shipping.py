"""Shipping to a folder, an object store and another machine: what arrives, what is cut off, what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from fdsl import InputError, bake, loader_urls, ship
from fdsl.dataset.plan import plan_shards
from shards import shipping
from shards.stores.contract import Store
from shards.stores.folder import Folder, file_sha256
from tests.commands import refused
from tests.daemons import S3Server, use_s3
from tests.processes import wait_for
from tests.shards.conftest import FDSL, SERIAL, content, files, small_spec
from tests.shards.disk import OnDisk
from tests.shards.harm import damage, reseal_all
from tests.shards.test_lock import held

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("family", ["rcdb"], indirect=True, scope="session")]
"""Shipping knows files only, so one family will do."""


def test_shipped_dataset_is_equal(baked: Path, destination: Store, tmp_path: Path) -> None:
    result = ship(baked, destination.url, executor=SERIAL)
    assert (result.n_shards, result.n_found, result.n_missing, result.is_complete) == (12, 0, 0, True)
    assert not result.failures
    assert content(destination) == files(baked)
    for name in [*content(destination), "SHA256SUMS"]:  # as the receiver checks it
        path = tmp_path / "received" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(destination.read(name, 10**8))
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=tmp_path / "received", check=True)


def test_nothing_is_sent_twice(baked: Path, destination: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(baked, destination.url, executor=SERIAL)
    monkeypatch.setattr(type(destination), "put", None)
    monkeypatch.setattr(type(destination), "create", None)
    result = ship(baked, destination.url, executor=SERIAL)
    assert (result.n_shards, result.n_found, result.is_complete) == (0, 12, True)


def test_unfinished_bake_is_shipped_without_index(copy: OnDisk, destination: Store, tmp_path: Path) -> None:
    bake(copy.spec, tmp_path / "out", shards="0:5", executor=SERIAL)
    result = ship(tmp_path / "out", destination.url, executor=SERIAL)
    assert (result.n_shards, result.n_missing, result.is_complete) == (5, 7, False)
    assert "_info.json" not in destination.entries()
    bake(copy.spec, tmp_path / "out", executor=SERIAL)
    result = ship(tmp_path / "out", destination.url, executor=SERIAL)
    assert (result.n_shards, result.n_found, result.is_complete) == (7, 5, True)
    assert content(destination) == files(tmp_path / "out")


def test_damaged_shard_is_not_sent(copy: OnDisk, destination: Store) -> None:
    path = copy.tar(plan_shards(copy.spec)[3])
    damaged = bytearray(path.read_bytes())
    damaged[1000] ^= 1
    path.write_bytes(damaged)
    result = ship(copy.path, destination.url, executor=SERIAL)
    assert list(result.failures) == [path.stem]
    assert "fdsl repair" in result.failures[path.stem]
    assert (result.n_shards, result.n_missing, result.is_complete) == (11, 1, False)
    assert path.name not in destination.entries()


def test_lost_file_there_is_sent_again(baked: Path, destination: Store) -> None:
    ship(baked, destination.url, executor=SERIAL)
    destination.delete("train-000003.tar")
    result = ship(baked, destination.url, executor=SERIAL)
    assert (result.n_shards, result.n_found) == (1, 11)
    assert content(destination) == files(baked)


@pytest.mark.parametrize("name", ["categories.parquet", "shards.parquet", "README.md", "SHA256SUMS", "_info.json"])
@pytest.mark.parametrize("is_emptied", [False, True])
def test_lost_index_file_is_sent_again(name: str, is_emptied: bool, baked: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    ship(baked, there, executor=SERIAL)
    before = files(there)
    (there / name).unlink()
    if is_emptied:
        (there / name).touch()
    result = ship(baked, there, executor=SERIAL)
    assert (result.n_shards, result.is_complete) == (0, True)
    assert files(there) == before


@pytest.mark.parametrize("was_complete", [False, True])
def test_shard_with_other_bytes_is_sent_again(was_complete: bool, copy: OnDisk, destination: Store) -> None:
    ship(copy.path, destination.url, executor=SERIAL)
    if not was_complete:
        destination.delete("_info.json")
    shard = plan_shards(copy.spec)[3]
    damage(copy.tar(shard), 1000)
    reseal_all(copy, shard)  # as a bake with another version of a package does
    result = ship(copy.path, destination.url, executor=SERIAL)
    assert (result.n_shards, result.n_found, result.is_complete) == (1, 11, True)
    assert content(destination) == files(copy.path)
    sums = destination.read("SHA256SUMS", 10**5).decode()
    assert f"{file_sha256(copy.tar(shard))}  train-000003.tar\n" in sums


def test_old_index_is_deleted_before_a_shard_is_replaced(copy: OnDisk, tmp_path: Path) -> None:
    there = tmp_path / "there"
    ship(copy.path, there, executor=SERIAL)
    shards = plan_shards(copy.spec)[3:5]
    for shard in shards:
        damage(copy.tar(shard), 1000)
    reseal_all(copy, shards[0])
    reseal_all(copy, shards[1])
    damage(copy.tar(shards[1]), 2000)
    result = ship(copy.path, there, executor=SERIAL)
    assert (result.n_shards, list(result.failures), result.is_complete) == (1, ["train-000004"], False)
    assert not (there / "_info.json").exists()


def test_part_of_a_complete_dataset_changes_nothing(copy: OnDisk, tmp_path: Path) -> None:
    there = tmp_path / "there"
    ship(copy.path, there, executor=SERIAL)
    before = files(there)
    bake(copy.spec, tmp_path / "part", shards="0:3", executor=SERIAL)
    result = ship(tmp_path / "part", there, executor=SERIAL)
    assert (result.n_shards, result.n_found) == (0, 3)
    assert files(there) == before


def test_other_dataset_is_refused(baked: Path, destination: Store, copy: OnDisk, tmp_path: Path) -> None:
    bake(small_spec(copy.spec.family, seed=8), tmp_path / "other", shards="0:1", executor=SERIAL)
    ship(tmp_path / "other", destination.url, executor=SERIAL)
    with pytest.raises(InputError, match="holds another dataset"):
        ship(baked, destination.url, executor=SERIAL)


def test_other_files_are_refused(baked: Path, destination: Store) -> None:
    with destination.create("thesis.tex") as file:
        file.write(b"mine")
    with pytest.raises(InputError, match=r"holds other files \(thesis\.tex\)"):
        ship(baked, destination.url, executor=SERIAL)
    assert list(destination.entries()) == ["thesis.tex"]


def test_dataset_is_not_shipped_onto_itself(baked: Path) -> None:
    with pytest.raises(InputError, match="is the dataset itself"):
        ship(baked, f"{baked}/../{baked.name}", executor=SERIAL)


def test_follow_goes_on_until_the_bake_is_complete(
    copy: OnDisk, destination: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "_POLL_S", 0.05)
    out = tmp_path / "out"
    bake(copy.spec, out, shards="0:2", executor=SERIAL)

    def finish() -> None:
        wait_for(lambda: len(destination.entries("receipts")) == 2)
        subprocess.run([FDSL, "bake", out / "spec.yaml", "-o", out, "-q"], check=True)

    thread = threading.Thread(target=finish)
    thread.start()
    result = ship(out, destination.url, executor=SERIAL, follow=True)
    thread.join()
    assert (result.n_shards, result.is_complete) == (12, True)
    assert content(destination) == files(out)


class Waits:
    """Counts the waits of `ship --follow`, which take no time; calls a function at the third."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
        self.n, self._then = 0, then
        monkeypatch.setattr(shipping, "PATIENCE_S", -1.0)
        monkeypatch.setattr(shipping.time, "sleep", self)

    def __call__(self, seconds: float) -> None:
        self.n += 1
        if self.n == 3:
            self._then()


def test_follow_ends_with_a_dead_bake(copy: OnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bake(copy.spec, tmp_path / "out", shards="0:2", executor=SERIAL)
    waits = Waits(monkeypatch, pytest.fail)
    line = refused("ship", tmp_path / "out", tmp_path / "there", "--follow", "--workers", 1)
    assert "nobody has baked a shard for " in line
    assert line.endswith("; resume the bake, then run this command again")
    assert waits.n == 1, "one round that sends, one that finds nothing new"
    assert len(list((tmp_path / "there" / "receipts").iterdir())) == 2


def test_follow_waits_for_a_running_bake(copy: OnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    bake(copy.spec, out, shards="0:2", executor=SERIAL)
    with held(out, 5, 1) as process:
        waits = Waits(monkeypatch, process.communicate)
        result = ship(out, tmp_path / "there", executor=SERIAL, follow=True)
    assert (result.n_shards, result.is_complete, waits.n) == (2, False, 3)


@pytest.mark.parametrize("destination", ["s3"], indirect=True)
def test_dataset_is_shipped_from_a_store(baked: Path, destination: Store, tmp_path: Path) -> None:
    ship(baked, destination.url, executor=SERIAL)
    result = ship(destination.url, tmp_path / "back", executor=SERIAL)
    assert (result.n_shards, result.is_complete) == (12, True)
    assert content(Folder(tmp_path / "back")) == files(baked)
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=tmp_path / "back", check=True)
    damaged = bytearray(destination.read("train-000003.tar", 10**8))
    damaged[1000] ^= 1
    with destination.create("train-000003.tar") as file:
        file.write(damaged)
    (tmp_path / "back" / "train-000003.tar").unlink()
    result = ship(destination.url, tmp_path / "back", executor=SERIAL)
    assert list(result.failures) == ["train-000003"]
    assert not (tmp_path / "back" / "train-000003.tar").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_loader_reads_the_urls(baked: Path, destination: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(baked, destination.url, executor=SERIAL)
    url = loader_urls(destination.url)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if "aws" in url and shutil.which("aws") is None:
        assert url == f"pipe:aws s3 cp {destination.url}/train-{{000000..000008}}.tar -"
        pytest.skip("no aws command: pip install awscli; tests/trainer reads by it, too")
    assert n_samples(url) == 60


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_loader_reads_over_http(baked: Path, tmp_path: Path) -> None:
    ship(baked, tmp_path / "there", executor=SERIAL)
    with http_server(tmp_path / "there") as base:
        assert n_samples(loader_urls(tmp_path / "there", base=base)) == 60
        assert n_samples(loader_urls(tmp_path / "there", "validation", base=base)) == 15


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_loader_reads_presigned_urls(baked: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(s3_server, monkeypatch)
    from shards.stores import s3

    ship(baked, "s3://shards/presigned", executor=SERIAL)
    sign = partial(s3._client().generate_presigned_url, "get_object")
    keys = [f"presigned/train-{number:06d}.tar" for number in range(9)]
    assert n_samples([sign(Params={"Bucket": "shards", "Key": key}) for key in keys]) == 60


def n_samples(urls: str | list[str]) -> int:
    """Return how many samples webdataset reads."""
    import webdataset

    keys = [sample["__key__"] for sample in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)]
    assert len(set(keys)) == len(keys)
    return len(keys)


@contextmanager
def http_server(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP; yields its URL."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().split(" port ")[1].split()[0]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def test_gap_is_no_range(baked: Path, destination: Store) -> None:
    ship(baked, destination.url, executor=SERIAL)
    destination.delete("train-000003.tar")
    with pytest.raises(InputError, match=r"misses train-000003\.tar; complete it by `fdsl ship`"):
        loader_urls(destination.url)


SHIP = """
import sys
from shards.executors.local import LocalExecutor
from shards.shipping import ship
sys.exit(not ship(*sys.argv[1:], executor=LocalExecutor(2)).is_complete)
"""


def test_several_workers_send_the_same(baked: Path, destination: Store) -> None:
    """In a process of its own: a pool of earlier tests has their environment."""
    subprocess.run([sys.executable, "-c", SHIP, baked, destination.url], cwd=Path(__file__).parents[2], check=True)
    assert content(destination) == files(baked)
