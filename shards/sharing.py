"""Checks that workers on other machines reach a dataset's store."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from fdsl.dataset.plan import Shard
from fdsl.dataset.sources import MAX_YAML_BYTES
from fdsl.primitives.errors import InputError
from shards.executors.contract import Executor, Failed
from shards.executors.local import LocalExecutor
from shards.layout import RECEIPTS, SPEC, receipt_file
from shards.stores.contract import Store, probed


def require_shared(store: Store, executor: Executor, name: str = SPEC) -> None:
    """Check that a worker reads the same file.

    Raises
    ------
    InputError
        It finds no such file, or another one.
    OSError
        It does not reach the store.
    """
    if isinstance(executor, LocalExecutor):
        return
    content = store.read(name, MAX_YAML_BYTES)
    for outcome in executor.run(_Reader(store), [name]):
        if isinstance(outcome, Failed):
            raise outcome.error
        host, seen = outcome.result
        if seen != content:
            raise InputError(f"`out` (={store.url}) is not the same folder on {host}; name one that all machines share")


def require_shared_output(store: Store, executor: Executor) -> None:
    """Check that a worker reads a new file.

    See `require_shared`.
    """
    if isinstance(executor, LocalExecutor):
        return
    with probed(store) as name:
        require_shared(store, executor, name)


def require_baked(store: Store, executor: Executor, shards: Iterable[Shard]) -> None:
    """Check that what workers have baked is in the store.

    Lists the receipts once. A listing of a network folder may be old, so those that it lacks are looked up.

    Raises
    ------
    InputError
        A shard is not there.
    """
    if isinstance(executor, LocalExecutor):
        return
    entries = store.entries(RECEIPTS)
    for shard in shards:
        if receipt_file(shard) not in entries and store.stat(receipt_file(shard)) is None:
            raise InputError(
                f"`out` (={store.url}): {shard.name} was baked but is not there: a worker has another folder of this name;"
                " name one that all machines share"
            )


class _Reader:
    """Task of a worker: read a file."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, name: str) -> tuple[str, bytes | None]:
        """Return the machine's name, and what the file holds."""
        try:
            return socket.gethostname(), self._store.read(name, MAX_YAML_BYTES)
        except FileNotFoundError:
            return socket.gethostname(), None
