"""Datasets in remote stores: baked, checked and repaired there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fdsl import InputError, Spec, bake, open_directory, repair, verify
from shards.events import Advanced, Event
from shards.problems import Kind
from shards.stores import uploading
from shards.stores.contract import Store, write_content
from shards.stores.places import open_store
from tests.daemons import S3Server, empty_place
from tests.processes import wait_for
from tests.shards.conftest import FDSL, SERIAL, content, files

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("family", ["rcdb"], indirect=True, scope="session")]
"""A store knows files only, so one family will do."""

TAR = "train-000003.tar"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty place in a bucket."""
    return open_store(empty_place("s3", request, tmp_path, monkeypatch))


@pytest.fixture
def source(spec: Spec, tmp_path: Path) -> Path:
    """The spec as a YAML file."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(spec.to_mapping()))
    return path


def command(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [FDSL, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def kill(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("kind", ["s3", "ssh"])
def test_bake_into_a_store(
    kind: str, spec: Spec, baked: Path, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = empty_place(kind, request, tmp_path / "there", monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "local"))
    (tmp_path / "local").mkdir()
    result = bake(spec, url, executor=SERIAL)
    assert (result.n_shards, result.n_missing, result.failures) == (12, 0, {})
    assert content(open_store(url)) == files(baked)
    assert verify(url, executor=SERIAL, rerender=3).problems == ()
    again = bake(spec, url, executor=SERIAL)
    assert (again.n_shards, again.n_found) == (0, 12)
    assert not any((tmp_path / "local").iterdir())


def test_dataset_is_opened_by_its_url(spec: Spec, baked: Path, place: Store) -> None:
    bake(spec, place.url, executor=SERIAL, shards="0:1")
    assert open_directory(place.url).dataset.hash == open_directory(baked).dataset.hash
    with pytest.raises(InputError, match=f"`out` .={place.url}. must be a folder on a disk"):
        open_directory(place.url).path  # noqa: B018 - raises


def test_machines_share_the_work(spec: Spec, baked: Path, place: Store) -> None:
    assert bake(spec, place.url, executor=SERIAL, shards="0:7").n_missing == 5
    assert "_info.json" not in place.entries()
    assert bake(spec, place.url, executor=SERIAL, shards="7:12").n_missing == 0
    assert content(place) == files(baked)


def test_killed_command_resumes(
    source: Path, baked: Path, place: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("bake", source, "-o", place.url, "--workers", 2, "-q")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = command(*words)
    wait_for(lambda: process.poll() is not None or len(place.entries("receipts")) > 1)
    kill(process)
    assert not list(tmp_path.rglob("*train-*"))
    output, errors = command(*words).communicate()
    assert "the dataset is complete" in output, errors
    assert content(place) == files(baked)


def test_two_commands_at_once_are_harmless(source: Path, baked: Path, place: Store) -> None:
    processes = [command("bake", source, "-o", place.url, "--workers", 1, "-q") for _ in range(2)]
    for process in processes:
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    assert content(place) == files(baked)


def test_server_restarts_during_a_bake(
    spec: Spec, baked: Path, place: Store, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "WAITS_S", (0.5,) * 600)
    restarts = iter([s3_server.kill, s3_server.start])

    def restart(event: Event) -> None:
        if isinstance(event, Advanced) and event.item.startswith("train"):
            for step in restarts:
                step()

    assert bake(spec, place.url, executor=SERIAL, listener=restart).n_missing == 0
    assert next(restarts, None) is None
    assert content(place) == files(baked)


HARMS: dict[str, tuple[Callable[[Store], None], Kind, str]] = {
    "bit flipped": (lambda store: replace(store, TAR, flipped), Kind.SHARD, TAR),
    "cut": (lambda store: replace(store, TAR, lambda content: content[:-1024]), Kind.SHARD, TAR),
    "tar deleted": (lambda store: store.delete(TAR), Kind.SHARD, TAR),
    "table deleted": (
        lambda store: store.delete("samples/train-000003.parquet"), Kind.SHARD, "samples/train-000003.parquet",
    ),
    "receipt deleted": (lambda store: store.delete("receipts/train-000003.json"), Kind.SHARD, TAR),
    "categories deleted": (lambda store: store.delete("categories.parquet"), Kind.CATEGORIES, "categories.parquet"),
    "index edited": (lambda store: replace(store, "_info.json", lambda content: b"{}"), Kind.INDEX, "_info.json"),
    "surplus shard": (lambda store: write_content(store, "train-000044.tar", b"x"), Kind.EXTRA, "train-000044.tar"),
}  # fmt: skip


def replace(store: Store, name: str, change: Callable[[bytes], bytes]) -> None:
    write_content(store, name, change(store.read(name, 10**8)))


def flipped(content: bytes) -> bytes:
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


def test_damage_is_found_and_repaired(spec: Spec, baked: Path, place: Store) -> None:
    bake(spec, place.url, executor=SERIAL)
    for name, (harm, kind, path) in HARMS.items():
        harm(place)
        problems = verify(place.url, executor=SERIAL).problems
        assert {(problem.kind, problem.path) for problem in problems} == {(kind, path)}, name
        repair(place.url, executor=SERIAL)
        assert content(place) == files(baked), name


def test_other_dataset_is_refused(spec: Spec, place: Store) -> None:
    bake(spec, place.url, executor=SERIAL, shards="0:1")
    before = content(place)
    with pytest.raises(InputError, match=f"`out` .={place.url}. holds another dataset: `seed`"):
        bake(spec.replace(seed=8), place.url, executor=SERIAL)
    assert content(place) == before


def test_foreign_objects_are_refused(spec: Spec, place: Store) -> None:
    write_content(place, "thesis.pdf", b"precious")
    with pytest.raises(InputError, match=f"`out` .={place.url}. holds other files .thesis.pdf. and no spec.yaml"):
        bake(spec, place.url, executor=SERIAL)
    assert content(place).keys() == {"thesis.pdf"}


def test_bucket_is_checked_before_work(source: Path, place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "writer")  # for whom this server does not create a bucket
    for words in (("bake", source, "-o", "s3://nowhere-at-all/x"), ("verify", "s3://nowhere-at-all/x")):
        process = command(*words)
        output, errors = process.communicate()
        assert (process.returncode, output) == (1, "")
        assert errors.count("\n") == 1
        assert "s3://nowhere-at-all/x" in errors
        assert "bucket" in errors


def test_commands_take_urls(source: Path, place: Store) -> None:
    process = command("bake", source, "-o", place.url, "--workers", 1, "-q", "--shards", "0:2")
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert f"{place.url}: baked " in output
    process = command("verify", place.url, "--workers", 1, "-q", "--json")
    output, errors = process.communicate()
    assert len(json.loads(output)["problems"]) == 10
    assert errors.endswith(f"next: fdsl repair {place.url}\n")
    process = command("repair", place.url, "--workers", 1, "-q")
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert verify(place.url, executor=SERIAL).problems == ()
    process = command("show", place.url)
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert f"\nhash   {open_directory(place.url).dataset.hash}\n" in output
