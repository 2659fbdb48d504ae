"""What a dataset says of itself: `_info.json`, as timm's WebDataset reader wants it, in a directory or behind a URL."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INFO = "_info.json"


class DataError(ValueError):
    """What is wrong with a dataset, in one line."""


@dataclass(frozen=True)
class Split:
    """A split of a dataset: its tars, how many samples each holds, how many classes there are, and what tells it from others.

    place : the directory or URL that holds the tars. sizes, md5s : of the tars' bytes, where that is told.
    """

    place: str
    name: str
    tars: tuple[str, ...]
    lengths: tuple[int, ...]
    n_classes: int
    spec_hash: str
    sizes: tuple[int | None, ...] = ()
    md5s: tuple[str | None, ...] = ()

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
    """Return what webdataset opens to read a file: a command, which takes the file's name for its {}.

    http is read by curl, as webdataset would, but that curl gives up a server that is silent for a minute.
    """
    if place.startswith("pipe:"):
        if "{}" not in place:
            raise DataError(
                f"`--data` (={place}) must hold {{}} where a file's name goes, as in pipe:ssh HOST cat DIR/{{}}"
            )
        return place.replace("{}", shlex.quote(name))
    scheme = place.partition("://")[0]
    url = f"{place.rstrip('/')}/{urllib.parse.quote(name) if scheme.startswith('http') else name}"
    command = _COMMANDS.get(scheme)
    return f"pipe:{command.format(shlex.quote(url))}" if command else url


_CURL = "curl -sfL --connect-timeout 30 --speed-limit 1 --speed-time 60 {}"
_COMMANDS = {"http": _CURL, "https": _CURL, "s3": "aws s3 cp --only-show-errors {} -"}
_NO_SUCH_COMMAND = 127
_SAYS = {
    6: "no such host",
    7: "no answer",
    18: "cut off",
    22: "not there, or not allowed",
    28: "too slow",
    _NO_SUCH_COMMAND: "no such command",
}


def why(error: Exception) -> str:
    """Return what an error of reading behind a URL says, without how webdataset puts it."""
    status = re.search(r"exit (\d+) \(read\)", str(error))
    if not status:  # webdataset adds " @ STREAM" to the first argument, and others
        first = error.args[0] if error.args else error
        return str(first if isinstance(first, str) else error).split("\n")[0].split(" @ ")[0][:200]
    number = int(status[1])
    says = _SAYS.get(number) if "'curl " in str(error) or number == _NO_SUCH_COMMAND else None
    return f"its command ended with {number}{f', {says}' if says else ''}"


def _fetch(url: str) -> bytes:
    try:
        from webdataset import gopen
    except ImportError:
        raise DataError("shards behind URLs need webdataset: pip install webdataset") from None
    try:
        with gopen(url) as stream:
            return bytes(stream.read())
    except ValueError as error:
        raise DataError(f"`--data`: webdataset cannot open {error}") from None
    except OSError as error:
        raise DataError(f"`{url}` cannot be read: {why(error)}") from None


def _content(place: str) -> tuple[str, bytes]:
    """Return where a dataset describes itself, and how."""
    if is_url(place):
        return url_of(place, INFO), _fetch(url_of(place, INFO))
    path = Path(place) / INFO
    if path.is_file():
        return str(path), path.read_bytes()
    if not Path(place).is_dir():
        raise DataError(f"`--data` (={place}) is no directory")
    raise DataError(
        f"`--data` (={place}) has no {INFO}: it is no directory of shards, or its bake is not complete;"
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
    if not sum(lengths):
        raise DataError(f"`{path}`: {name} has no samples")
    if not classes:
        raise DataError(f"`{path}` has no `num_classes`; give --classes")
    if n_classes and n_classes != classes:
        raise DataError(f"`--classes` (={n_classes}): `{path}` says {classes}")
    spec_hash = info.get("spec_hash") or hashlib.sha256(json.dumps(splits, sort_keys=True).encode()).hexdigest()
    told = {each.get("url"): each for each in info.get("shardlist", ())}
    sizes, md5s = (tuple(told.get(tar, {}).get(what) for tar in tars) for what in ("filesize", "md5sum"))
    return Split(place, name, tars, lengths, classes, str(spec_hash), sizes, md5s)
