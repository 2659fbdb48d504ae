"""The files of a baked directory: where each stands, how it comes to stand there, and what it must say."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from primitives.fields import Checked, Choice, InputError, Integer, Text, from_mapping, ruled
from shards.categories import read_table, table_sha256
from shards.lock import LOCK
from shards.plan import Shard
from shards.spec import BAKED, FORMAT, SPLITS, Spec, difference, parse_spec, read_yaml, spec_hash
from shards.version import VERSION, made_with

_HOST = socket.gethostname()
_FOLDERS = ("samples", "receipts")
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_HIDDEN = re.compile(r"\..*\.tmp")

_RESTORE = (
    "restore it: `fdsl bake SPEC -o NEW --shards 0:1` with the same SPEC writes it into NEW, from where to copy it"
)

MADE_WITH = "made_with"
"""The key of spec.yaml under which stands what began the bake: versions by name."""

SPEC, CATEGORIES, INDEX, INFO, CARD = "spec.yaml", "categories.parquet", "shards.parquet", "_info.json", "README.md"


_SHA256 = Text("[0-9a-f]{64}", "64 hexadecimal digits")
_MD5 = Text("[0-9a-f]{32}", "32 hexadecimal digits")
_NAME = Text(r"[a-z]+-\d{6,}\.tar", "a tar's name")
_COUNT = Integer(0, 2**63 - 1)


@dataclass(frozen=True)
class Receipt(Checked):
    """What a finished shard is; its file's presence means done.

    spec : the dataset's hash. sha256, md5, bytes : of the tar. samples_sha256 : of its samples/*.parquet.
    """

    shard: str = ruled(_NAME)
    split: str = ruled(Choice(tuple(SPLITS)))
    samples: int = ruled(_COUNT)
    bytes: int = ruled(_COUNT)
    sha256: str = ruled(_SHA256)
    md5: str = ruled(_MD5)
    samples_sha256: str = ruled(_SHA256)
    spec: str = ruled(_SHA256)

    def to_json(self) -> str:
        """Return the file's content."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def published(path: Path, new: bool = False) -> Iterator[BinaryIO]:
    """Open a file that appears under its name, whole and on disk, only when the block ends without an exception.

    Until then it is a hidden file beside it, named after the host and the process that writes it.
    With `new`, a file that stands there already is left alone.

    Raises
    ------
    InputError
        There is a directory of that name.
    FileExistsError
        `new`, and a file stands there. Where the file system has no links, one that comes at the same moment is replaced.
    OSError
        The file cannot be written.
    """
    if path.is_dir():
        raise InputError(f"`{path}` is a directory; name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{os.getpid()}@{_HOST}.tmp")
    try:
        with hidden.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if new and _link(hidden, path):
            hidden.unlink()
        else:
            hidden.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (None, str(hidden)):
            error.filename = str(path)
        with contextlib.suppress(OSError):
            hidden.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _link(hidden: Path, path: Path) -> bool:
    """Give a file its name in one step unless one stands there; False if the file system has no links."""
    try:
        os.link(hidden, path)
    except OSError as error:
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def write(path: Path, content: bytes, new: bool = False) -> None:
    """Publish a file's content."""
    with published(path, new) as file:
        file.write(content)


def write_table(path: Path, table: pa.Table) -> None:
    """Publish a table as Parquet."""
    with published(path) as file:
        pq.write_table(table, file, compression="zstd")


