"""The dataset card, README.md of a baked directory."""

from __future__ import annotations

from typing import Any

import yaml

from fdsl.dataset.spec import SPLITS, Spec
from fdsl.version import VERSION
from shards.directory import Directory
from shards.receipts import Receipt

FEW_SHARDS, MANY_CATEGORIES = 64, 1000
_MAX_NAMES = 50_000
MAX_SHARDS = 130_000
"""Number of shards whose _info.json is surely within the 16 MiB that the trainer reads."""


def few_shards_warning(n_categories: int, n_train_shards: int) -> str | None:
    """Return a warning if stock loaders need more shards."""
    if n_categories < MANY_CATEGORIES or n_train_shards >= FEW_SHARDS:
        return None
    return (
        f"only {n_train_shards} train shards: stock loaders silently drop data when there are fewer shards than"
        f" GPUs x loader workers; lower `shards.samples` until there are {FEW_SHARDS} or more"
    )


def many_shards_warning(n_shards: int) -> str | None:
    """Return a warning if the trainer needs fewer shards."""
    if n_shards <= MAX_SHARDS:
        return None
    return f"{n_shards:,} shards: the trainer reads {MAX_SHARDS:,} at most; raise `shards.samples`"


_CARD = """\
---
{front_matter}---
# {name}

{n_images:,} images of {n_categories:,} categories of {title}, rendered from formulas.
They are {size} x {size} px, {depth}-bit grey PNG. The label is the category, 0..{last}.
`fdsl bake` (fdsl {version}) made them from `spec.yaml` and `categories.parquet` in this directory.
These two files decide every pixel. The hash of the dataset is `{hash}`.
The licence of the images is {license}.

| split | images | per category | shards | images per shard | bytes |
|---|---|---|---|---|---|
{rows}
{warning}
Each sample is `KEY.png` and `KEY.cls` (the label in ASCII digits) with KEY = `<category>_<instance>`.
`categories.parquet` holds the parameters of each category, `samples/*.parquet` those of each image, `shards.parquet` the
SHA-256 of each shard. Check the directory with `fdsl verify`.

Stock loaders assign whole shards to GPUs and workers and silently drop the rest. GPUs x workers should divide the number of
train shards and must not exceed it.

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

To the Hugging Face Hub, whose `load_dataset("USER/{name}")` then does the same, with `pip install huggingface_hub`:

```sh
hf upload USER/{name} . . --repo-type dataset --exclude .bake.lock
```

```sh
python train.py --dataset wds/{name} --data-dir . --num-classes {n_categories} --model deit_tiny_patch16_224
```

Source: {citation}
"""


def card(directory: Directory, receipts: list[Receipt]) -> str:
    """Return the dataset card, Markdown."""
    spec, family = directory.spec, directory.spec.family_module
    n_train = sum(receipt.split == "train" for receipt in receipts)
    warning = few_shards_warning(spec.categories, n_train)
    splits = [split for split in SPLITS if spec.n_instances(split)]
    return _CARD.format(
        front_matter=yaml.safe_dump(_metadata(spec, splits), sort_keys=False),
        license=spec.license,
        name=spec.name,
        n_images=sum(receipt.samples for receipt in receipts),
        n_categories=spec.categories,
        title=family.TITLE,
        citation=family.CITATION,
        size=spec.size_px,
        depth=family.BIT_DEPTH,
        last=spec.categories - 1,
        version=VERSION,
        hash=directory.dataset.hash,
        rows="\n".join(_row(split, spec.n_instances(split), receipts) for split in splits),
        warning=f"\nWarning: {warning}.\n" if warning else "",
        tars=f"train-{{000000..{n_train - 1:06}}}.tar",
    )


def _metadata(spec: Spec, splits: list[str]) -> dict[str, Any]:
    """Return what the Hub and `load_dataset` read.

    Licence, tags, types of the columns, files of the splits.
    """
    columns = {
        "png": {"image": {"mode": "L"}},
        "cls": _label_type(spec.categories),
        "__key__": "string",
        "__url__": "string",
    }
    return {
        "license": spec.license.lower(),
        "pretty_name": spec.name,
        "task_categories": ["image-classification"],
        "tags": ["formula-driven-supervised-learning", "synthetic", "webdataset", spec.family],
        "dataset_info": {"features": [{"name": name, "dtype": kind} for name, kind in columns.items()]},
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"{split}-*.tar"} for split in splits],
            }
        ],
    }


def _label_type(n_categories: int) -> str | dict[str, Any]:
    """Return the type of the label column.

    Named classes, unless their names would fill megabytes.
    """
    if n_categories > _MAX_NAMES:
        return "int64"
    return {"class_label": {"names": {str(category): str(category) for category in range(n_categories)}}}


def _row(split: str, n_instances: int, receipts: list[Receipt]) -> str:
    """Return the table row of a split."""
    of_split = [receipt for receipt in receipts if receipt.split == split]
    lengths = " or ".join(f"{length:,}" for length in sorted({receipt.samples for receipt in of_split}))
    n_images, n_bytes = (sum(getattr(receipt, name) for receipt in of_split) for name in ("samples", "bytes"))
    return f"| {split} | {n_images:,} | {n_instances:,} | {len(of_split):,} | {lengths} | {n_bytes:,} |"
