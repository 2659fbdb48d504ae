"""Samples of tars in order, and their index."""

import contextlib
import hashlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from webdataset.tariterators import base_plus_ext

from trainer.checkpoint import write
from trainer.errors import InputError, one_line
from trainer.images import ENDINGS, LARGEST, parse_label
from trainer.info import INFO, Split

BLOCK = 512
LARGEST_PAX = 1 << 16  # bytes
OVERRIDE = re.compile(rb"(^|\n)\d+ (path|size|GNU\.sparse)\b")
SHARD, OFFSET, SIZE, LABEL = range(4)
Read = Callable[[int, int], bytes]
"""Returns n bytes from a start on; raises EOFError where a tar ends before."""


class Sequential:
    """Reader of a tar from start to end; hashes."""

    def __init__(self, file: Any) -> None:
        self.file, self.position, self.hash = file, 0, hashlib.sha256()

    def read(self, n: int) -> bytes:
        """Read on; fewer bytes at the end."""
        content: bytes = self.file.read(n)
        self.hash.update(content)
        self.position += len(content)
        return content

    def __call__(self, start: int, n: int) -> bytes:
        while self.position < start and self.read(min(start - self.position, 1 << 16)):
            pass
        if len(content := self.read(n)) < n:
            raise EOFError
        return content


def samples(read: Read, take: Callable[[int, int], Any], tar: str, n_classes: int) -> Iterator[tuple[Any, int, str]]:
    """Yield image, label and name of complete samples.

    take : maps an image's offset and size to what is yielded for it.
    """
    images: dict[str, Any] = {}
    labels: dict[str, int] = {}
    with contextlib.suppress(EOFError):
        for name, offset, size in _members(read, tar):
            key, ending = base_plus_ext(name.lower())
            if ending in ENDINGS:
                if size > LARGEST:
                    raise InputError(f"`{tar}`: {name} has {size:,} bytes, an image may have {LARGEST:,}")
                images = {key: take(offset, size)}
            elif ending == "cls":
                labels = {key: parse_label(read(offset, min(size, BLOCK)), f"`{tar}`: {name}", n_classes)}
            if key in images and key in labels:
                yield images.pop(key), labels.pop(key), name


def _members(read: Read, tar: str) -> Iterator[tuple[str, int, int]]:
    """Yield name, offset and size of regular members.

    tarfile takes 16 times as long, and reads extended headers of any size.
    """
    start = 0
    while (header := read(start, BLOCK))[0]:
        number, kind = re.fullmatch(rb" *([0-7]*)[ \0]*", header[124:136]), header[156:157]
        if header[257:262] != b"ustar" or not number:
            raise InputError(f"`{tar}`: no tar header at byte {start}; copy or bake it again")
        start, size = start + BLOCK, int(number[1] or b"0", 8)
        if kind in (b"0", b"\0"):
            yield one_line(header[:100].rstrip(b"\0").decode(errors="replace")), start, size
        is_pax = kind in (b"x", b"g")  # which may hold a time; others' tars do
        if kind in (b"L", b"S") or (is_pax and (size > LARGEST_PAX or OVERRIDE.search(read(start, size)))):
            raise InputError(f"`{tar}`: the header at byte {start} changes a name or size; write the tar as ustar")
        start += -(-size // BLOCK) * BLOCK


def check_sizes(split: Split) -> list[tuple[int, int]]:
    """Check and return sizes; with them, modification times, ns."""
    stats = [Path(split.path(shard)).stat() for shard in range(len(split.filenames))]
    for shard, size in enumerate(split.shard_bytes):
        if (n_bytes := stats[shard].st_size) != size:
            rule = f"{INFO} says {size:,}: it is truncated, or another dataset's"
            raise InputError(f"`{split.path(shard)}` has {n_bytes:,} bytes, {rule}")
    return [(stat.st_size, stat.st_mtime_ns) for stat in stats]


def build_index(split: Split, folder: Path) -> Path:
    """Return a split's index, written if missing or torn.

    int64 (samples, 4), columns: SHARD, OFFSET, SIZE, LABEL. Checks all sizes and the first SHA-256: all would take long.
    """
    stats = check_sizes(split)
    key = hashlib.sha256(f"{split!r} {stats}".encode()).hexdigest()[:16]
    path = folder / f"index-{split.name}-{key}.npy"
    if not _is_whole(path, split, np.array(stats)[:, 0]):
        print(f"indexing {split.num_samples:,} samples of {len(split.filenames):,} tars", file=sys.stderr)
        if split.shard_sha256:
            with Path(split.path(0)).open("rb") as file:
                split.must_have_sha256(0, hashlib.file_digest(file, "sha256").hexdigest())
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate([_scan(split, shard) for shard in range(len(split.filenames))]))
        write(path, buffer.getbuffer())
    return path


def _is_whole(path: Path, split: Split, sizes: np.ndarray) -> bool:
    """Return whether an index exists and fits its tars."""
    try:
        index = np.lib.format.open_memmap(path, mode="r")
    except Exception:  # numpy's parser of headers raises many kinds
        return False
    if index.dtype != np.int64 or index.shape != (split.num_samples, 4):
        return False
    shards = np.repeat(np.arange(len(sizes)), split.shard_lengths)
    ends = index[:, OFFSET] + index[:, SIZE]
    fits = (index[:, SHARD] == shards) & (index[:, OFFSET] >= BLOCK) & (ends <= sizes[shards])
    return bool(fits.all())


def _scan(split: Split, shard: int) -> np.ndarray:
    """Return the samples of one tar, int64 (samples, 4)."""
    tar, expected = Path(split.path(shard)), split.shard_lengths[shard]
    with tar.open("rb") as file:

        def read(start: int, n: int) -> bytes:
            if len(content := os.pread(file.fileno(), n, start)) < n:
                raise EOFError
            return content

        found = samples(read, lambda offset, size: (offset, size), str(tar), split.n_classes)
        rows = np.array([(shard, *place, label) for place, label, _ in found], dtype=np.int64).reshape(-1, 4)
    if len(rows) != expected:
        raise InputError(f"`{tar}` holds {len(rows):,} samples, {INFO} says {expected:,}; copy or bake it again")
    if (rows[:, OFFSET] + rows[:, SIZE] > tar.stat().st_size).any():
        raise InputError(f"`{tar}` is truncated; copy or bake it again")
    return rows
