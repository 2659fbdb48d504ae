"""The files that say what a whole dataset is, made from the receipts once all shards are there."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from primitives.fields import InputError
from shards.directory import CARD, INDEX, INFO, Directory, Receipt, write, write_table
from shards.plan import plan_shards
from shards.spec import SPLITS
from shards.version import VERSION

FEW_SHARDS, MANY_CATEGORIES = 64, 1000


def few_shards_warning(categories: int, n_train_shards: int) -> str | None:
    """Return a warning if a dataset of 1,000 categories or more has too few shards to train on with stock loaders."""
    if categories < MANY_CATEGORIES or n_train_shards >= FEW_SHARDS:
        return None
    return (
        f"only {n_train_shards} train shards: stock loaders silently lose data when there are fewer shards than"
        f" GPUs x loader workers; lower `shards.samples` until there are {FEW_SHARDS} or more"
    )


def read_receipts(directory: Directory) -> list[Receipt]:
    """Return the receipts that are there, in the plan's order."""
    receipts = [directory.read_receipt(shard) for shard in plan_shards(directory.spec)]
    return [receipt for receipt in receipts if receipt is not None]


def index_table(receipts: list[Receipt]) -> pa.Table:
    """Return what shards.parquet holds."""
    rows = [
        {"name": each.shard, "split": each.split, "samples": each.samples, "bytes": each.bytes, "sha256": each.sha256}
        for each in receipts
    ]
    fields = [
        ("name", pa.string()),
        ("split", pa.string()),
        ("samples", pa.int64()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def info(directory: Directory, receipts: list[Receipt]) -> dict[str, Any]:
    """Return what _info.json holds: timm's `splits` and, of train, the wids shard index."""
    by_split = {split: [each for each in receipts if each.split == split] for split in SPLITS}
    return {
        "splits": {
            split: {
                "name": split,
                "filenames": [each.shard for each in found],
                "shard_lengths": [each.samples for each in found],
                "num_samples": sum(each.samples for each in found),
            }
            for split, found in by_split.items()
            if found
        },
        "num_classes": directory.spec.categories,
        "spec_hash": directory.hash,
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": directory.spec.name,
        "shardlist": [
            {"url": each.shard, "md5sum": each.md5, "nsamples": each.samples, "filesize": each.bytes}
            for each in by_split["train"]
        ],
    }


_CARD = """\
---
configs:
- config_name: default
  data_files:
{data_files}
---
# {name}

{images:,} images of {categories:,} categories, rendered from formulas: {family} at {size} x {size} px, {depth}-bit grey PNG.
The label is the category, 0..{last}. Made by `fdsl bake` (fdsl {version}) from the `spec.yaml` and the
`categories.parquet` in this directory, whose hash is `{hash}`;
every image can be made again from them, bit for bit.

| split | images | per category | shards | images a shard | bytes |
|---|---|---|---|---|---|
{rows}
{warning}
Each sample is `KEY.png` and `KEY.cls` (the label in ASCII digits) with KEY = `<category>_<instance>`.
`categories.parquet` has the parameters of each category, `samples/*.parquet` those of each image, `shards.parquet` the
SHA-256 of each shard. Check the directory with `fdsl verify`.

Stock loaders give whole shards to GPUs and workers, so GPUs x workers should divide the number of train shards and must
not exceed it: some data is silently left out otherwise.

In this directory, with `pip install webdataset pillow`, with `pip install datasets pillow`, and with timm's train.py:

```python
import webdataset
dataset = webdataset.WebDataset("{tars}", shardshuffle=False).decode("pil").to_tuple("png", "cls")
image, label = next(iter(dataset))
```

```python
import datasets
sample = datasets.load_dataset(".")["train"][0]
image, label = sample["png"].convert("RGB"), sample["cls"]
```

```sh
python train.py --dataset wds/{name} --data-dir . --num-classes {categories} --model deit_tiny_patch16_224
```

The method: Kataoka et al., "Replacing Labeled Real-image Datasets with Auto-generated Contours", CVPR 2022.
"""


def card(directory: Directory, receipts: list[Receipt]) -> str:
    """Return the dataset card, Markdown."""
    spec = directory.spec
    rows, data_files = [], []
    for split in SPLITS:
        found = [each for each in receipts if each.split == split]
        if not found:
            continue
        lengths = sorted({each.samples for each in found})
        rows.append(
            f"| {split} | {sum(each.samples for each in found):,} | {spec.n_instances(split):,} | {len(found):,} |"
            f" {' or '.join(f'{length:,}' for length in lengths)} | {sum(each.bytes for each in found):,} |"
        )
        data_files.append(f"  - split: {split}\n    path: {split}-*.tar")
    n_train = sum(each.split == "train" for each in receipts)
    warning = few_shards_warning(spec.categories, n_train)
    return _CARD.format(
        data_files="\n".join(data_files),
        name=spec.name,
        images=sum(each.samples for each in receipts),
        categories=spec.categories,
        family=spec.family,
        size=spec.size_px,
        depth=spec.rules.BIT_DEPTH,
        last=spec.categories - 1,
        version=VERSION,
        hash=directory.hash,
        rows="\n".join(rows),
        warning=f"\nWarning: {warning}.\n" if warning else "",
        tars=f"train-{{000000..{n_train - 1:06}}}.tar",
    )


def write_index(directory: Directory) -> None:
    """Write shards.parquet, the card and, last, _info.json, from the receipts of all shards; InputError if one is missing."""
    receipts = read_receipts(directory)
    if len(receipts) < len(plan_shards(directory.spec)):
        raise InputError(
            f"`{directory.path}`: a receipt has gone while the index was to be written; give the command again"
        )
    write_table(directory.path / INDEX, index_table(receipts))
    write(directory.path / CARD, card(directory, receipts).encode())
    write(directory.path / INFO, json.dumps(info(directory, receipts), indent=1).encode() + b"\n")
