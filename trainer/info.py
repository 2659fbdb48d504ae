"""`_info.json`, as timm's reader takes it, and an index of tars."""

import hashlib
import io
import mmap
import re
import shlex
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import webdataset
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator
from webdataset.tariterators import base_plus_ext

from trainer.checkpoint import write
from trainer.errors import InputError, explain, one_line
from trainer.images import ENDINGS, parse_label

BLOCK = 512
SHARD, OFFSET, SIZE, LABEL = range(4)
INFO = "_info.json"
CURL = "curl -sSfL --connect-timeout 30 --speed-limit 1 --speed-time 60"  # gives up after a silent minute


class Split(BaseModel):
    """A split in `_info.json`; sizes and hashes are optional.

    place : directory or URL of the tars. dataset : hash that tells datasets apart.
    """

    filenames: tuple[str, ...]
    shard_lengths: tuple[NonNegativeInt, ...]
    num_samples: PositiveInt
    shard_bytes: tuple[NonNegativeInt, ...] = ()
    shard_sha256: tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...] = ()
    name: str = ""
    place: str = ""
    n_classes: int = 0
    dataset: str = ""

    @model_validator(mode="after")
    def _lists_are_parallel(self) -> Self:
        lists = (self.shard_lengths, self.shard_bytes or self.filenames, self.shard_sha256 or self.filenames)
        if any(len(values) != len(self.filenames) for values in lists):
            raise ValueError("`shard_lengths`, `shard_bytes` and `shard_sha256` must each have one value per file name")
        if sum(self.shard_lengths) != self.num_samples:
            raise ValueError(f"`num_samples` (={self.num_samples}) must be the sum of `shard_lengths`")
        return self

    def path(self, shard: int) -> str:
        """Return a tar's path or URL."""
        return file_url(self.place, self.filenames[shard])

    def must_have_sha256(self, shard: int, sha256: str) -> None:
        """Refuse a tar with another hash than `_info.json` gives."""
        if self.shard_sha256 and sha256 != self.shard_sha256[shard]:
            rule = f"{INFO} says {self.shard_sha256[shard]}: it is damaged, or another dataset's"
            raise InputError(f"`{self.path(shard)}` has the SHA-256 {sha256}, {rule}")


class Info(BaseModel):
    """Content of `_info.json`; other keys are ignored."""

    splits: dict[str, Split]
    num_classes: NonNegativeInt = 0
    spec_hash: str = ""


def is_url(place: str) -> bool:
    """Return whether a place is a URL: http://..., s3://..., pipe:COMMAND."""
    return bool(re.match(r"pipe:|[A-Za-z][A-Za-z0-9+.-]*://", place))


def file_url(place: str, name: str) -> str:
    """Return a file's path, or its URL for webdataset.

    `{}` in a command is the name.
    """
    if place.startswith("pipe:"):
        return place.replace("{}", shlex.quote(name))
    base = place.rstrip("/")
    if place.startswith(("http://", "https://")):
        return f"pipe:{CURL} {shlex.quote(f'{base}/{urllib.parse.quote(name)}')}"
    if place.startswith("s3://"):
        return f"pipe:aws s3 cp --only-show-errors {shlex.quote(f'{base}/{name}')} -"
    return f"{base}/{name}"


def read_split(place: str, name: str, n_classes: int = 0) -> Split:
    """Read a split; `n_classes` overrides num_classes."""
    path = file_url(place, INFO)
    if not is_url(place) and not Path(path).is_file():
        raise InputError(f"`--data` (={place}) has neither {INFO} nor a folder {name}; is its bake complete?")
    try:
        with webdataset.gopen(path) as file:
            content = file.read()
        info = Info.model_validate_json(content)
    except ValidationError as error:
        raise InputError(f"`{path}`: {explain(error)}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"`{path}` cannot be read: {one_line(error)}") from None
    if name not in info.splits:
        raise InputError(f"`{path}` has no split {name!r}; it has {', '.join(info.splits) or 'none'}")
    if not (n_classes := n_classes or info.num_classes):
        raise InputError(f"`{path}` has no `num_classes`; give --classes")
    dataset = info.spec_hash or hashlib.sha256(content).hexdigest()
    values = {"name": name, "place": place, "n_classes": n_classes, "dataset": dataset}
    return info.splits[name].model_copy(update=values)


def check_sizes(split: Split) -> list[int]:
    """Check the tars' sizes; return their modification times, ns."""
    stats = [Path(split.path(shard)).stat() for shard in range(len(split.filenames))]
    for shard, size in enumerate(split.shard_bytes):
        if (n_bytes := stats[shard].st_size) != size:
            rule = f"{INFO} says {size:,}: it is truncated, or another dataset's"
            raise InputError(f"`{split.path(shard)}` has {n_bytes:,} bytes, {rule}")
    return [stat.st_mtime_ns for stat in stats]


def build_index(split: Split, folder: Path) -> Path:
    """Return the path of a split's index, written if missing.

    int64 (samples, 4), columns: SHARD, OFFSET, SIZE, LABEL. Checks all sizes and the first SHA-256: all would take long.
    """
    key = hashlib.sha256(f"{split!r} {check_sizes(split)}".encode()).hexdigest()[:16]
    path = folder / f"index-{split.name}-{key}.npy"
    if not path.exists():
        print(f"indexing {split.num_samples:,} samples of {len(split.filenames):,} tars", file=sys.stderr)
        if split.shard_sha256:
            with Path(split.path(0)).open("rb") as file:
                split.must_have_sha256(0, hashlib.file_digest(file, "sha256").hexdigest())
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate([_scan(split, shard) for shard in range(len(split.filenames))]))
        write(path, buffer.getbuffer())
    return path


def _scan(split: Split, shard: int) -> np.ndarray:
    """Return the samples of one tar, int64 (samples, 4)."""
    tar, expected = Path(split.path(shard)), split.shard_lengths[shard]
    rows: list[tuple[int, int, int, int]] = []
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, int] = {}
    if not tar.stat().st_size:
        raise InputError(f"`{tar}` is empty")
    with tar.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for name, offset, size in _members(content, tar):
            key, ending = base_plus_ext(name)
            if ending and ending.lower() in ENDINGS:
                images = {key: (offset, size)}
            elif ending and ending.lower() == "cls":
                labels = {key: parse_label(content[offset : offset + size], f"`{tar}`: {name}", split.n_classes)}
            if key in images and key in labels:
                rows.append((shard, *images.pop(key), labels.pop(key)))
    if len(rows) != expected:
        raise InputError(f"`{tar}` holds {len(rows):,} samples, {INFO} says {expected:,}; copy or bake it again")
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def _members(content: mmap.mmap, tar: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, offset and size of regular members.

    tarfile takes 16 times as long.
    """
    start, end = 0, len(content)
    while start + BLOCK <= end and content[start]:
        header = content[start : start + BLOCK]
        if header[257:262] != b"ustar":
            raise InputError(f"`{tar}`: no tar header at byte {start}; copy or bake it again")
        name, size = header[:100].rstrip(b"\0").decode(), int(header[124:136].rstrip(b" \0") or b"0", 8)
        if start + BLOCK + size > end:
            raise InputError(f"`{tar}` is truncated within {name}; copy or bake it again")
        if header[156:157] in (b"0", b"\0"):
            yield name, start + BLOCK, size
        start += BLOCK + -(-size // BLOCK) * BLOCK
