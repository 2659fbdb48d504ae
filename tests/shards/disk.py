"""A baked directory whose files a test can reach as paths."""

from __future__ import annotations

from pathlib import Path

from fdsl import open_directory
from fdsl.dataset.plan import Shard, plan_shards
from shards.directory import Directory
from shards.index import write_index
from shards.layout import receipt_file, samples_file, tar_file


class OnDisk(Directory):
    """A directory in a folder."""

    def tar(self, shard: Shard) -> Path:
        """Return the path of a shard."""
        return self.path / tar_file(shard)

    def samples(self, shard: Shard) -> Path:
        """Return the path of a shard's samples table."""
        return self.path / samples_file(shard)

    def receipt(self, shard: Shard) -> Path:
        """Return the path of a shard's receipt."""
        return self.path / receipt_file(shard)


def on_disk(out: Path) -> OnDisk:
    """Return the dataset that a folder holds."""
    directory = open_directory(out)
    return OnDisk(directory.store, directory.dataset)


def index_again(directory: Directory) -> None:
    """Write the index from the receipts as they are now."""
    planned = plan_shards(directory.spec)
    write_index(directory, list(directory.receipts(planned).values()))
