"""Shipping: copies a dataset to another place, shard by shard."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fdsl.dataset.plan import Shard, plan_shards
from fdsl.primitives.errors import InputError
from fdsl.primitives.reading import read_bounded
from shards.directory import Directory, open_directory
from shards.events import Advanced, Finished, ItemFailed, Listener, Started, ignore
from shards.executors.contract import Executor, Failed, require_executor
from shards.executors.local import LocalExecutor
from shards.layout import (
    CARD,
    CATEGORIES,
    INDEX,
    INFO,
    RECEIPTS,
    SAMPLES,
    SPEC,
    SUMS,
    receipt_file,
    shard_files,
    tar_file,
)  # fmt: skip
from shards.stores.contract import Store, WrongHashError, write_content
from shards.stores.folder import Folder, file_sha256
from shards.stores.places import open_store

_MAX_SPEC_BYTES = 2**20
_POLL_S = 2.0
_N_AT_ONCE = 4


@dataclass(frozen=True)
class Shipped:
    """Result of shipping.

    Attributes
    ----------
    n_shards : number of shards sent by this call
    n_bytes : size of their tars
    n_found : shards that were there
    n_missing : shards of the dataset that are not there yet
    is_complete : whether all shards and the index are there
    failures : shards that failed, by name, with the reason
    """

    n_shards: int
    n_bytes: int
    n_found: int
    n_missing: int
    is_complete: bool
    failures: dict[str, str]


def ship(
    out: Path | str,
    destination: Path | str,
    *,
    executor: Executor | None = None,
    follow: bool = False,
    listener: Listener = ignore,
) -> Shipped:
    """Copy a dataset to another place.

    Sends each finished shard that is not there: tar, samples table, then receipt. Sends the index once all shards are there.
    Calling again resumes.

    Parameters
    ----------
    out : baked directory
    destination : a folder, s3://BUCKET/FOLDER or ssh://USER@HOST:PORT/FOLDER
    executor : four local processes by default, which send a shard each
    follow : go on until the bake is complete, or a shard fails
    listener : called with each event

    Raises
    ------
    InputError
        `out` holds no dataset, or `destination` holds something else.
    OSError
        The destination cannot be written. What was sent is kept.
    """
    directory, store = open_directory(out), open_store(destination, "destination")
    executor = LocalExecutor(_N_AT_ONCE) if executor is None else executor
    require_executor(executor)
    claim_destination(directory, store)
    there, n_planned = _proven(directory, store), len(plan_shards(directory.spec))
    n_found = len(there)
    if n_found < n_planned:
        _put(directory, store, SPEC)  # shows that the place can be written, before anything long begins
    listener(Started("ship", directory.spec.name, "shards", n_planned, n_found))
    while True:
        failures = _send_finished(directory, store, there, executor, listener)
        n_missing = n_planned - len(there)
        is_complete = not n_missing and _send_index(directory, store)
        if is_complete or failures or not follow:
            break
        time.sleep(_POLL_S)
    listener(Finished("ship"))
    sent = there[n_found:]
    n_bytes = sum((directory.path / tar_file(shard)).stat().st_size for shard in sent)
    return Shipped(len(sent), n_bytes, n_found, n_missing, is_complete, failures)


def claim_destination(directory: Directory, store: Store) -> None:
    """Send spec.yaml and the categories table, if the place is empty.

    Raises
    ------
    InputError
        The place holds other files or another dataset, or is the directory itself.
    """
    if isinstance(store, Folder) and store.path.resolve() == directory.path.resolve():
        raise InputError(f"`destination` (={store.url}) is the dataset itself; name another place")
    names = store.entries()
    if SPEC not in names and (foreign := sorted(set(names) - {f"{SAMPLES}/", f"{RECEIPTS}/", CATEGORIES})):
        raise InputError(f"`destination` (={store.url}) holds other files ({foreign[0]}); name a new or empty place")
    spec = read_bounded(directory.path / SPEC, _MAX_SPEC_BYTES)
    if SPEC not in names:
        with suppress(FileExistsError), store.create(SPEC, exclusive=True) as file:
            file.write(spec)
    if store.read(SPEC, _MAX_SPEC_BYTES) != spec:
        raise InputError(f"`destination` (={store.url}) holds another dataset: its {SPEC} differs; name another place")
    if CATEGORIES not in names:
        _put(directory, store, CATEGORIES)


def _put(directory: Directory, store: Store, name: str, sha256: str | None = None) -> None:
    """Send a file; its hash is computed if it is not given."""
    path = directory.path / name
    known = file_sha256(path) if sha256 is None else sha256
    _undisturbed(lambda: store.put(name, path, known))


def _undisturbed(write: Callable[[], None]) -> None:
    """Write a file, twice if it vanished.

    A second `ship` deletes unfinished files when it completes the place.
    """
    try:
        write()
    except FileNotFoundError:
        write()


def _proven(directory: Directory, store: Store) -> list[Shard]:
    """Return the shards that are there.

    Their files have the right size, and their receipts or the index hold the same hashes as here.
    """
    entries = {**store.entries(), **store.entries(SAMPLES), **store.entries(RECEIPTS)}

    def is_there(name: str) -> bool:
        path = directory.path / name
        return path.exists() and name in entries and entries[name].n_bytes == path.stat().st_size

    whole = [shard for shard in plan_shards(directory.spec) if all(map(is_there, shard_files(shard)))]
    if _has_same_info(directory, store):
        return whole
    here, there = (Directory(place, directory.dataset).receipts(whole) for place in (directory.store, store))
    return [shard for shard in whole if shard in here and here[shard] == there.get(shard)]


def _has_same_info(directory: Directory, store: Store) -> bool:
    """Return whether _info.json there, which holds the hash of every tar, is as here."""
    try:
        n_bytes = (directory.path / INFO).stat().st_size
        return store.read(INFO, n_bytes) == directory.store.read(INFO, n_bytes)
    except (FileNotFoundError, InputError):
        return False


def _send_finished(
    directory: Directory, store: Store, there: list[Shard], executor: Executor, listener: Listener
) -> dict[str, str]:
    """Send the finished shards that are not there.

    Return why each failed, by name.

    Parameters
    ----------
    there : shards that are there; those that are sent are appended
    """
    known = set(there)
    failures: dict[str, str] = {}
    ready = list(directory.all_finished([shard for shard in plan_shards(directory.spec) if shard not in known]))
    if ready and not _has_same_info(directory, store):
        store.delete(INFO)  # it would name the hashes of shards that are replaced
    with closing(executor.run(partial(send_shard, directory, store), ready)) as outcomes:
        for outcome in outcomes:
            shard = outcome.item
            if not isinstance(outcome, Failed):
                there.append(shard)
                listener(Advanced(1, shard.name))
                continue
            if not isinstance(outcome.error, WrongHashError):
                raise outcome.error
            failures[shard.name] = str(outcome.error)
            listener(ItemFailed(shard.name, failures[shard.name]))
    return failures


def send_shard(directory: Directory, store: Store, shard: Shard) -> None:
    """Send one shard: tar, samples table, then receipt.

    Raises
    ------
    WrongHashError
        A file is not the one that the receipt describes.
    """
    receipt = directory.read_receipt(shard)
    if receipt is None:
        proof = directory.store.locate(receipt_file(shard))
        raise WrongHashError(f"`{proof}` was deleted while the shard was sent; ship again")
    tar, samples, proof = shard_files(shard)
    _put(directory, store, tar, receipt.sha256)
    _put(directory, store, samples, receipt.samples_sha256)
    _put(directory, store, proof)


def _send_index(directory: Directory, store: Store) -> bool:
    """Send the index, last of all _info.json.

    Does nothing if it is there. Return False if the bake has not written it.
    """
    if not all((directory.path / name).exists() for name in (INDEX, CARD, INFO)):
        return False
    sums = "".join(_sums(directory)).encode()
    sizes = {name: (directory.path / name).stat().st_size for name in (CATEGORIES, INDEX, CARD)} | {SUMS: len(sums)}
    entries = store.entries()
    if _has_same_info(directory, store) and all(
        name in entries and entries[name].n_bytes == n_bytes for name, n_bytes in sizes.items()
    ):
        return True
    for name in (CATEGORIES, INDEX, CARD):
        _put(directory, store, name)
    _undisturbed(lambda: write_content(store, SUMS, sums))
    with suppress(OSError):  # what cannot be deleted does no harm
        store.sweep()
    _put(directory, store, INFO)
    return True


def _sums(directory: Directory) -> Iterator[str]:
    """Yield the lines of SHA256SUMS, as `sha256sum --check` reads them."""
    for shard in plan_shards(directory.spec):
        receipt = directory.read_receipt(shard)
        if receipt is not None:
            yield f"{receipt.sha256}  {shard.name}.tar\n"
            yield f"{receipt.samples_sha256}  {SAMPLES}/{shard.name}.parquet\n"
    receipts = (f"{RECEIPTS}/{shard.name}.json" for shard in plan_shards(directory.spec))
    for name in itertools.chain(receipts, (SPEC, CATEGORIES, INDEX, CARD, INFO)):
        yield f"{file_sha256(directory.path / name)}  {name}\n"


def loader_urls(destination: Path | str, split: str = "train", base: str | None = None) -> str:
    """Return one URL of a split's shards.

    It has a range in braces, as webdataset takes it.

    Parameters
    ----------
    destination : where the shards are; see `ship`
    split : train or validation
    base : where loaders find the destination, such as http://HOST/FOLDER

    Raises
    ------
    InputError
        The place has no shard of this split, or misses one in between.
    """
    store = open_store(destination, "destination")
    names = {name for name in store.entries() if re.fullmatch(rf"{split}-\d{{6}}\.tar", name)}
    if not names:
        raise InputError(f"`destination` (={store.url}) has no shard of `split` (={split}); ship or bake one there")
    first, last = (int(name[-10:-4]) for name in (min(names), max(names)))
    if missing := {f"{split}-{number:06d}.tar" for number in range(first, last)} - names:
        raise InputError(
            f"`destination` (={store.url}) misses {min(missing)}; complete it by `fdsl ship` or `fdsl bake`"
        )
    pattern = f"{split}-{{{first:06d}..{last:06d}}}.tar"
    return store.loader_url(pattern) if base is None else f"{base.rstrip('/')}/{pattern}"
