"""Names of the files in a baked directory."""

from __future__ import annotations

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

LOCK = ".bake.lock"
"""Byte k is locked by the process that bakes shard k of the plan."""
