"""A dataset in a folder or another store."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fdsl.dataset.categories import max_table_bytes, parse_table
from fdsl.dataset.dataset import Dataset
from fdsl.dataset.plan import Shard, plan_shards
from fdsl.dataset.spec import FORMAT, Spec
from fdsl.primitives.errors import InputError
from fdsl.primitives.validation import shown
from shards.layout import (
    CARD,
    CATEGORIES,
    INDEX,
    INFO,
    RECEIPTS,
    SAMPLES,
    SHIPPED,
    SPEC,
    receipt_file,
    samples_file,
    shard_files,
    tar_file,
)  # fmt: skip
from shards.manifest import Manifest, read_manifest
from shards.receipts import MAX_BYTES, Receipt, parse_receipt
from shards.removed import is_removed
from shards.stores.contract import Entry, Store
from shards.stores.folder import Folder
from shards.stores.places import open_store

N_READERS = 16
"""Small files read at a time: receipts, samples tables."""


class Unseen(OSError):
    """A worker's machine does not see the dataset.

    It would fail every shard that it gets.
    """


@dataclass(frozen=True, eq=False)
class Directory:
    """A dataset in a folder or another store.

    It is pickled as its store and hash: each worker process opens it once.

    Attributes
    ----------
    store : Store
    dataset : Dataset
    """

    store: Store
    dataset: Dataset

    def __post_init__(self) -> None:
        if isinstance(self.store, Folder):  # the working directory may change
            object.__setattr__(self, "store", Folder(self.store.path.absolute()))

    def __reduce__(self) -> tuple[Callable[..., Directory], tuple[Store, str]]:
        return _reopen, (self.store, self.dataset.hash)

    @property
    def path(self) -> Path:
        """Folder on a disk that holds the dataset.

        Raises InputError if another store holds it.
        """
        if not isinstance(self.store, Folder):
            raise InputError(f"`out` (={self.store.url}) must be a folder on a disk")
        return self.store.path

    @property
    def spec(self) -> Spec:
        """The dataset's spec."""
        return self.dataset.spec

    def read_receipt(self, shard: Shard) -> Receipt | None:
        """Return a shard's receipt, or None if it has none.

        Raises
        ------
        InputError
            The file is not a receipt, or that of another shard or dataset.
        ConnectionError
            The store does not answer.
        """
        name = receipt_file(shard)
        path = self.store.locate(name)
        try:
            receipt = parse_receipt(self.store.read(name, MAX_BYTES), path)
        except FileNotFoundError:
            return None
        except ConnectionError:
            raise
        except OSError as error:
            raise InputError(f"`{path}` cannot be read: {error.strerror}") from None
        expected = (tar_file(shard), shard.split, shard.n_samples)
        if (receipt.shard, receipt.split, receipt.samples) != expected:
            raise InputError(
                f"`{path}` names {receipt.shard}, {receipt.split}, {receipt.samples:,} samples,"
                f" not {expected[0]}, {shard.split}, {shard.n_samples:,} samples"
            )
        if receipt.spec != self.dataset.hash:
            raise InputError(f"`{path}` belongs to another dataset: `spec` is {receipt.spec}, not {self.dataset.hash}")
        return receipt

    def finished(self, shard: Shard) -> Receipt | None:
        """Return the receipt of a finished shard.

        None if it is not done, or lacks some of its bytes. Bytes that were removed after shipping are not lacking.
        """
        receipt = self._usable_receipt(shard)
        if receipt is None:
            return None
        samples, tar = self.store.stat(samples_file(shard)), self.store.stat(tar_file(shard))
        if samples is None or tar is None:
            return receipt if self.store.stat(SHIPPED) else None
        return receipt if tar.n_bytes == receipt.bytes else None

    def all_finished(self, shards: Sequence[Shard]) -> dict[Shard, Receipt]:
        """Return the receipts of whole shards; see `finished`.

        Lists the store's folders once, unless the shards are a small part. Reads several receipts at a time.
        """
        if 10 * len(shards) < len(plan_shards(self.spec)):  # listing all would take longer
            return _read_at_once(self.finished, shards)
        entries = self.entries()
        removed = {shard for shard in shards if is_removed(shard, entries)}
        whole = [shard for shard in shards if shard in removed or all(name in entries for name in shard_files(shard))]
        return {
            shard: receipt
            for shard, receipt in self.receipts(whole).items()
            if shard in removed or entries[tar_file(shard)].n_bytes == receipt.bytes
        }

    def entries(self) -> dict[str, Entry]:
        """Return the files of all folders by name; see `Store.entries`."""
        return {name: entry for folder in ("", SAMPLES, RECEIPTS) for name, entry in self.store.entries(folder).items()}

    def receipts(self, shards: Sequence[Shard]) -> dict[Shard, Receipt]:
        """Return the usable receipts of some shards, in order.

        Reads several at a time.
        """
        return _read_at_once(self._usable_receipt, shards)

    def _usable_receipt(self, shard: Shard) -> Receipt | None:
        """Return a shard's receipt; None if it is missing or damaged."""
        try:
            return self.read_receipt(shard)
        except InputError:
            return None


