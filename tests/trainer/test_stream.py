"""Shards behind URLs: loaders, cut connections, damage."""

from __future__ import annotations

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

from tests.trainer.conftest import edit_info, picture, write_dataset, write_split
from trainer import data
from trainer.batches import SMALLEST, Batches
from trainer.data import Stream, loader
from trainer.errors import InputError
from trainer.images import decode
from trainer.info import Split, read_split
from trainer.tars import OFFSET, build_index

CURL = pytest.mark.skipif(not shutil.which("curl"), reason="webdataset opens http:// with curl, which is not here")


def as_it_is(pixels: np.ndarray) -> np.ndarray:
    return pixels.copy()


def number_of(image: torch.Tensor, numbers: dict[bytes, int]) -> int:
    return numbers[image.numpy().tobytes()]


def numbers(n: int) -> dict[bytes, int]:
    return {decode(picture(i % 4, i)).tobytes(): i for i in range(n)}


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
        assert len(images) == len(labels) == max(SMALLEST, batches.count(step % batches.steps))
        ids = [number_of(image, known) for image in images[: batches.count(step % batches.steps)]]
        assert [i % 4 for i in ids] == labels[: len(ids)].tolist()
        found.append(ids)
    return found


def split_of(place: str, names: list[str], lengths: list[int]) -> Split:
    return Split(filenames=names, shard_lengths=lengths, num_samples=sum(lengths), place=place, n_classes=4)


LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any)


@settings(deadline=None, max_examples=200)
@given(
    LENGTHS,
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 3),
    st.booleans(),
)
def test_arcs_cover_the_circle_once(
    lengths: list[int], batch: int, world: int, workers: int, repeats: int, accumulate: int, epoch: int, shuffle: bool
) -> None:
    n = sum(lengths)
    split = split_of("pipe:cat {}", [str(k) for k in range(len(lengths))], lengths)
    visits, seen = [], Counter[tuple[int, int]]()
    for rank in range(world):
        batches = Batches(n, batch, rank, world, 1, shuffle, repeats, accumulate)
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
def test_loaders_give_every_sample_once(lengths: list[int], workers: int, tmp_path: Path) -> None:
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


def test_repeats_visit_a_third_of_the_samples(small: Path) -> None:
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
def test_an_epoch_resumes_at_any_step(workers: int, small: Path) -> None:
    known = numbers(120)
    whole = Batches(120, 8, 1, 2, seed=2)
    expected = taken(loader(opened(f"pipe:cat {small}/{{}}", whole), whole, workers, False), whole, 0, 24, known)
    for start in (1, 5, 8, 13):
        later = Batches(120, 8, 1, 2, seed=2)
        later.start = start
        images = loader(opened(f"pipe:cat {small}/{{}}", later), later, workers, False)
        assert taken(images, later, start, start + 9, known) == expected[start : start + 9]


class Faulty(SimpleHTTPRequestHandler):
    """Server of a folder that cuts its first answers."""

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
def test_cut_connections_lose_and_repeat_nothing(cut: int, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(data, "sleep", waits.append)
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
    r"train-000002\.tar.*: 13 of 23 samples could be read in 5 tries": lambda folder: cut_between_members(folder),
    r"train-000001\.tar.*: 0 of 7 samples could be read": lambda folder: (folder / "train-000001.tar").unlink(),
    r"train-000001\.tar.*` holds more samples than the 7": lambda folder: shutil.copy(
        folder / "train-000002.tar", folder / "train-000001.tar"
    ),
    r"train-000001\.tar.*` has the SHA-256 \w{64}, _info\.json says \w{64}: it is damaged": lambda folder: exchange(
        folder
    ),
    r"_info\.json.*` cannot be read": lambda folder: (folder / "_info.json").unlink(),
    r"\.cls is b'3'; it must be a whole number below 3": lambda folder: edit_info(folder, num_classes=3),
    r"has no `num_classes`; give --classes": lambda folder: edit_info(folder, num_classes=0),
}


def exchange(folder: Path) -> None:
    """Replace a tar by another with the same labels."""
    write_split(folder / "other", "train", [40, 7], first=1_000)
    (folder / "other" / "train-000001.tar").replace(folder / "train-000001.tar")


def cut_between_members(folder: Path) -> None:
    index = np.load(build_index(read_split(str(folder), "train"), folder))
    os.truncate(folder / "train-000002.tar", int(index[60, OFFSET]) - 512)


@CURL
@pytest.mark.parametrize("rule", HARMS)
@pytest.mark.parametrize("way", ["http", "pipe"])
def test_damage_behind_a_url_is_named(
    rule: str, way: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "sleep", lambda seconds: None)
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    HARMS[rule](folder)
    with served(folder) as (url, _), pytest.raises(InputError, match=rule):
        read_through(url if way == "http" else f"pipe:cat {folder}/{{}} 2>/dev/null")


def test_the_last_shard_is_hashed_too(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    split = json.loads((folder / "_info.json").read_text())["splits"]["train"]
    split["shard_sha256"][4] = 64 * "0"
    edit_info(folder, splits={"train": split})
    with pytest.raises(InputError, match=r"train-000004\.tar.*_info\.json says 0000"):
        read_through(f"pipe:cat {folder}/{{}}", shuffle=False)
