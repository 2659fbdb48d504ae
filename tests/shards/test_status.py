"""How far a bake is, from the files of its store alone."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from fdsl import Spec, bake, read_status
from fdsl.dataset.plan import Shard
from fdsl.primitives.errors import note_machine
from shards import baking
from shards.directory import Directory
from shards.receipts import Receipt
from shards.stores.folder import Folder
from tests.shards.conftest import SERIAL, shards_of, snapshot
from tests.shards.disk import OnDisk
from tests.shards.harm import invoke

NAME = "train-000003"


def set_times(copy: OnDisk, times: dict[str, float]) -> None:
    """Set when receipts were stored; delete the others."""
    for name, shard in shards_of(copy).items():
        if name in times:
            os.utime(copy.receipt(shard), (times[name], times[name]))
        else:
            copy.receipt(shard).unlink()


def test_complete_dataset(copy: OnDisk) -> None:
    status = read_status(copy.path)
    shards = shards_of(copy)
    assert (status.name, status.hash) == (copy.spec.name, copy.dataset.hash)
    assert status.n_shards == len(shards)
    assert status.n_images == status.n_images_done == sum(shard.n_samples for shard in shards.values())
    assert status.n_bytes_done == sum(copy.tar(shard).stat().st_size for shard in shards.values())
    assert (status.missing, status.failures, status.is_complete) == ((), {}, True)


@pytest.mark.parametrize("kind", [OnDisk.tar, OnDisk.samples, OnDisk.receipt])
def test_shard_without_one_file_is_missing(kind: object, copy: OnDisk) -> None:
    path = kind(copy, shards_of(copy)[NAME])  # type: ignore[operator]
    path.unlink()
    status = read_status(copy.path)
    assert (status.missing, status.is_complete) == ((NAME,), False)


def test_missing_index_is_not_complete(copy: OnDisk) -> None:
    (copy.path / "_info.json").unlink()
    status = read_status(copy.path)
    assert (status.missing, status.is_complete) == ((), False)


def test_rate_is_that_of_the_last_minutes(copy: OnDisk) -> None:
    """The first receipt of the window begins it; older ones do not count."""
    set_times(copy, {"train-000000": 1000, "train-000001": 5000, "train-000004": 5100, "train-000002": 5200})
    shards = shards_of(copy)
    status = read_status(copy.path)
    n_images = shards["train-000004"].n_samples + shards["train-000002"].n_samples
    assert status.images_per_s == n_images / 200
    n_left = status.n_images - sum(shards[f"train-00000{k}"].n_samples for k in (0, 1, 2, 4))
    assert status.seconds_left == n_left / (n_images / 200)
    assert status.idle_s is not None
    assert status.idle_s > 10**6


@pytest.mark.parametrize("times", [{}, {"train-000000": 1000}, {"train-000000": 1000, "train-000001": 1000}])
def test_rate_is_unknown_at_first(times: dict[str, float], copy: OnDisk) -> None:
    set_times(copy, times)
    status = read_status(copy.path)
    assert (status.images_per_s, status.seconds_left) == (None, None)
    assert (status.idle_s is None) == (not times)


@pytest.mark.parametrize("machine", [None, "n7"])
def test_failure_is_noted_until_the_dataset_is_whole(
    machine: str | None, spec: Spec, baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, bake_shard = tmp_path / "out", baking.bake_shard

    def fail_for_one(directory: Directory, shard: Shard) -> Receipt:
        if shard.name == NAME:
            error = ValueError("no luck\x1b[31m")
            if machine is not None:
                note_machine(error, machine)
            raise error
        return bake_shard(directory, shard)

    with monkeypatch.context() as patch:
        patch.setattr(baking, "bake_shard", fail_for_one)
        assert NAME in bake(spec, out, executor=SERIAL).failures
    status = read_status(out)
    assert status.missing == (NAME,)
    named = machine or socket.gethostname()
    assert status.failures == {NAME: f"{named}: no luck\x1b[31m"}
    output = invoke("status", out).output
    assert f"failed     {NAME}: {named}: no luck" in output
    assert "\x1b" not in output
    bake(spec, out, executor=SERIAL)
    assert snapshot(out) == snapshot(baked)


def test_command_prints_the_same_as_json(copy: OnDisk) -> None:
    (copy.path / "_info.json").unlink()
    record = json.loads(invoke("status", copy.path, "--json").output)
    status = replace(read_status(copy.path), idle_s=record["idle_s"])
    assert record == json.loads(json.dumps({**vars(status), "seconds_left": status.seconds_left}))
    assert "the index is missing; run the bake again" in invoke("status", copy.path).output


def test_watching_ends_with_the_dataset(copy: OnDisk) -> None:
    output = invoke("status", copy.path, "--watch").output
    assert output.count("12 of 12 shards") == 1
    assert output.endswith(f"complete; next: fdsl verify {copy.path}\n")


def test_note_may_vanish(copy: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine bakes the shard while its note is read."""
    shard = shards_of(copy)[NAME]
    copy.receipt(shard).rename(copy.path / "receipts" / f"{NAME}.failed")
    read = Folder.read

    def vanish(folder: Folder, name: str, max_bytes: int) -> bytes:
        if name.endswith(".failed"):
            raise FileNotFoundError(name)
        return read(folder, name, max_bytes)

    monkeypatch.setattr(Folder, "read", vanish)
    status = read_status(copy.path)
    assert (status.missing, status.failures) == ((NAME,), {})


def test_huge_note_does_not_hide_the_rest(copy: OnDisk) -> None:
    copy.receipt(shards_of(copy)[NAME]).unlink()
    note = copy.path / "receipts" / f"{NAME}.failed"
    note.touch()
    os.truncate(note, 2**30)
    status = read_status(copy.path)
    assert status.missing == (NAME,)
    assert f"`{note}` has 1,073,741,824 bytes" in status.failures[NAME]
