"""What a dataset says of itself: `_info.json`, as timm's WebDataset reader wants it, in a directory or behind a URL."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("_info.json", "info.json")


class DataError(ValueError):
    """What is wrong with a dataset, in one line."""


@dataclass(frozen=True)
class Split:
    """A split of a dataset: its tars, how many samples each holds, how many classes there are, and what tells it from others.

    place : the directory or URL that holds the tars.
    """

    place: str
    name: str
    tars: tuple[str, ...]
    lengths: tuple[int, ...]
    n_classes: int
    spec_hash: str

    @property
    def is_remote(self) -> bool:
        return is_url(self.place)

    def where(self, shard: int) -> str:
        """Return a tar's path or URL."""
        name = self.tars[shard]
        return url_of(self.place, name) if self.is_remote else f"{self.place}/{name}"


def is_url(place: str) -> bool:
    """Return whether a place is behind a URL, such as http://..., s3://... or pipe:COMMAND."""
    return place.startswith("pipe:") or bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", place))


def url_of(place: str, name: str) -> str:
    """Return what webdataset opens to read a file: a command takes the file's name for its {}."""
    if place.startswith("pipe:"):
        if "{}" not in place:
            raise DataError(
                f"`--data` (={place}) must hold {{}} where the name of a file goes, as in pipe:ssh HOST cat {{}}"
            )
        return place.replace("{}", shlex.quote(name))
    url = f"{place.rstrip('/')}/{name}"
    return f"pipe:aws s3 cp {shlex.quote(url)} -" if url.startswith("s3://") else url


def fetch(url: str) -> bytes:
    """Return the content behind a URL; OSError if there is none."""
    try:
        from webdataset import gopen
    except ImportError:
        raise DataError("shards behind URLs need webdataset: pip install webdataset") from None
    try:
        with gopen(url) as stream:
            content = stream.read()
    except ValueError as error:
        raise DataError(f"`--data`: webdataset cannot open {error}") from None
    if not content:
        raise OSError("nothing came")
    return bytes(content)


def _content(place: str) -> tuple[str, bytes]:
    """Return the name and content of what describes a dataset."""
    if is_url(place):
        problem: OSError | None = None
        for name in NAMES:
            try:
                return url_of(place, name), fetch(url_of(place, name))
            except OSError as error:
                problem = problem or error
        raise DataError(f"`{url_of(place, NAMES[0])}` cannot be read: {problem}")
    for name in NAMES:
        path = Path(place) / name
        if path.is_file():
            return str(path), path.read_bytes()
    raise DataError(
        f"`--data` (={place}) has no {NAMES[0]}: it is no directory of shards, or its bake is not complete;"
        " trainer/README.md says what the file holds"
    )


def read_split(place: str | Path, name: str, n_classes: int | None = None) -> Split:
    """Return a split of a dataset; DataError says what `_info.json` lacks.

    n_classes : how many there are where `_info.json` does not say.
    """
    place = str(place)
    path, content = _content(place)
    try:
        info: Any = json.loads(content)
        splits = info.get("splits") or {}
        split = splits.get(name) or {}
        tars, lengths = tuple(split.get("filenames") or ()), tuple(split.get("shard_lengths") or ())
        classes = int(info.get("num_classes", n_classes or 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"`{path}` is not JSON as timm's reader wants it: {error}") from None
    if not tars:
        raise DataError(f"`{path}` has no split {name!r}; it has {', '.join(splits) or 'none'}")
    if len(lengths) != len(tars) or sum(lengths) != split.get("num_samples"):
        raise DataError(
            f"`{path}`: `shard_lengths` of {name} must say how many samples each tar holds, `num_samples` how many all hold"
        )
    if not classes:
        raise DataError(f"`{path}` has no `num_classes`; give --classes")
    if n_classes and n_classes != classes:
        raise DataError(f"`--classes` (={n_classes}): `{path}` says {classes}")
    spec_hash = info.get("spec_hash") or hashlib.sha256(json.dumps(splits, sort_keys=True).encode()).hexdigest()
    return Split(place, name, tars, lengths, classes, str(spec_hash))
