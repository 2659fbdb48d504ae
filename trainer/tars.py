"""Where every sample of a directory of tars stands: found once, by walking the 512-byte headers, and mapped by all ranks."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from info import DataError, Split

BLOCK = 512
IMAGES = ("png", "jpg", "jpeg", "webp")
SHARD, OFFSET, SIZE, LABEL = range(4)
_MANY = 100
_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")
"""KEY.ENDING, as webdataset takes it apart."""


def _members(content: mmap.mmap, tar: str) -> Iterator[tuple[str, int, int]]:
    """Yield the name, offset and size of each regular member of a plain USTAR or GNU tar."""
    at, end = 0, len(content)
    while at + BLOCK <= end:
        header = content[at : at + BLOCK]
        if not header[0]:
            return
        try:
            size = int(header[124:136].rstrip(b" \0") or b"0", 8)
            name = header[:100].rstrip(b"\0").decode()
        except ValueError:
            raise DataError(f"`{tar}`: no tar header at byte {at}; copy or bake it again") from None
        if header[257:262] != b"ustar":
            raise DataError(f"`{tar}`: no tar header at byte {at}; copy or bake it again")
        if at + BLOCK + size > end:
            raise DataError(f"`{tar}` is truncated within {name}; copy or bake it again")
        if header[156:157] in (b"0", b"\0"):
            yield name, at + BLOCK, size
        at += BLOCK + -(-size // BLOCK) * BLOCK


def _scan(path: Path, number: int, expected: int, n_classes: int) -> np.ndarray:
    """Return the samples of one tar: int64 (samples, 4); DataError if they are not as many as `_info.json` says."""
    if not path.is_file():
        raise DataError(f"`{path}` is missing, and _info.json names it")
    rows: list[tuple[int, int, int, int]] = []
    image: tuple[str, int, int] | None = None
    label: tuple[str, int] | None = None
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise DataError(f"`{path}` is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for name, offset, size in _members(content, str(path)):
                parts = _NAME.fullmatch(name)
                if not parts:
                    continue
                key, ending = parts[1], parts[2].lower()
                if ending in IMAGES:
                    image = key, offset, size
                elif ending == "cls":
                    try:
                        label = key, int(content[offset : offset + size])
                    except ValueError:
                        raise DataError(f"`{path}`: {name} is no whole number") from None
                if image and label and image[0] == label[0]:
                    if not 0 <= label[1] < n_classes:
                        raise DataError(f"`{path}`: {name} is {label[1]}; there are {n_classes} classes")
                    rows.append((number, image[1], image[2], label[1]))
                    image = label = None
    if len(rows) != expected:
        raise DataError(f"`{path}` holds {len(rows):,} samples; _info.json says {expected:,}: copy or bake it again")
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def checked(split: Split) -> list[os.stat_result]:
    """Return the stats of a split's tars, which are there and have the sizes that _info.json says, if it does."""
    place = Path(split.place)
    try:
        stats = [(place / tar).stat() for tar in split.tars]
    except FileNotFoundError as error:
        raise DataError(f"`{error.filename}` is missing, and _info.json names it") from None
    for tar, stat, size in zip(split.tars, stats, split.sizes, strict=False):
        if size not in (None, stat.st_size):
            raise DataError(
                f"`{place / tar}` has {stat.st_size:,} bytes; _info.json says {size:,}: it is cut off, or another dataset's"
            )
    return stats


def _must_be(tar: Path, md5: str | None) -> None:
    """Refuse a tar that has another MD5."""
    if md5 is not None:
        with tar.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != md5:
            raise DataError(f"`{tar}` has the MD5 {found}; _info.json says {md5}: it is damaged, or another dataset's")


def indexed(split: Split, folder: Path) -> Path:
    """Return a file in `folder` that says where every sample of a split stands: see `mapped`. It is made if need be.

    Then the first tar, for all would take long, is read whole, too: it must have the MD5 that `_info.json` says, if it does.
    """
    place = Path(split.place)
    times = [(stat.st_size, stat.st_mtime_ns) for stat in checked(split)]
    what = json.dumps([str(place.resolve()), split.tars, split.lengths, times, split.n_classes, split.spec_hash])
    path = folder / f"index-{split.name}-{hashlib.sha256(what.encode()).hexdigest()[:16]}.npy"
    if not path.exists():
        if len(split.tars) >= _MANY:
            print(f"finding the {sum(split.lengths):,} samples of {len(split.tars):,} tars, once", file=sys.stderr)
        _must_be(place / split.tars[0], split.md5s[0] if split.md5s else None)
        folder.mkdir(parents=True, exist_ok=True)
        parts = [
            _scan(place / tar, number, length, split.n_classes)
            for number, (tar, length) in enumerate(zip(split.tars, split.lengths, strict=True))
        ]
        hidden = path.with_suffix(f".{os.getpid()}.tmp.npy")
        try:
            np.save(hidden, np.concatenate(parts))
            hidden.replace(path)
        finally:
            hidden.unlink(missing_ok=True)
    return path


def mapped(path: Path) -> np.ndarray:
    """Return what `indexed` has written: int64 (samples, 4), mapped; columns SHARD, OFFSET, SIZE, LABEL."""
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise DataError(
            f"`--out` (={path.parent}) must be on a disk that all machines share: {path.name} is not there"
        ) from None


_open: dict[str, int] = {}
_MOST_OPEN = 512


def opened(path: str) -> int:
    """Return a descriptor of a tar, which stays open until many others have been opened."""
    if path not in _open:
        if len(_open) >= _MOST_OPEN:
            os.close(_open.pop(next(iter(_open))))
        _open[path] = os.open(path, os.O_RDONLY)
    return _open[path]
