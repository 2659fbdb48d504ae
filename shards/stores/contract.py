"""The contract of a store."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from fdsl.primitives.errors import InputError


class Entry(NamedTuple):
    """A file in a store.

    Attributes
    ----------
    n_bytes : size of the file; None for a folder, and for what is neither a file nor a folder
    modified : when it was stored, by the store's clock, in seconds since 1970; 0 if not asked for
    """

    n_bytes: int | None
    modified: float = 0.0


class HashedFile:
    """A file being written, with its size and hash.

    Parameters
    ----------
    file : opened for writing

    Attributes
    ----------
    n_bytes : number of bytes written
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self.n_bytes = 0

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Append some bytes."""
        self._file.write(content)
        self._hash.update(content)
        self.n_bytes += len(content)

    @property
    def sha256(self) -> str:
        """Hash of what is written: 64 hexadecimal digits."""
        return self._hash.hexdigest()


class StoredFile(Protocol):
    """A file that is being read.

    Attributes
    ----------
    n_bytes : size of the file
    """

    @property
    def n_bytes(self) -> int:
        """Size of the file."""

    def read(self, n_bytes: int, /) -> bytes:
        """Return the next bytes, at most `n_bytes`; none at the end."""


class Store(Protocol):
    """Holds the files of one dataset by name.

    A name is relative, with slashes: `samples/train-000000.parquet`. A file appears under its name only when it is whole. Two
    processes may write the same name; the last one wins. A store is picklable and may be used by several threads.

    Attributes
    ----------
    url : folder or URL, as messages show it
    """

    @property
    def url(self) -> str:
        """Folder or URL, as messages show it."""

    def preflight(self, folders: Collection[str]) -> None:
        """Check that a dataset may be written here.

        Parameters
        ----------
        folders : names of the folders that it has

        Raises
        ------
        InputError
            The place cannot hold a dataset.
        OSError
            It does not answer, or refuses access.
        """

    def reserve(self, first: int, n: int, names: Collection[str]) -> AbstractContextManager[None]:
        """Lock some shards for a block, where it can.

        They are shards `first` to `first + n - 1` of the plan. Before and after the block, unfinished versions of their
        files are deleted.

        Parameters
        ----------
        names : files that nobody else writes during the block

        Raises
        ------
        InputError
            A running process bakes one of the shards.
        """

    def is_reserved(self) -> bool:
        """Return whether a running process has reserved shards.

        False where the store cannot tell.
        """

    def create(self, name: str, exclusive: bool = False) -> AbstractContextManager[HashedFile]:
        """Open a file that appears when the block ends.

        An exception in the block discards it.

        Parameters
        ----------
        exclusive : raise FileExistsError instead of overwriting, where the store can

        Raises
        ------
        OSError
            The file cannot be stored.
        """

    def put(self, name: str, path: Path, sha256: str) -> None:
        """Store a copy of a local file.

        Raises
        ------
        WrongHashError
            The local file has another hash. Nothing is stored.
        OSError
            The file cannot be read or stored.
        """

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return a file's content.

        Raises
        ------
        InputError
            It has more than `max_bytes`, or is not a file.
        FileNotFoundError
            It is missing.
        """

    def open(self, name: str) -> AbstractContextManager[StoredFile]:
        """Open a file for reading, from its start to its end.

        Raises
        ------
        InputError
            It is not a regular file.
        FileNotFoundError
            It is missing.
        """

    def stat(self, name: str) -> Entry | None:
        """Return a file's size, or None if it is missing."""

    def entries(self, folder: str = "") -> dict[str, Entry]:
        """Return the files of a folder by name.

        Empty if the folder is missing. Names of sub-folders end in a slash. Unfinished files are left out.
        """

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""

    def sweep(self) -> None:
        """Delete what interrupted writers have left unfinished; nobody else may be writing."""

    def locate(self, name: str) -> str:
        """Return a file's path or URL, as messages show it."""

    def loader_url(self, name: str) -> str:
        """Return what webdataset reads a file from.

        It is a path, or a `pipe:` with a command.
        """


class WrongHashError(InputError):
    """A local file is not the one that its receipt describes."""


def write_content(store: Store, name: str, content: bytes, exclusive: bool = False) -> None:
    """Write a whole file; see `Store.create`."""
    with store.create(name, exclusive) as file:
        file.write(content)


@contextmanager
def probed(store: Store) -> Iterator[str]:
    """Store a small file for a block.

    Yields
    ------
    str, its name; hidden, so that no listing shows it

    Raises
    ------
    OSError
        The store cannot be written. The error names the store, not the file.
    """
    name = f".probe.{secrets.token_hex(8)}.tmp"
    try:
        write_content(store, name, name.encode())
    except OSError as error:
        error.filename = store.url
        raise
    try:
        yield name
    finally:
        store.delete(name)
