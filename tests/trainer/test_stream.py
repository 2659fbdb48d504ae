"""Shards behind URLs: every sample exactly once an epoch over all ranks and workers, cut connections, and what is wrong."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import stream
from batches import LEAST, Batches
from data import loader
from images import decoded
from info import DataError, Split, read_split
from stream import Stream
from tests.trainer.conftest import picture, write_dataset, write_split

CURL = pytest.mark.skipif(not shutil.which("curl"), reason="webdataset opens http:// with curl, which is not here")


def as_it_is(pixels: np.ndarray) -> np.ndarray:
    return pixels.copy()


def number_of(image: torch.Tensor, numbers: dict[bytes, int]) -> int:
    return numbers[image.numpy().tobytes()]


def numbers(n: int) -> dict[bytes, int]:
    return {decoded(picture(i % 4, i)).tobytes(): i for i in range(n)}


def over(batches: Batches, images: Stream) -> Stream:
    images.batches = batches
    return images


def opened(place: object, batches: Batches, seed: int = 3) -> Stream:
    return over(batches, Stream(read_split(str(place), "train"), as_it_is, seed))


def taken(
    stream_of_batches: Iterator[Any], batches: Batches, first: int, last: int, known: dict[bytes, int]
) -> list[list[int]]:
    """The samples of some steps, those that count."""
    found = []
    for step in range(first, last):
        images, labels = next(stream_of_batches)
        assert len(images) == len(labels) == max(LEAST, batches.count(step % batches.steps))
        ids = [number_of(image, known) for image in images[: batches.count(step % batches.steps)]]
        assert [i % 4 for i in ids] == labels[: len(ids)].tolist()
        found.append(ids)
    return found


LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any)


@settings(deadline=None, max_examples=200)
@given(
    LENGTHS,
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 3),
    st.booleans(),
)
def test_arcs_cover_the_circle_once(
    lengths: list[int], batch: int, world: int, workers: int, repeats: int, epoch: int, shuffle: bool
) -> None:
    n = sum(lengths)
    split = Split("pipe:cat {}", "train", tuple(map(str, range(len(lengths)))), tuple(lengths), 4, "")
    visits, seen = [], Counter[tuple[int, int]]()
    for rank in range(world):
        batches = Batches(n, batch, rank, world, 1, shuffle, repeats)
        images = over(batches, Stream(split, as_it_is, 5))
        for worker in range(workers):
            first, last = images.arc(epoch, worker, workers)
            visits += list(range(first, last))
            for shard, low, high in images.pieces(epoch, first, last):
                assert 0 <= low < high <= lengths[shard]
                seen.update((shard, i) for i in range(low, high))
    assert visits == list(range(n))
    assert seen == Counter((shard, i) for shard, length in enumerate(lengths) for i in range(length))


@pytest.mark.parametrize("lengths", [[32, 32, 32, 32], [40, 7, 23, 31, 19], [100], [1, 1, 1], [17]])
@pytest.mark.parametrize("workers", [0, 3])
def test_loaders_give_each_sample_once_an_epoch(lengths: list[int], workers: int, tmp_path: Path) -> None:
    folder, n, world = write_dataset(tmp_path / "data", lengths, [1]), sum(lengths), 2
    ranks = [Batches(n, 8, rank, world, seed=2) for rank in range(world)]
    loaders = [loader(opened(f"pipe:cat {folder}/{{}}", each), each, workers, pin=False) for each in ranks]
    known, orders = numbers(n), []
    for epoch in range(3):
        found = [
            taken(images, each, epoch * each.steps, (epoch + 1) * each.steps, known)
            for each, images in zip(ranks, loaders, strict=True)
        ]
        assert Counter(i for rank in found for batch in rank for i in batch) == Counter(range(n))
        orders.append(str(found))
    assert len(set(orders)) == 3 or n < 8


def test_repeats_are_other_visits_of_a_third_of_the_samples(small: Path) -> None:
    seen: Counter[int] = Counter()
    for rank in range(2):
        batches = Batches(120, 8, rank, 2, seed=2, repeats=3)
        images = opened(f"pipe:cat {small}/{{}}", batches)
        for worker in range(2):
            seen.update(visit * 120 + i for _, _, _, visit, i in images._samples(1, worker, 2))
    assert set(seen.values()) == {1}
    assert len({j % 120 for j in seen}) == 40
    assert {j // 120 for j in seen} == {3, 4, 5}


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_an_epoch_is_gone_on_with_at_any_step(workers: int, small: Path) -> None:
    known = numbers(120)
    whole = Batches(120, 8, 1, 2, seed=2)
    expected = taken(loader(opened(f"pipe:cat {small}/{{}}", whole), whole, workers, False), whole, 0, 24, known)
    for start in (1, 5, 8, 13):
        later = Batches(120, 8, 1, 2, seed=2)
        later.start = start
        images = loader(opened(f"pipe:cat {small}/{{}}", later), later, workers, False)
        assert taken(images, later, start, start + 9, known) == expected[start : start + 9]


class Faulty(SimpleHTTPRequestHandler):
    """Serves a folder; cuts the first answers for each tar after some bytes."""

    cut: int
    asked: Counter[str]

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.asked[name] += 1
        path = Path(self.directory) / name
        if not name.endswith(".tar") or self.asked[name] > self.cut or not path.exists():
            return super().do_GET()
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) * self.asked[name] // (self.cut + 2)])
        self.close_connection = True
        return None

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def served(folder: Path, cut: int = 0) -> Iterator[tuple[str, Counter[str]]]:
    asked: Counter[str] = Counter()
    handler = type("Handler", (Faulty,), {"cut": cut, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@CURL
@pytest.mark.parametrize("cut", [0, 2])
def test_connections_that_are_cut_are_made_again_and_nothing_is_lost_or_repeated(
    cut: int, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(stream, "sleep", waits.append)
    with served(small, cut) as (url, asked):
        batches = Batches(120, 8, seed=2)
        found = taken(iter(opened(url, batches)), batches, 0, batches.steps, numbers(120))
    assert sorted(itertools.chain(*found)) == list(range(120))
    assert len(waits) == 5 * cut
    assert asked["train-000003.tar"] in (cut + 1, cut + 2)


def read_through(place: str, shuffle: bool = True) -> None:
    batches = Batches(120, 8, shuffle=shuffle)
    images = iter(opened(place, batches))
    for _ in range(batches.steps):
        next(images)


HARMS: dict[str, Callable[[Path], object]] = {
    r"train-000002\.tar.*: 13 of 23 samples could be read, 5 times tried": lambda folder: cut_between_members(folder),
    r"train-000001\.tar.*: 0 of 7 samples could be read": lambda folder: (folder / "train-000001.tar").unlink(),
    r"train-000001\.tar.*` holds more samples than the 7": lambda folder: shutil.copy(
        folder / "train-000002.tar", folder / "train-000001.tar"
    ),
    r"train-000001\.tar.*` has the MD5 \w{32}; _info\.json says \w{32}: it is damaged, or": lambda folder: exchange(
        folder
    ),
    r"_info\.json.*` cannot be read": lambda folder: (folder / "_info.json").unlink(),
    r"\.cls is 3; there are 3 classes": lambda folder: edit(folder, num_classes=3),
    r"has no `num_classes`; give --classes": lambda folder: edit(folder, num_classes=0),
}


def edit(folder: Path, **changes: object) -> None:
    path = folder / "_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def exchange(folder: Path) -> None:
    """Say what the tars' MD5s are, and put another dataset's in the place of one: as many samples, with the same labels."""
    md5 = {tar.name: hashlib.md5(tar.read_bytes()).hexdigest() for tar in sorted(folder.glob("*.tar"))}
    edit(folder, shardlist=[{"url": name, "md5sum": each} for name, each in md5.items()])
    write_split(folder / "other", "train", [40, 7], first=1_000)
    (folder / "other" / "train-000001.tar").replace(folder / "train-000001.tar")


def cut_between_members(folder: Path) -> None:
    from tars import OFFSET, indexed, mapped

    index = mapped(indexed(read_split(folder, "train"), folder))
    os.truncate(folder / "train-000002.tar", int(index[60, OFFSET]) - 512)


@CURL
@pytest.mark.parametrize("told", HARMS)
@pytest.mark.parametrize("way", ["http", "pipe"])
def test_what_is_wrong_behind_a_url_is_told_by_name(
    told: str, way: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "sleep", lambda seconds: None)
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    HARMS[told](folder)
    with served(folder) as (url, _), pytest.raises(DataError, match=told):
        read_through(url if way == "http" else f"pipe:cat {folder}/{{}} 2>/dev/null")


def test_the_last_shard_of_a_split_that_is_not_shuffled_is_compared_too(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    edit(folder, shardlist=[{"url": "train-000004.tar", "md5sum": 32 * "0"}])
    with pytest.raises(DataError, match=r"train-000004\.tar.*_info\.json says 0000"):
        read_through(f"pipe:cat {folder}/{{}}", shuffle=False)


def test_what_cannot_be_opened_is_told() -> None:
    with pytest.raises(DataError, match=r"must hold \{\} where a file's name goes"):
        read_split("pipe:cat /tmp/x.tar", "train")
    with pytest.raises(DataError, match=r"webdataset cannot open nowhere://x/_info\.json"):
        read_split("nowhere://x", "train")


def test_names_of_files_are_quoted_for_the_shell(tmp_path: Path) -> None:
    split = Split(f"pipe:cat {tmp_path}/{{}}", "train", (f"x; touch {tmp_path}/evil",), (1,), 1, "")
    images = over(Batches(1, 1), Stream(split, as_it_is, 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "sleep", lambda seconds: None)
        with pytest.raises(DataError, match="0 of 1 samples"):
            next(iter(images))
    assert not (tmp_path / "evil").exists()
    assert (
        Split("s3://bucket/x", "train", ("a b.tar",), (1,), 1, "").where(0)
        == "pipe:aws s3 cp --only-show-errors 's3://bucket/x/a b.tar' -"
    )
