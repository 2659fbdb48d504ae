"""IDX files, the format of MNIST.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", section "FILE FORMATS".
"""

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import InputError, one_line

KINDS: dict[bytes, np.dtype[Any]] = {b"\0\0\x08": np.dtype("u1"), b"\0\0\x0c": np.dtype(">i4")}
LARGEST_LABEL = 10**6
LARGEST_IDX = 4 << 30  # bytes of pixels, which stay in memory


def is_idx(split: Path) -> bool:
    """Return whether a split is a pair of IDX files."""
    return _file(split, "images-idx3").exists()


def _file(split: Path, content: str) -> Path:
    """Return the path of a split's images or labels, gzipped or not."""
    plain = split.with_name(f"{split.name}-{content}-ubyte")
    return plain if plain.exists() else plain.with_name(f"{plain.name}.gz")


def read_idx(path: Path, n_dimensions: int) -> np.ndarray:
    """Read an IDX file of uint8 or int32, plain or gzipped."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            kind = KINDS.get(file.read(3))
            if kind is None or file.read(1) != bytes([n_dimensions]):
                raise ValueError(f"it does not begin as one of uint8 or int32 with {n_dimensions} dimensions")
            shape = [int.from_bytes(file.read(4)) for _ in range(n_dimensions)]
            n_bytes = math.prod(shape) * kind.itemsize
            if not 0 < n_bytes <= LARGEST_IDX:
                raise ValueError(f"its shape {shape} must be of 1..{LARGEST_IDX:,} bytes")
            if len(content := file.read(n_bytes + 1)) != n_bytes:
                raise ValueError(f"its shape {shape} does not fit its length")
    except (OSError, EOFError, ValueError, zlib.error) as error:  # gzip raises all four
        raise InputError(f"`{path}` is not an IDX file that can be read: {one_line(error)}") from None
    return np.frombuffer(content, dtype=kind).reshape(shape)


class Idx:
    """Images and labels of a split, such as `data/mnist/train`."""

    def __init__(self, split: Path) -> None:
        file = _file(split, "labels-idx1")
        self.images, self.labels = read_idx(_file(split, "images-idx3"), 3), read_idx(file, 1)
        if self.images.dtype != np.uint8:
            raise InputError(f"`{_file(split, 'images-idx3')}` must have pixels of one byte")
        low, high = int(self.labels.min()), int(self.labels.max())
        if len(self.images) != len(self.labels):
            raise InputError(f"`{file}` has {len(self.labels):,} labels for {len(self.images):,} images; give each one")
        if not 0 <= low <= high <= LARGEST_LABEL:
            raise InputError(f"`{file}` has labels {low}..{high}; they must be in 0..{LARGEST_LABEL:,}")
        self.n_classes = high + 1
        digest = hashlib.sha256(self.images.data)
        digest.update(self.labels.data)
        self.hash = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return self.images[i], int(self.labels[i])
