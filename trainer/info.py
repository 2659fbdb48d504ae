"""`_info.json`, and the URLs of its files.

The format is that of timm's reader.
"""

import hashlib
import re
import shlex
import urllib.parse
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, FailFast, Field, ValidationError, model_validator
from webdataset.gopen import gopen, set_options

from trainer.errors import InputError, explain, one_line

INFO = "_info.json"
LARGEST_INFO = 16 << 20  # bytes; 21,000 shards take 2.3 MB
CURL = "curl -sSfL --connect-timeout 30 --speed-limit 1 --speed-time 60"  # gives up after a silent minute

_part = "[A-Za-z0-9_][A-Za-z0-9_.+=-]*"
Name = Annotated[str, Field(pattern=f"^{_part}(/{_part})*$", max_length=200)]  # no shell, option or folder above
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=10**10)]
N_CLASSES = Field(0, ge=0, le=10**6)


class Entry(BaseModel, strict=True):
    """A split in `_info.json`; sizes and hashes are optional."""

    filenames: Annotated[list[Name], FailFast()]
    shard_lengths: Annotated[list[Count], FailFast()]
    num_samples: Annotated[Count, Field(gt=0)]
    shard_bytes: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], FailFast()] = []
    shard_sha256: Annotated[list[Sha256], FailFast()] = []

    @model_validator(mode="after")
    def _lists_are_parallel(self) -> Self:
        lists = (self.shard_lengths, self.shard_bytes or self.filenames, self.shard_sha256 or self.filenames)
        if any(len(values) != len(self.filenames) for values in lists):
            raise ValueError("`shard_lengths`, `shard_bytes` and `shard_sha256` must each have one value per file name")
        if len(set(self.filenames)) != len(self.filenames):
            raise ValueError("`filenames` must differ from each other")
        if sum(self.shard_lengths) != self.num_samples:
            raise ValueError(f"`num_samples` (={self.num_samples}) must be the sum of `shard_lengths`")
        return self


class Split(Entry):
    """A split, and where its tars are.

    place : directory or URL of the tars. dataset : hash that tells datasets apart.
    """

    place: str
    n_classes: int
    name: str = ""
    dataset: str = ""

    def path(self, shard: int) -> str:
        """Return a tar's path or URL."""
        return file_url(self.place, self.filenames[shard])

    def must_have_sha256(self, shard: int, sha256: str) -> None:
        """Refuse a tar with another hash than `_info.json` gives."""
        if self.shard_sha256 and sha256 != self.shard_sha256[shard]:
            rule = f"{INFO} says {self.shard_sha256[shard]}: it is damaged, or another dataset's"
            raise InputError(f"`{self.path(shard)}` has the SHA-256 {sha256}, {rule}")


class Info(BaseModel, strict=True):
    """Content of `_info.json`; other keys are ignored."""

    splits: dict[str, Entry]
    num_classes: int = N_CLASSES
    spec_hash: str = Field("", max_length=100)


def is_url(place: str) -> bool:
    """Return whether a place is a URL or `pipe:COMMAND`."""
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


def _read_info(place: str, path: str) -> bytes:
    """Read `_info.json`, but no more than its bound."""
    with gopen(path) if is_url(place) else Path(path).open("rb") as file:
        content: bytes = file.read(LARGEST_INFO + 1)
        if len(content) > LARGEST_INFO:
            set_options(file, ignore_errors=True)  # of the command that is cut off
            raise ValueError(f"it has more than the {LARGEST_INFO:,} bytes that it may have")
    return content


def read_split(place: str, name: str, n_classes: int = 0) -> Split:
    """Read a split; `n_classes` overrides num_classes."""
    path, other = file_url(place, INFO), "choose another by --train-split or --val-split"
    if not is_url(place) and not Path(path).is_file():
        rule = f"has neither {INFO} nor a folder {name}; is its bake complete?"
        raise InputError(f"`--data` (={place}) {rule} Or {other}, such as --val-split train")
    try:
        content = _read_info(place, path)
        info = Info.model_validate_json(content)
    except ValidationError as error:
        raise InputError(f"`{path}`: {explain(error)}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"`{path}` cannot be read: {one_line(error)}") from None
    if name not in info.splits:
        names = [one_line(key) for key in info.splits][:10]
        rule = f"it has {', '.join(names)}: {other}, such as --val-split {names[0]}" if names else "it has none"
        raise InputError(f"`{path}` has no split {name!r}; {rule}")
    if not (n_classes := n_classes or info.num_classes):
        raise InputError(f"`{path}` has no `num_classes`; give --classes")
    dataset = info.spec_hash or hashlib.sha256(content).hexdigest()
    return Split(**dict(info.splits[name]), name=name, place=place, n_classes=n_classes, dataset=dataset)
