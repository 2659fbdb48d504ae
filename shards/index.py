"""The index of a complete dataset, written from the receipts."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from fdsl.dataset.plan import plan_shards
from fdsl.dataset.spec import SPLITS
from fdsl.primitives.errors import InputError
from shards.card import card
from shards.directory import Directory
from shards.files import parquet_bytes
from shards.layout import CARD, FAILED, INDEX, INFO, RECEIPTS
from shards.receipts import Receipt
from shards.stores.contract import write_content

_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("split", pa.string()),
        ("samples", pa.int64()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
    ]
)


def index_table(receipts: list[Receipt]) -> pa.Table:
    """Return the content of shards.parquet: one row per shard."""
    rows = [{**receipt.model_dump(include=set(_SCHEMA.names)), "name": receipt.shard} for receipt in receipts]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def info(directory: Directory, receipts: list[Receipt]) -> dict[str, Any]:
    """Return the content of _info.json.

    timm's reader reads `name`, `filenames`, `shard_lengths` and `num_samples` of each split. The trainer also reads
    `shard_bytes` and `shard_sha256`.
    """
    splits = {}
    for split in SPLITS:
        of_split = [receipt for receipt in receipts if receipt.split == split]
        if of_split:
            splits[split] = {
                "name": split,
                "filenames": [receipt.shard for receipt in of_split],
                "shard_lengths": [receipt.samples for receipt in of_split],
                "num_samples": sum(receipt.samples for receipt in of_split),
                "shard_bytes": [receipt.bytes for receipt in of_split],
                "shard_sha256": [receipt.sha256 for receipt in of_split],
            }
    return {"splits": splits, "num_classes": directory.spec.categories, "spec_hash": directory.dataset.hash}


def info_before_0_2(directory: Directory, receipts: list[Receipt]) -> dict[str, Any]:
    """Return _info.json as versions before 0.2 wrote it.

    It has MD5 hashes and an index for the wids library.
    """
    content = info(directory, receipts)
    for split in content["splits"].values():
        del split["shard_bytes"], split["shard_sha256"]
    return {
        **content,
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": directory.spec.name,
        "shardlist": [
            {"url": receipt.shard, "md5sum": receipt.md5, "nsamples": receipt.samples, "filesize": receipt.bytes}
            for receipt in receipts
            if receipt.split == "train"
        ],
    }


def write_index(directory: Directory, receipts: list[Receipt]) -> None:
    """Write shards.parquet, the card and, last, _info.json.

    Deletes the notes on failures, which other bakes have made up for.

    Parameters
    ----------
    receipts : of all shards, in the plan's order

    Raises
    ------
    InputError
        One is missing.
    """
    if len(receipts) < len(plan_shards(directory.spec)):
        raise InputError(
            f"`{directory.store.url}`: a receipt was deleted while the index was written; run the command again"
        )
    for name in directory.store.entries(RECEIPTS):
        if name.endswith(FAILED):
            directory.store.delete(name)
    for name, content in (
        (INDEX, parquet_bytes(index_table(receipts))),
        (CARD, card(directory, receipts).encode()),
        (INFO, json.dumps(info(directory, receipts), indent=1).encode() + b"\n"),
    ):
        write_content(directory.store, name, content)
