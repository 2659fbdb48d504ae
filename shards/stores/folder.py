"""A folder as a store."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fdsl.primitives.errors import InputError
from fdsl.primitives.reading import read_bounded
from shards.files import HIDDEN, atomic_file, make_folder, sweep
from shards.lock import is_locked, locked
from shards.stores.contract import Entry, HashedFile, WrongHashError

CHUNK = 1 << 20
"""Bytes copied and hashed at a time."""


class _OpenFile:
    """A local file that is being read; see `StoredFile`."""

    def __init__(self, file: BinaryIO, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self.read = file.read


@dataclass(frozen=True)
class Folder:
    """A folder on a disk or a shared file system.

    It is pickled with its absolute path, since a worker has its own working directory.

    Attributes
    ----------
    path : Path
    """

    path: Path

    def __reduce__(self) -> tuple[Callable[[Path], Folder], tuple[Path]]:
        return Folder, (self.path.absolute(),)

    @property
    def url(self) -> str:
        """The folder's path."""
        return str(self.path)

    def preflight(self, folders: Collection[str]) -> None:
        """Refuse links and files in place of folders.

        Links would move what is written. See `Store.preflight`.
        """
        for link in (self.path, *self.path.parents):
            if link.is_symlink() and not link.exists():
                raise InputError(
                    f"`{link}` is a link to {link.readlink()}, which does not exist; create it or remove the link"
                )
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"`{self.path}` is a file; name a folder")
        for folder in (self.path / name for name in folders):
            if folder.is_symlink():
                raise InputError(f"`{folder}` is a symbolic link; put a folder in its place")

    @contextmanager
    def reserve(self, first: int, n: int, names: Collection[str]) -> Iterator[None]:
        """Lock shards against other processes, of other machines too; see `Store.reserve`."""
        make_folder(self.path)
        with locked(self.path, first, n) as is_alone:
            self._sweep(names if is_alone else ())
            try:
                yield
            finally:
                self._sweep(names if is_alone else ())

    def is_reserved(self) -> bool:
        """Return whether a running process has locked shards; see `Store.is_reserved`."""
        return is_locked(self.path)

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
                raise wrong_hash(str(path))

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return a file's content; see `Store.read`."""
        return read_bounded(self.path / name, max_bytes)

    @contextmanager
    def open(self, name: str) -> Iterator[_OpenFile]:
        """Open a file for reading; see `Store.open`."""
        path = self.path / name
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"`{path}` is not a regular file; remove it")
        with path.open("rb") as file:
            yield _OpenFile(file, status.st_size)

    def stat(self, name: str) -> Entry | None:
        """Return a file's size, or None if it is missing."""
        try:
            status = (self.path / name).stat()
        except (FileNotFoundError, NotADirectoryError):
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
                    if not entry.is_file():
                        found[f"{prefix}{entry.name}{'/' if entry.is_dir() else ''}"] = Entry(None)
                        continue
                    status = entry.stat()
                    found[prefix + entry.name] = Entry(status.st_size, modified=status.st_mtime)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return found

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        (self.path / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what interrupted writers have left unfinished; see `Store.sweep`."""
        for folder in (self.path, *(entry for entry in self.path.glob("*") if entry.is_dir())):
            sweep(folder)

    def _sweep(self, names: Collection[str]) -> None:
        """Delete unfinished versions of some files."""
        by_folder: dict[Path, set[str]] = {}
        for path in (self.path / name for name in names):
            by_folder.setdefault(path.parent, set()).add(path.name)
        for folder, final_names in by_folder.items():
            sweep(folder, final_names)

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


def wrong_hash(place: str) -> WrongHashError:
    """Return the error of a file that changed after its bake."""
    return WrongHashError(f"`{place}`: its SHA-256 is not its receipt's; `fdsl repair` bakes it again")
