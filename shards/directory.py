"""A dataset on disk."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fdsl.dataset.categories import read_table
from fdsl.dataset.dataset import Dataset
from fdsl.dataset.plan import Shard, plan_shards
from fdsl.dataset.spec import FORMAT, Spec
from fdsl.primitives.errors import InputError
from fdsl.primitives.validation import shown
from shards.files import sweep
from shards.layout import CARD, CATEGORIES, INDEX, INFO, RECEIPTS, SAMPLES, SPEC
from shards.manifest import Manifest, read_manifest
from shards.receipts import Receipt, read_receipt


@dataclass(frozen=True, eq=False)
class Directory:
    """A dataset on disk.

    It is pickled as its path and hash: each worker process opens it once.

    Attributes
    ----------
    path : absolute; a worker keeps the working directory it was started in
    dataset : Dataset
    """

    path: Path
    dataset: Dataset

    def __reduce__(self) -> tuple[Callable[[Path, str], Directory], tuple[Path, str]]:
        return _reopen, (self.path, self.dataset.hash)

    @property
    def spec(self) -> Spec:
        """The dataset's spec."""
        return self.dataset.spec

    def tar(self, shard: Shard) -> Path:
        """Return the path of a shard."""
        return self.path / f"{shard.name}.tar"

    def samples(self, shard: Shard) -> Path:
        """Return the path of a shard's samples table."""
        return self.path / SAMPLES / f"{shard.name}.parquet"

    def receipt(self, shard: Shard) -> Path:
        """Return the path of a shard's receipt."""
        return self.path / RECEIPTS / f"{shard.name}.json"

    def files(self, shard: Shard) -> tuple[Path, Path, Path]:
        """Return the paths of a shard, its samples table and its receipt."""
        return self.tar(shard), self.samples(shard), self.receipt(shard)

    def read_receipt(self, shard: Shard) -> Receipt | None:
        """Return a shard's receipt, or None if it has none.

        Raises
        ------
        InputError
            The file is not a receipt, or that of another shard or dataset.
        """
        path = self.receipt(shard)
        receipt = read_receipt(path)
        if receipt is None:
            return None
        expected = (self.tar(shard).name, shard.split, shard.n_samples)
        if (receipt.shard, receipt.split, receipt.samples) != expected:
            raise InputError(
                f"`{path}` names {receipt.shard}, {receipt.split}, {receipt.samples:,} samples,"
                f" not {expected[0]}, {shard.split}, {shard.n_samples:,} samples"
            )
        if receipt.spec != self.dataset.hash:
            raise InputError(f"`{path}` belongs to another dataset: `spec` is {receipt.spec}, not {self.dataset.hash}")
        return receipt

    def is_done(self, shard: Shard) -> bool:
        """Return whether a shard has a receipt and all its bytes."""
        try:
            receipt = self.read_receipt(shard)
            n_bytes = self.tar(shard).stat().st_size
            return receipt is not None and self.samples(shard).exists() and n_bytes == receipt.bytes
        except (InputError, OSError):
            return False

    def sweep(self, shards: Sequence[Shard]) -> None:
        """Delete unfinished files of some shards.

        With all shards of the plan, also those of spec, table and index.

        Parameters
        ----------
        shards : shards that this process has locked
        """
        files = [path for shard in shards for path in self.files(shard)]
        if len(shards) == len(plan_shards(self.spec)):
            files += [self.path / name for name in (SPEC, CATEGORIES, INDEX, CARD, INFO)]
        names = {path.name for path in files}
        for folder in (self.path, self.path / SAMPLES, self.path / RECEIPTS):
            sweep(folder, names)


def directory_path(out: object) -> Path:
    """Return the path that the argument `out` names.

    Raises InputError if it is empty, which is the working directory to `Path`, or not a path.
    """
    if not isinstance(out, str | os.PathLike) or not str(out):
        raise InputError(f"`out` (={shown(out)}) must be the path of a directory; `.` is the working directory")
    return Path(out)


def open_directory(out: Path | str) -> Directory:
    """Return the dataset that a directory holds.

    Raises
    ------
    InputError
        It is not a baked directory, or its spec.yaml or categories table was edited.
    """
    path = directory_path(out)
    return stored_directory(path, read_manifest(path))


@lru_cache(maxsize=1)
def _reopen(path: Path, dataset_hash: str) -> Directory:
    """Open a directory once per process.

    Raises InputError if it holds another dataset now.
    """
    directory = open_directory(path)
    if directory.dataset.hash != dataset_hash:
        raise InputError(f"`{path}` now holds another dataset: it was replaced while in use")
    return directory


def stored_directory(path: Path, manifest: Manifest) -> Directory:
    """Return a directory with its own categories table.

    Raises InputError if the table is lost or was edited.
    """
    source = path / CATEGORIES
    advice = f"`fdsl repair {shlex.quote(str(path))}` restores it; add --categories-from if the bake used it"
    if not source.exists():
        raise InputError(f"`{source}` is missing; {advice}")
    try:
        older_hash = None if manifest.format == FORMAT else manifest.hash
        dataset = Dataset(manifest.spec, read_table(source, manifest.spec.categories), str(source), older_hash)
    except InputError as error:
        raise InputError(f"{error}; {advice}") from None
    if dataset.categories_sha256 != manifest.categories_sha256:
        raise InputError(f"`{source}` was edited: its hash is not the one in {SPEC}; {advice}")
    return Directory(path.absolute(), dataset)