def _read_at_once(read: Callable[[Shard], Receipt | None], shards: Sequence[Shard]) -> dict[Shard, Receipt]:
    """Return the receipts that exist, read by several threads."""
    with ThreadPoolExecutor(N_READERS) as pool:
        receipts = zip(shards, pool.map(read, shards), strict=True)
        return {shard: receipt for shard, receipt in receipts if receipt is not None}


def output_store(out: object) -> Store:
    """Return the store that the argument `out` names.

    Raises
    ------
    InputError
        It is empty, which is the working directory to `Path`, or neither a path nor a URL of a known scheme.
    """
    if not isinstance(out, str | os.PathLike) or not str(out):
        raise InputError(
            f"`out` (={shown(out)}) must be the path of a directory or a URL; `.` is the working directory"
        )
    return open_store(Path(out) if isinstance(out, os.PathLike) else out)


def reserve(store: Store, spec: Spec, shards: Sequence[Shard]) -> AbstractContextManager[None]:
    """Lock some shards, consecutive in the plan, for a block; see `Store.reserve`."""
    planned = plan_shards(spec)
    names = [name for shard in shards for name in shard_files(shard)]
    if len(shards) == len(planned):
        names += [SPEC, CATEGORIES, INDEX, CARD, INFO]
    return store.reserve(planned.index(shards[0]), len(shards), names)


def open_directory(out: Path | str) -> Directory:
    """Return the dataset that a folder or another store holds.

    Parameters
    ----------
    out : a folder, s3://BUCKET/FOLDER or ssh://USER@HOST:PORT/FOLDER

    Raises
    ------
    InputError
        It holds no baked dataset, or its spec.yaml or categories table was edited.
    """
    store = output_store(out)
    return stored_directory(store, read_manifest(store))


@lru_cache(maxsize=1)
def _reopen(store: Store, dataset_hash: str) -> Directory:
    """Open a directory once per process.

    Raises Unseen if it is not there, or holds another dataset now.
    """
    try:
        directory = stored_directory(store, read_manifest(store))
    except (InputError, OSError) as error:
        raise Unseen(f"{socket.gethostname()} does not see the dataset: {error}") from None
    if directory.dataset.hash != dataset_hash:
        raise Unseen(f"`{store.url}` now holds another dataset: it was replaced while in use")
    return directory


def stored_directory(store: Store, manifest: Manifest) -> Directory:
    """Return a directory with its own categories table.

    Raises InputError if the table is lost or was edited.
    """
    source = store.locate(CATEGORIES)
    advice = f"`fdsl repair {shlex.quote(store.url)}` restores it; add --categories-from if the bake used it"
    n_rows = manifest.spec.categories
    try:
        table = parse_table(store.read(CATEGORIES, max_table_bytes(n_rows)), source, n_rows)
        older_hash = None if manifest.format == FORMAT else manifest.hash
        dataset = Dataset(manifest.spec, table, source, older_hash)
    except FileNotFoundError:
        raise InputError(f"`{source}` is missing; {advice}") from None
    except InputError as error:
        raise InputError(f"{error}; {advice}") from None
    if dataset.categories_sha256 != manifest.categories_sha256:
        raise InputError(f"`{source}` was edited: its hash is not the one in {SPEC}; {advice}")
    return Directory(store, dataset)
