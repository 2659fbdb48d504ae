"""The contract of a store. A new store adds one fixture to STORES and passes."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fdsl import InputError
from shards.stores.contract import Entry, HashedFile, Store, WrongHashError
from shards.stores.places import open_store
from tests.daemons import empty_place

pytestmark = pytest.mark.slow
STORES = ("folder", "s3", "ssh")
NAMES = ("spec.yaml", "samples/train-000000.parquet")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store of each kind."""
    return open_store(empty_place(request.param, request, tmp_path / "a folder/$(x)'s", monkeypatch))


def write(store: Store, name: str, content: bytes, exclusive: bool = False) -> str:
    with store.create(name, exclusive) as file:
        file.write(content)
    return file.sha256


def write_half(file: HashedFile) -> None:
    file.write(b"half")
    raise ZeroDivisionError


def local_file(folder: Path, content: bytes) -> tuple[Path, str]:
    path = folder / "local"
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


def sizes(store: Store, folder: str = "") -> dict[str, int | None]:
    return {name: entry.n_bytes for name, entry in store.entries(folder).items()}


@pytest.mark.parametrize("name", NAMES)
def test_created_file_is_read_back(store: Store, name: str) -> None:
    content = bytes(range(256)) * 5000
    with store.create(name) as file:
        file.write(content[:1000])
        assert store.stat(name) is None
        file.write(content[1000:])
    assert file.n_bytes == len(content)
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert store.read(name, len(content)) == content
    assert store.stat(name) == Entry(len(content))


def test_empty_file_is_stored(store: Store) -> None:
    write(store, "a", b"")
    assert store.read("a", 0) == b""


def test_put_stores_local_file(store: Store, tmp_path: Path) -> None:
    path, sha256 = local_file(tmp_path, b"x" * 3_000_000)
    store.put("train-000000.tar", path, sha256)
    assert store.read("train-000000.tar", 3_000_000) == path.read_bytes()


def test_put_refuses_a_wrong_hash(store: Store, tmp_path: Path) -> None:
    path, _ = local_file(tmp_path, b"changed after its bake")
    with pytest.raises(WrongHashError, match="SHA-256"):
        store.put("train-000000.tar", path, "0" * 64)
    assert store.entries() == {}


def test_exception_discards_the_file(store: Store) -> None:
    write(store, "a", b"old")
    for name in ("a", "b"):
        with pytest.raises(ZeroDivisionError), store.create(name) as file:
            write_half(file)
    assert sizes(store) == {"a": 3}
    assert store.read("a", 10) == b"old"


def test_create_overwrites(store: Store) -> None:
    write(store, "a", b"old and long")
    write(store, "a", b"new")
    assert store.read("a", 10) == b"new"


def test_exclusive_create_keeps_what_exists(store: Store) -> None:
    write(store, "spec.yaml", b"first", exclusive=True)
    with pytest.raises(FileExistsError):
        write(store, "spec.yaml", b"second", exclusive=True)
    assert store.read("spec.yaml", 10) == b"first"
    assert list(store.entries()) == ["spec.yaml"]


def test_list_shows_one_folder(store: Store) -> None:
    for name in ("a", "samples/b", "samples/c", "receipts/d"):
        write(store, name, name.encode())
    assert sizes(store) == {"a": 1, "samples/": None, "receipts/": None}
    assert sizes(store, "samples") == {"samples/b": 9, "samples/c": 9}
    assert store.entries("nowhere") == {}


def test_empty_store_has_no_files(store: Store) -> None:
    assert store.entries() == {}
    assert store.stat("a") is None
    with pytest.raises(FileNotFoundError) as error:
        store.read("a", 10)
    assert error.value.filename == store.locate("a")


def test_read_refuses_more_than_the_bound(store: Store) -> None:
    write(store, "a", b"12345")
    with pytest.raises(
        InputError, match=r"a` (is not a regular file or is larger|has 5 bytes; such a file has at most 4)"
    ):
        store.read("a", 4)
    assert store.read("a", 5) == b"12345"


def test_delete_ignores_missing_files(store: Store) -> None:
    write(store, "a", b"1")
    for _ in range(2):
        store.delete("a")
        assert store.entries() == {}


def test_store_is_pickled_by_name(store: Store) -> None:
    write(store, "a", b"1")
    assert pickle.loads(pickle.dumps(store)).read("a", 1) == b"1"


WRITE_AND_WAIT = """
import sys
from shards.stores.places import open_store
with open_store(sys.argv[1]).create("a") as file:
    file.write(b"half")
    print("half", flush=True)
    sys.stdin.read()
"""


def test_killed_writer_leaves_nothing_visible(store: Store) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_WAIT, store.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        os.kill(writer.pid, signal.SIGKILL)
    assert store.entries() == {}
    write(store, "a", b"whole")
    assert sizes(store) == {"a": 5}


# What a bake and its checks need


def test_later_file_is_not_older(store: Store) -> None:
    for name in ("a", "b"):
        write(store, name, b"1")
    entries = store.entries()
    assert 0 < entries["a"].modified <= entries["b"].modified


def test_file_is_read_in_pieces(store: Store) -> None:
    content = bytes(range(256)) * 5000
    write(store, "samples/a", content)
    with store.open("samples/a") as file:
        assert file.n_bytes == len(content)
        pieces = []
        while piece := file.read(300_000):
            pieces.append(piece)
    assert b"".join(pieces) == content


def test_file_may_be_closed_early(store: Store) -> None:
    write(store, "a", bytes(10**6))
    with store.open("a") as file:
        file.read(10)
    assert store.read("a", 10**6) == bytes(10**6)


def test_missing_file_cannot_be_opened(store: Store) -> None:
    with pytest.raises(FileNotFoundError), store.open("a"):
        pass


def test_preflight_leaves_nothing(store: Store) -> None:
    store.preflight(("samples",))
    assert store.entries() == {}


def test_reserved_place_is_written(store: Store) -> None:
    with store.reserve(0, 3, ["a"]):
        write(store, "a", b"1")
    assert store.read("a", 1) == b"1"