@dataclass(frozen=True)
class Directory:
    """A dataset on disk: `path` holds, or is to hold, the shards of `spec` with the categories of `categories_sha256`.

    The path is absolute: workers keep the working directory that they were started in.
    """

    path: Path
    spec: Spec
    categories_sha256: str

    @cached_property
    def hash(self) -> str:
        """The dataset's hash."""
        return spec_hash(self.spec, self.categories_sha256)

    def tar(self, shard: Shard) -> Path:
        """Return where a shard stands."""
        return self.path / f"{shard.name}.tar"

    def samples(self, shard: Shard) -> Path:
        """Return where the parameters of a shard's images stand."""
        return self.path / "samples" / f"{shard.name}.parquet"

    def receipt(self, shard: Shard) -> Path:
        """Return where a shard's receipt stands."""
        return self.path / "receipts" / f"{shard.name}.json"

    def read_receipt(self, shard: Shard) -> Receipt | None:
        """Return a shard's receipt, or None if there is none; InputError if it is not one, or another dataset's."""
        path = self.receipt(shard)
        if path.exists() and not path.is_file():
            raise InputError(f"`{path}` is no regular file; remove it")
        try:
            receipt = from_mapping(Receipt, json.loads(path.read_bytes()), "receipt.")
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError, OSError) as error:
            raise InputError(f"`{path}` is not a receipt that can be read: {error}") from None
        if (receipt.shard, receipt.split, receipt.samples) != (self.tar(shard).name, shard.split, shard.samples):
            raise InputError(
                f"`{path}` is of {receipt.samples:,} {receipt.split} samples in {receipt.shard},"
                f" not of {shard.samples:,} {shard.split} samples in {self.tar(shard).name}"
            )
        if receipt.spec != self.hash:
            raise InputError(f"`{path}` is the receipt of another dataset: its spec is {receipt.spec}, not {self.hash}")
        return receipt

    def is_done(self, shard: Shard) -> bool:
        """Return whether a shard has its receipt and stands there at its full length."""
        try:
            receipt = self.read_receipt(shard)
            return (
                receipt is not None and self.samples(shard).exists() and self.tar(shard).stat().st_size == receipt.bytes
            )
        except (InputError, OSError):
            return False

    def sweep(self, everything: bool = False) -> None:
        """Remove what killed processes of this host left half written; or `everything` that is half written."""
        for folder in (self.path, *(self.path / name for name in _FOLDERS)):
            for hidden in folder.glob(".*@*.tmp"):
                name, host = hidden.name.removesuffix(".tmp").rsplit("@", 1)
                pid = name.rsplit(".", 1)[1]
                if pid.isdecimal() and (everything or (host == _HOST and not _is_alive(int(pid)))):
                    hidden.unlink(missing_ok=True)

    def spec_yaml(self) -> bytes:
        """Return the content of a new spec.yaml: the resolved spec, and what begins to bake it."""
        baked = {
            "fdsl": VERSION,
            "format": FORMAT,
            "categories_sha256": self.categories_sha256,
            "hash": self.hash,
            MADE_WITH: made_with(),
        }
        return yaml.safe_dump({**self.spec.to_mapping(), BAKED: baked}, sort_keys=False).encode()


def open_directory(path: Path) -> Directory:
    """Return the dataset that a directory holds, as its own spec.yaml says.

    Raises
    ------
    InputError
        There is none, or its spec.yaml is not one that a bake wrote.
    """
    if not path.is_dir():
        raise InputError(f"`OUT` (={path}) is no directory; name one that `fdsl bake` has made")
    if not (path / SPEC).is_file():
        if any(path.glob("receipts/*.json")):
            raise InputError(f"`OUT` (={path}) has lost its {SPEC}; {_RESTORE}")
        raise InputError(
            f"`OUT` (={path}) holds no {SPEC}, so it is no baked dataset; bake one with `fdsl bake SPEC -o {path}`"
        )
    mapping = read_yaml(path / SPEC)
    baked = mapping.get(BAKED) if isinstance(mapping, dict) else None
    if not isinstance(baked, dict) or not isinstance(baked.get("categories_sha256"), str):
        raise InputError(f"`{path / SPEC}` lacks the key `{BAKED}` that a bake writes, so it was edited; {_RESTORE}")
    try:
        directory = Directory(path.absolute(), parse_spec(mapping), baked["categories_sha256"])
    except InputError as error:
        raise InputError(f"`{path / SPEC}`: {error}") from None
    if baked.get("format") != FORMAT:
        raise InputError(
            f"`{path}` was baked in format {baked.get('format')} by fdsl {baked.get('fdsl')}; this one makes format {FORMAT}"
        )
    if baked.get("hash") != directory.hash:
        raise InputError(
            f"`{path / SPEC}` was edited: its hash is {baked.get('hash')}, and its content gives {directory.hash}; {_RESTORE}"
        )
    return directory


