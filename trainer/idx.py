"""IDX files, the format of MNIST.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", section "FILE FORMATS".
"""

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import InputError, one_line

KINDS: dict[bytes, np.dtype[Any]] = {b"\0\0\x08": np.dtype("u1"), b"\0\0\x0c": np.dtype(">i4")}
LARGEST_IDX = 4 << 30  # bytes of pixels, which stay in memory


def idx_file(folder: Path, split: str, content: str) -> Path | None:
    """Return the path of a split's images or labels, if there is one."""
    names = (f"{split}-{content}-ubyte", f"{split}-{content}-ubyte.gz")
    return next((folder / name for name in names if (folder / name).is_file()), None)


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
    except (OSError, EOFError, ValueError) as error:  # gzip raises all three
        raise InputError(f"`{path}` is not an IDX file that can be read: {one_line(error)}") from None
    return np.frombuffer(content, dtype=kind).reshape(shape)
