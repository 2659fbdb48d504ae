"""Our side of a comparison: one shard, baked again and again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq

from fdsl import LocalExecutor, bake, parse_spec
from fdsl.dataset.plan import Shard, plan_shards
from shards.baking import bake_shard
from shards.directory import Directory
from shards.layout import receipt_file, samples_file, tar_file

Row = dict[str, Any]


@dataclass(frozen=True)
class Ours:
    """A shard that holds all images of a small dataset.

    Attributes
    ----------
    directory : Directory
    shard : Shard
    rows : of its samples table: key, category, instance and variant
    categories : rows of its categories table
    """

    directory: Directory
    shard: Shard
    rows: list[Row]
    categories: list[Row]

    @property
    def tar(self) -> Path:
        """Path of its tar."""
        return self.directory.path / tar_file(self.shard)

    @property
    def samples(self) -> Path:
        """Path of its samples table."""
        return self.directory.path / samples_file(self.shard)

    def bake(self) -> None:
        """Bake the shard: tar, samples table, receipt."""
        self.directory.store.delete(receipt_file(self.shard))  # a shard that is done is not baked again
        bake_shard(self.directory, self.shard)

    def rows_of(self, instance: int) -> list[Row]:
        """Return the rows of one image of each category."""
        return [row for row in self.rows if row["instance"] == instance]

    def variant(self, row: Row) -> SimpleNamespace:
        """Return the variant of a row; attributes as in the family's Variant."""
        return SimpleNamespace(**{name: row[name] for name in self.directory.spec.family_module.VARIANT_SCHEMA.names})


def prepare_ours(family: str, n_categories: int, n_instances: int, folder: Path) -> Ours:
    """Return a family's shard at the published size, baked once."""
    spec = parse_spec(
        {
            "name": f"bench-{family}",
            "family": family,
            "categories": n_categories,
            "instances": {"train": n_instances},
            "shards": {"samples": n_categories * n_instances},
        }
    )
    directory = bake(spec, folder / family, executor=LocalExecutor(1)).directory
    (shard,) = plan_shards(spec)
    rows = pq.read_table(directory.path / samples_file(shard)).to_pylist()
    return Ours(directory, shard, rows, directory.dataset.table.to_pylist())