def other_versions(directory: Directory) -> str | None:
    """Return the first difference between what began the bake and what runs here, or None if there is none."""
    mapping = read_yaml(directory.path / SPEC)
    return difference(mapping[BAKED].get(MADE_WITH), made_with(), MADE_WITH)


def _refuse_foreign(path: Path) -> None:
    """Refuse a directory without spec.yaml that holds more than a bake which was cut off at its start leaves."""
    if path.exists() and not path.is_dir():
        raise InputError(f"`--out` (={path}) is a file; name a new or empty directory")
    for entry in sorted(path.iterdir()) if path.is_dir() else []:
        begun = entry.name in _FOLDERS and not any(entry.iterdir())
        if not begun and entry.name != LOCK and not _HIDDEN.fullmatch(entry.name):
            raise InputError(
                f"`--out` (={path}) holds other files ({entry.name}) and no {SPEC}; name a new or empty directory"
            )


def refuse_other(path: Path, spec: Spec, categories_sha256: str | None = None) -> Directory | None:
    """Return the dataset that a directory already holds if it is this spec's; None if it is new or empty.

    Raises
    ------
    InputError
        The directory holds another dataset (the message names the field that differs) or foreign files.
    """
    if not (path / SPEC).exists():
        _refuse_foreign(path)
        return None
    there = open_directory(path)
    differs = difference(there.spec.to_mapping(), spec.to_mapping())
    if not differs and categories_sha256 not in (None, there.categories_sha256):
        differs = "the categories table is another one"
    if differs:
        raise InputError(f"`--out` (={path}) holds another dataset: {differs}; name another directory")
    return there


def create_directory(path: Path, spec: Spec, table: pa.Table) -> Directory:
    """Make a directory ready to bake into: its folders, its spec, its categories.

    Whoever writes the spec first makes the directory its own.

    Raises
    ------
    InputError
        Another process was first with another dataset, which is left alone.
    """
    directory = Directory(path.absolute(), spec, table_sha256(table))
    for folder in (path, *(path / name for name in _FOLDERS)):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        write(path / SPEC, directory.spec_yaml(), new=True)
    except FileExistsError:
        if refuse_other(path, spec, directory.categories_sha256) is None:
            raise
    write_table(path / CATEGORIES, table)
    return directory


def read_categories(directory: Directory) -> Any:
    """Return a directory's categories table; InputError if it is not the one that its spec.yaml names."""
    path = directory.path / CATEGORIES
    again = f"`fdsl repair {directory.path}` makes it again (with --categories-from if that was given)"
    if not path.exists():
        raise InputError(f"`{path}` is missing; {again}")
    try:
        table = read_table(directory.spec, path)
    except InputError as error:
        raise InputError(f"{error}; {again}") from None
    if table_sha256(table) != directory.categories_sha256:
        raise InputError(f"`{path}` is not the table that {SPEC} names: it was edited; {again}")
    return table


def restore_categories(directory: Directory, table: pa.Table) -> None:
    """Write a directory's categories table again; InputError if this is not the one that its spec.yaml names."""
    path = directory.path / CATEGORIES
    if table_sha256(table) != directory.categories_sha256:
        raise InputError(
            f"`{path}` is missing or damaged, and is not what the spec samples: give it with --categories-from"
        )
    write_table(path, table)


def table_beside(source: str | Path) -> pa.Table | None:
    """Return the categories that a baked directory's own spec.yaml goes with; None for any other spec."""
    path = Path(source)
    if path.name != SPEC or not path.is_file() or BAKED not in (read_yaml(path) or {}):
        return None
    try:
        return read_categories(open_directory(path.parent))
    except InputError as error:
        raise InputError(
            f"`SPEC` (={path}) goes with the categories beside it: {error}; or name the preset or YAML that it was baked from"
        ) from None
