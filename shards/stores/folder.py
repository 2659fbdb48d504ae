"""A folder as a store."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fdsl.primitives.reading import read_bounded
from shards.files import HIDDEN, atomic_file, sweep
from shards.stores.contract import Entry, HashedFile, WrongHashError

CHUNK = 1 << 20
"""Bytes copied and hashed at a time."""


@dataclass(frozen=True)
class Folder:
    """A folder on a disk or a shared file system.

    Attributes
    ----------
    path : Path
    """

    path: Path

    @property
    def url(self) -> str:
        """The folder's path."""
        return str(self.path)

    @contextmanager
    def create(self, name: str, exclusive: bool = False) -> Iterator[HashedFile]:
        """Open a file that appears when the block ends; see `Store.create`."""
        with atomic_file(self.path / name, exclusive) as file:
            yield HashedFile(file)

    def put(self, name: str, path: Path, sha256: str) -> None:
        """Store a copy of a local file; see `Store.put`."""
        with path.open("rb") as source, self.create(name) as file:
            while chunk := source.read(CHUNK):
                file.write(chunk)
            if file.sha256 != sha256:
                raise wrong_hash(path)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return a file's content; see `Store.read`."""
        return read_bounded(self.path / name, max_bytes)

    def stat(self, name: str) -> Entry | None:
        """Return a file's size, or None if it is missing."""
        try:
            status = (self.path / name).stat()
        except FileNotFoundError:
            return None
        return Entry(status.st_size) if stat.S_ISREG(status.st_mode) else None

    def entries(self, folder: str = "") -> dict[str, Entry]:
        """Return the files of a folder by name; see `Store.entries`."""
        prefix = f"{folder}/" if folder else ""
        found = {}
        try:
            with os.scandir(self.path / folder) as scan:
                for entry in scan:
                    if HIDDEN.fullmatch(entry.name):
                        continue
                    if entry.is_dir():
                        found[f"{prefix}{entry.name}/"] = Entry(0)
                    elif entry.is_file():
                        found[f"{prefix}{entry.name}"] = Entry(entry.stat().st_size)
        except FileNotFoundError:
            return {}
        return found

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        (self.path / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what interrupted writers have left unfinished; see `Store.sweep`."""
        for folder in (self.path, *(entry for entry in self.path.glob("*") if entry.is_dir())):
            sweep(folder)

    def locate(self, name: str) -> str:
        """Return a file's path."""
        return str(self.path / name)

    def loader_url(self, name: str) -> str:
        """Return a file's absolute path."""
        return str(self.path.absolute() / name)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wrong_hash(path: Path) -> WrongHashError:
    """Return the error of a local file that changed after its bake."""
    return WrongHashError(f"`{path}`: its SHA-256 is not its receipt's; `fdsl repair` bakes it again")
