"""Baking: render the images of each missing shard and pack them."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from fdsl.dataset.dataset import Dataset, require_spec
from fdsl.dataset.plan import Shard, image_key, image_names, plan_shards, select_shards
from fdsl.dataset.spec import Spec
from fdsl.primitives.errors import encodable, machine_of
from shards import png
from shards.claiming import claim_directory, given_dataset, stored_manifest
from shards.directory import Directory, Unseen, output_store, reserve
from shards.events import Advanced, Finished, ItemFailed, Listener, Started, ignore
from shards.executors.contract import Executor, Failed, require_executor
from shards.executors.local import LocalExecutor
from shards.executors.signals import uninterrupted
from shards.files import parquet_bytes
from shards.index import write_index
from shards.layout import RECEIPTS, SAMPLES, SHIPPED, failure_file, receipt_file, samples_file, tar_file
from shards.receipts import Receipt
from shards.removed import is_removed, removed_note, removed_to
from shards.samples import samples_table
from shards.searching import search_table
from shards.sharing import require_baked, require_shared_output
from shards.stores.contract import Store, write_content
from shards.tar import TarWriter


@dataclass(frozen=True)
class Baked:
    """Result of a bake.

    Attributes
    ----------
    directory : Directory
    n_images : number of images baked by this call
    n_shards : number of shards baked by this call
    n_found : requested shards that existed
    n_missing : shards of the whole dataset that are still missing
    failures : shards that failed, by name, with the reason
    notes : a line on requested shards whose files are only where they were shipped to
    """

    directory: Directory
    n_images: int
    n_shards: int
    n_found: int
    n_missing: int
    failures: dict[str, str]
    notes: tuple[str, ...] = ()


def bake(
    spec: Spec,
    out: Path | str,
    *,
    categories: pa.Table | Path | str | None = None,
    executor: Executor | None = None,
    split: str = "all",
    shards: str | None = None,
    listener: Listener = ignore,
) -> Baked:
    """Bake the missing shards of a dataset into a directory.

    Writes the index once all shards are done. The bytes do not depend on the executor.

    Parameters
    ----------
    categories : categories table or the path of its Parquet file; by default the directory's, or the result of a search
    executor : one local process per processor by default
    split, shards : which shards; see `select_shards`
    listener : called with each event

    Raises
    ------
    InputError
        The directory holds something else, another process bakes one of the shards, or the categories do not fit the spec.
        The dataset was not changed.
    OSError
        The directory cannot be written, its disk is full, or the executor's cluster is lost. Finished shards are kept;
        calling again resumes.
    """
    require_spec(spec)
    executor = LocalExecutor(listener=listener) if executor is None else executor
    require_executor(executor)
    store, planned, chosen = output_store(out), plan_shards(spec), select_shards(spec, split, shards)
    given = given_dataset(spec, categories)
    store.preflight((SAMPLES, RECEIPTS))
    stored_manifest(store, spec, given)
    with reserve(store, spec, chosen):
        directory = claim_directory(store, spec, given, partial(search_table, executor=executor, listener=listener))
        done = directory.all_finished(chosen)
        missing = [shard for shard in chosen if shard not in done]
        failures = bake_shards(directory, missing, chosen, executor, listener)
        n_missing = _complete(directory, planned, {} if missing else done)
    baked = [shard for shard in missing if shard.name not in failures]
    n_images = sum(shard.n_samples for shard in baked)
    notes = _removed_notes(directory, done)
    return Baked(directory, n_images, len(baked), len(chosen) - len(missing), n_missing, failures, notes)


def _removed_notes(directory: Directory, done: Iterable[Shard]) -> tuple[str, ...]:
    """Return a line on the shards whose files are elsewhere, if any.

    A shard that lost its files before it was shipped looks the same, so that a bake must not pass over them in silence.
    """
    if directory.store.stat(SHIPPED) is None:
        return ()
    entries = directory.entries()
    n_removed = sum(is_removed(shard, entries) for shard in done)
    return (removed_note(removed_to(directory.store), n_removed),) if n_removed else ()


def prepare(
    spec: Spec,
    out: Path | str,
    *,
    categories: pa.Table | Path | str | None = None,
    executor: Executor | None = None,
    listener: Listener = ignore,
) -> Directory:
    """Prepare a directory for bakes that start together.

    Writes the spec and the categories, so that no bake has to search for them. Parameters and errors are those of `bake`.
    """
    require_spec(spec)
    executor = LocalExecutor(listener=listener) if executor is None else executor
    store, given = output_store(out), given_dataset(spec, categories)
    store.preflight((SAMPLES, RECEIPTS))
    return claim_directory(store, spec, given, partial(search_table, executor=executor, listener=listener))


def bake_shards(
    directory: Directory, missing: Sequence[Shard], chosen: Sequence[Shard], executor: Executor, listener: Listener
) -> dict[str, str]:
    """Bake some shards; return why each failed, by name.

    Parameters
    ----------
    missing : shards to bake
    chosen : shards that the progress counts, done or not

    Raises
    ------
    InputError
        The workers do not see the directory, or what one has baked is not there.
    OSError
        The directory cannot be written, or the cluster is lost. This affects every shard, so it ends the bake. Any other
        error, such as a worker's full disk, fails its shard.
    """
    n_images, n_total = (sum(shard.n_samples for shard in group) for group in (missing, chosen))
    failures: dict[str, str] = {}
    if missing:
        require_shared_output(directory.store, executor)
    with uninterrupted():
        directory.spec.family_module.compile_kernels()
        png.compile_kernels()
    listener(Started("bake", directory.spec.name, "images", n_total, n_total - n_images))
    with closing(executor.run(partial(bake_shard, directory), missing)) as outcomes:
        for outcome in outcomes:
            if not isinstance(outcome, Failed):
                listener(Advanced(outcome.item.n_samples, outcome.item.name))
                continue
            if _is_of_store(outcome.error, directory.store):
                raise outcome.error
            machine, reason = machine_of(outcome.error), str(outcome.error) or type(outcome.error).__name__
            note = f"{machine or socket.gethostname()}: {reason}"
            write_content(directory.store, failure_file(outcome.item), encodable(f"{note}\n").encode())
            failures[outcome.item.name] = reason = note if machine else reason
            listener(ItemFailed(outcome.item.name, reason))
    require_baked(directory.store, executor, (shard for shard in missing if shard.name not in failures))
    listener(Finished("bake"))
    return failures


def _is_of_store(error: Exception, store: Store) -> bool:
    """Return whether an error is about the dataset's store.

    Others are about the worker's machine.
    """
    if isinstance(error, Unseen):
        return True
    return isinstance(error, OSError) and str(error.filename).startswith(store.url)


def _complete(directory: Directory, planned: Sequence[Shard], known: dict[Shard, Receipt]) -> int:
    """Write the index if all shards are done.

    Return how many are missing.

    Parameters
    ----------
    known : receipts of shards that are done
    """
    if len(known) < len(planned):
        entries = directory.store.entries(RECEIPTS)
        n_receipts = sum(receipt_file(shard) in entries for shard in planned)
        if n_receipts < len(planned):  # reading them all would take time in a remote store
            return len(planned) - n_receipts
        known = directory.all_finished(planned)
    if len(known) == len(planned):
        write_index(directory, list(known.values()))
    return len(planned) - len(known)


def bake_shard(directory: Directory, shard: Shard) -> Receipt:
    """Bake one shard: tar, samples table, then receipt.

    Returns at once if it is done: an executor may run a task twice, and a result may be lost with its worker.
    """
    if receipt := directory.finished(shard):
        return receipt
    names, store = image_names(directory.spec, shard), directory.store
    with store.create(tar_file(shard)) as file:
        tar = TarWriter(file)
        variants = _pack_images(directory.dataset, names, tar)
        tar.close()
    table = parquet_bytes(samples_table(directory.spec, names, variants))
    write_content(store, samples_file(shard), table)
    receipt = Receipt(
        shard=tar_file(shard),
        split=shard.split,
        samples=shard.n_samples,
        bytes=file.n_bytes,
        sha256=file.sha256,
        samples_sha256=hashlib.sha256(table).hexdigest(),
        spec=directory.dataset.hash,
    )
    write_content(store, receipt_file(shard), receipt.to_json().encode())
    return receipt


def _pack_images(dataset: Dataset, names: list[tuple[int, int]], tar: TarWriter) -> list[tuple[Any, ...]]:
    """Render images into a tar; return their variants."""
    bit_depth = dataset.spec.family_module.BIT_DEPTH
    variants = []
    for (category, instance), (image, variant) in zip(names, dataset.images(names), strict=True):
        key = image_key(category, instance)
        tar.add(f"{key}.png", png.encode(image, bit_depth))
        tar.add(f"{key}.cls", b"%d" % category)
        variants.append(variant)
    return variants
