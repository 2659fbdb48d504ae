"""Sending: claims a destination and sends a dataset's files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from fdsl.dataset.plan import Shard, plan_shards
from fdsl.primitives.errors import InputError
from shards.directory import N_READERS, Directory
from shards.layout import (
    CARD,
    CATEGORIES,
    INDEX,
    INFO,
    RECEIPTS,
    SAMPLES,
    SHIPPED,
    SPEC,
    SUMS,
    receipt_file,
    shard_files,
    tar_file,
)  # fmt: skip
from shards.receipts import MAX_BYTES, Receipt, parse_receipt
from shards.stores.contract import Store, WrongHashError, probed, write_content
from shards.stores.folder import CHUNK, Folder, file_sha256, wrong_hash
from shards.stores.uploading import Unreachable

_MAX_SPEC_BYTES = 2**20


def place_of(store: Store) -> str:
    """Return the path or URL by which other processes find a store."""
    return str(store.path.resolve()) if isinstance(store, Folder) else store.url


def claim_destination(directory: Directory, store: Store) -> None:
    """Send spec.yaml and the categories table, if the place is empty.

    Raises
    ------
    InputError
        The place holds other files or another dataset, or is the dataset itself.
    """
    if place_of(store) == place_of(directory.store):
        raise _itself(store)
    names = store.entries()
    if SPEC not in names and (foreign := sorted(set(names) - {f"{SAMPLES}/", f"{RECEIPTS}/", CATEGORIES})):
        raise InputError(f"`destination` (={store.url}) holds other files ({foreign[0]}); name a new or empty place")
    spec = directory.store.read(SPEC, _MAX_SPEC_BYTES)
    if SPEC not in names:
        with suppress(FileExistsError), store.create(SPEC, exclusive=True) as file:
            file.write(spec)
    if store.read(SPEC, _MAX_SPEC_BYTES) != spec:
        raise InputError(f"`destination` (={store.url}) holds another dataset: its {SPEC} differs; name another place")
    if CATEGORIES not in names:
        _put(directory, store, CATEGORIES)


def require_writable(directory: Directory, store: Store) -> None:
    """Check that a destination is writable, and not the dataset itself.

    Raises
    ------
    InputError
        The place is the dataset itself, by another name.
    OSError
        The place cannot be written.
    """
    with probed(store) as name:
        if directory.store.stat(name) is not None:
            raise _itself(store)


def _itself(store: Store) -> InputError:
    return InputError(f"`destination` (={store.url}) is the dataset itself; name another place")


def proven(directory: Directory, store: Store) -> list[Shard]:
    """Return the shards that are at a destination.

    Their files have the right size, and their receipts or the index hold the same hashes as here.
    """
    here, there = directory.entries(), Directory(store, directory.dataset).entries()

    def is_there(name: str) -> bool:
        if name not in here:
            return name in there and SHIPPED in here
        return name in there and there[name].n_bytes == here[name].n_bytes

    whole = [
        shard
        for shard in plan_shards(directory.spec)
        if receipt_file(shard) in here and all(map(is_there, shard_files(shard)))
    ]
    if SHIPPED not in here and has_same_info(directory, store):
        return whole
    ours, theirs = (Directory(place, directory.dataset).receipts(whole) for place in (directory.store, store))
    return [
        shard
        for shard in whole
        if shard in ours and ours[shard] == theirs.get(shard) and ours[shard].bytes == there[tar_file(shard)].n_bytes
    ]


def has_same_info(directory: Directory, store: Store) -> bool:
    """Return whether _info.json there is as here.

    It holds the hash of every tar.
    """
    entry = directory.store.stat(INFO)
    if entry is None or entry.n_bytes is None:
        return False
    try:
        return store.read(INFO, entry.n_bytes) == directory.store.read(INFO, entry.n_bytes)
    except (FileNotFoundError, InputError):
        return False


def send_shard(directory: Directory, store: Store, shard: Shard) -> Receipt:
    """Send one shard: tar, samples table, then receipt.

    Raises
    ------
    WrongHashError
        A file is missing, or is not the one that the receipt describes.
    """
    tar, samples, proof = shard_files(shard)
    receipt = directory.read_receipt(shard)
    if receipt is None:
        raise WrongHashError(f"`{directory.store.locate(proof)}` was deleted while the shard was sent; ship again")
    try:
        _put(directory, store, tar, receipt.sha256)
        _put(directory, store, samples, receipt.samples_sha256)
        _put(directory, store, proof)
    except FileNotFoundError:
        if all(directory.store.stat(name) for name in (tar, samples)):
            raise
        if (
            Directory(store, directory.dataset).finished(shard) != receipt
        ):  # else another `ship` has sent and removed it
            place = directory.store.locate(tar)
            raise WrongHashError(
                f"`{place}` is not whole here or at {store.url}; `fdsl repair` bakes it again"
            ) from None
    return receipt


def _put(directory: Directory, store: Store, name: str, sha256: str | None = None) -> None:
    """Send a file.

    Raises WrongHashError if its hash is not `sha256`.
    """
    source = directory.store
    if isinstance(source, Folder):
        path = source.path / name
        _twice(partial(store.put, name, path, file_sha256(path) if sha256 is None else sha256))
    else:
        _twice(partial(_copy, source, store, name, sha256))


def _copy(source: Store, store: Store, name: str, sha256: str | None) -> None:
    """Copy a file between stores; see `_put`."""
    with source.open(name) as file, store.create(name) as copy:
        while chunk := file.read(CHUNK):
            copy.write(chunk)
        if sha256 not in (None, copy.sha256):
            raise wrong_hash(source.locate(name))


def _twice(write: Callable[[], None]) -> None:
    """Write a file; try once more if one vanished.

    Its source may be lost for a moment. A second `ship` deletes unfinished files when it completes the place.
    """
    try:
        write()
    except (FileNotFoundError, Unreachable):
        write()


def send_index(directory: Directory, store: Store) -> bool:
    """Send the index, last of all _info.json.

    Does nothing if it is there. Return False if the bake has not written it.
    """
    here, there = directory.store.entries(), store.entries()
    if not {INDEX, CARD, INFO} <= here.keys():
        return False
    sums = "".join(_sums(directory)).encode()
    sizes = {name: here[name].n_bytes for name in (CATEGORIES, INDEX, CARD)} | {SUMS: len(sums)}
    if has_same_info(directory, store) and all(
        name in there and there[name].n_bytes == n_bytes for name, n_bytes in sizes.items()
    ):
        return True
    for name in (CATEGORIES, INDEX, CARD):
        _put(directory, store, name)
    _twice(lambda: write_content(store, SUMS, sums))
    with suppress(OSError):  # what cannot be deleted does no harm
        store.sweep()
    _put(directory, store, INFO)
    return True


def _sums(directory: Directory) -> Iterator[str]:
    """Yield the lines of SHA256SUMS, as `sha256sum --check` reads them."""
    store, planned = directory.store, plan_shards(directory.spec)
    with ThreadPoolExecutor(N_READERS) as pool:
        contents = pool.map(lambda shard: store.read(receipt_file(shard), MAX_BYTES), planned)
        for shard, content in zip(planned, contents, strict=True):
            tar, samples, proof = shard_files(shard)
            receipt = parse_receipt(content, store.locate(proof))
            yield f"{receipt.sha256}  {tar}\n{receipt.samples_sha256}  {samples}\n"
            yield f"{hashlib.sha256(content).hexdigest()}  {proof}\n"
    for name in (SPEC, CATEGORIES, INDEX, CARD, INFO):
        yield f"{_sha256(store, name)}  {name}\n"


def _sha256(store: Store, name: str) -> str:
    """Return the hash of a stored file."""
    digest = hashlib.sha256()
    with store.open(name) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
