"""Names of the files in a baked directory."""

from __future__ import annotations

from fdsl.dataset.plan import Shard

SPEC = "spec.yaml"
"""The resolved spec, the dataset's hash, and the versions that began the bake. Written first."""

CATEGORIES = "categories.parquet"
"""The categories table."""

SAMPLES, RECEIPTS = "samples", "receipts"
"""Folders: one table of image parameters and one receipt per shard."""

INDEX, CARD, INFO = "shards.parquet", "README.md", "_info.json"
"""Written when all shards are done, in this order."""

SUMS = "SHA256SUMS"
"""Hashes of all files, for the receiver of a shipped dataset: `sha256sum --check SHA256SUMS`."""

SHIPPED = "shipped.txt"
"""Names the place that has the files of shards which `fdsl ship --remove-local` removed here."""

LOCK = ".bake.lock"
"""Byte k is locked by the process that bakes shard k of the plan."""

FAILED = ".failed"
"""Ending of a text beside the receipts: on which machine a shard failed, and why."""


def tar_file(shard: Shard) -> str:
    """Return the name of a shard's tar."""
    return f"{shard.name}.tar"


def samples_file(shard: Shard) -> str:
    """Return the name of a shard's samples table."""
    return f"{SAMPLES}/{shard.name}.parquet"


def receipt_file(shard: Shard) -> str:
    """Return the name of a shard's receipt."""
    return f"{RECEIPTS}/{shard.name}.json"


def failure_file(shard: Shard) -> str:
    """Return the name of the file that says why a shard failed."""
    return f"{RECEIPTS}/{shard.name}{FAILED}"


def shard_files(shard: Shard) -> tuple[str, str, str]:
    """Return the names of a shard's tar, samples table and receipt."""
    return tar_file(shard), samples_file(shard), receipt_file(shard)
