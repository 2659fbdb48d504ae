"""Shipping: copies a dataset to another place, shard by shard."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fdsl.dataset.plan import Shard, plan_shards
from fdsl.primitives.errors import InputError
from shards.directory import Directory, open_directory, output_store
from shards.events import Advanced, Finished, ItemFailed, Listener, Started, ignore
from shards.executors.contract import Executor, Failed, require_executor
from shards.executors.local import LocalExecutor
from shards.layout import INFO, SHIPPED, samples_file, tar_file
from shards.removed import is_removed, removed_to, write_removed_to
from shards.sending import (
    claim_destination,
    has_same_info,
    place_of,
    proven,
    require_writable,
    send_index,
    send_shard,
)  # fmt: skip
from shards.stores.contract import Store, WrongHashError
from shards.stores.folder import Folder
from shards.stores.places import open_store

_POLL_S = 2.0
PATIENCE_S = 300.0
"""Time without a new shard or a running bake after which following ends."""
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
    remove_local: bool = False,
    listener: Listener = ignore,
) -> Shipped:
    """Copy a dataset to another place.

    Sends each finished shard that is not there: tar, samples table, then receipt. Sends the index once all shards are there.
    Calling again resumes.

    Parameters
    ----------
    out : baked directory, or the URL of a store
    destination : a folder, s3://BUCKET/FOLDER or ssh://USER@HOST:PORT/FOLDER
    executor : four local processes by default, which send a shard each
    follow : go on until the bake is complete, a shard fails, or nothing is baked for five minutes
    remove_local : delete the tar and the samples table of each shard that is there; `out` must be a folder
    listener : called with each event

    Raises
    ------
    InputError
        `out` holds no dataset, or has removed shards that another place holds. `destination` holds something else.
    OSError
        The destination cannot be written. What was sent is kept.
    """
    if remove_local and not isinstance(output_store(out), Folder):
        raise InputError(f"`remove_local` needs a folder as `out` (={out}); leave it out")
    directory, store = open_directory(out), open_store(destination, "destination")
    executor = LocalExecutor(_N_AT_ONCE) if executor is None else executor
    require_executor(executor)
    _require_holder(directory, store)
    claim_destination(directory, store)
    shipment = _Shipment(directory, store, executor, listener, remove_local)
    there, n_planned = shipment.there, len(plan_shards(directory.spec))
    n_found = len(there)
    if n_found < n_planned or remove_local:
        require_writable(directory, store)
    if remove_local:
        shipment.remove_found()
    listener(Started("ship", directory.spec.name, "shards", n_planned, n_found))
    changed_at = time.monotonic()
    while True:
        n_before, failures = len(there), shipment.send_finished()
        n_missing = n_planned - len(there)
        is_complete = not n_missing and send_index(directory, store)
        if is_complete or failures or not follow:
            break
        if len(there) > n_before or directory.store.is_reserved():
            changed_at = time.monotonic()
        elif time.monotonic() - changed_at > PATIENCE_S:
            break
        time.sleep(_POLL_S)
    listener(Finished("ship"))
    return Shipped(len(there) - n_found, shipment.n_bytes, n_found, n_missing, is_complete, failures)


def _require_holder(directory: Directory, store: Store) -> None:
    """Refuse a destination if another place holds removed shards."""
    entries = directory.entries()
    if SHIPPED not in entries or (place := removed_to(directory.store)) == place_of(store):
        return
    if n_removed := sum(is_removed(shard, entries) for shard in plan_shards(directory.spec)):
        raise InputError(
            f"`out` (={directory.store.url}) has {n_removed:,} shards only at {place}; ship to there, or from there"
        )


class _Shipment:
    """Shards on their way.

    Attributes
    ----------
    there : shards that are at the destination
    n_bytes : size of the tars that were sent
    """

    def __init__(
        self, directory: Directory, store: Store, executor: Executor, listener: Listener, removes: bool
    ) -> None:
        self._directory, self._store, self._removes = directory, store, removes
        self._executor, self._listener = executor, listener
        self.there, self.n_bytes = proven(directory, store), 0

    def remove_found(self) -> None:
        """Remove the shards that are there, having noted where."""
        write_removed_to(self._directory.store, place_of(self._store))
        for shard in self.there:
            self._remove(shard)

    def send_finished(self) -> dict[str, str]:
        """Send the finished shards that are not there.

        Return why each failed, by name.
        """
        directory, known, failures = self._directory, set(self.there), dict[str, str]()
        ready = list(directory.all_finished([shard for shard in plan_shards(directory.spec) if shard not in known]))
        if ready and not has_same_info(directory, self._store):
            self._store.delete(INFO)  # it would name the hashes of shards that are replaced
        with closing(self._executor.run(partial(send_shard, directory, self._store), ready)) as outcomes:
            for outcome in outcomes:
                shard = outcome.item
                if not isinstance(outcome, Failed):
                    self.there.append(shard)
                    self.n_bytes += outcome.result.bytes
                    if self._removes:
                        self._remove(shard)
                    self._listener(Advanced(1, shard.name))
                    continue
                if not isinstance(outcome.error, WrongHashError):
                    raise outcome.error
                failures[shard.name] = str(outcome.error)
                self._listener(ItemFailed(shard.name, failures[shard.name]))
        return failures

    def _remove(self, shard: Shard) -> None:
        """Delete a shard's files here; its receipt stays."""
        for name in (tar_file(shard), samples_file(shard)):
            self._directory.store.delete(name)
