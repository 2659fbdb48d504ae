"""IDX files: MNIST's format, plain and gzipped."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.runs import LITTLE, error_of, records, train
from trainer.errors import InputError
from trainer.idx import read_idx


def write_idx(path: Path, values: np.ndarray) -> Path:
    kind = {"u": b"\x08", "i": b"\x0c"}[values.dtype.kind]
    big_endian = values if values.itemsize == 1 else values.astype(">i4")
    header = b"\0\0" + kind + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wb") as file:
        file.write(header + big_endian.tobytes())
    return path


def write_idx_split(folder: Path, split: str, n: int, ending: str = "") -> None:
    folder.mkdir(exist_ok=True)
    draw = np.random.default_rng(n)
    write_idx(folder / f"{split}-images-idx3-ubyte{ending}", draw.integers(256, size=(n, 28, 28), dtype=np.uint8))
    write_idx(folder / f"{split}-labels-idx1-ubyte{ending}", (np.arange(n) % 4).astype(np.uint8))


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("kind", ["u1", "i4"])
def test_values_come_back(ending: str, kind: str, tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4, dtype=kind).reshape(2, 3, 4)
    assert np.array_equal(read_idx(write_idx(tmp_path / f"x{ending}", values), 3), values)


def test_training_on_idx_files(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    write_idx_split(data, "train", 24)
    write_idx_split(data, "t10k", 6, ".gz")
    assert train("--data", data, "--val-split", "t10k", "--out", out, *LITTLE, "--epochs", 1) == 0
    (scores,) = records(out, "validation")
    assert round(scores["top1"] * 6 / 100, 6).is_integer()


CUT = {
    "begins otherwise": lambda content: b"\0\0\x09" + content[3:],
    "has other dimensions": lambda content: content[:3] + b"\1" + content[4:],
    "ends early": lambda content: content[:-1],
    "goes on": lambda content: content + b"\0",
    "claims too much": lambda content: content[:4] + b"\xff" * 12 + content[16:],
    "ends in its header": lambda content: content[:9],
    "is empty": lambda content: b"",
}


@pytest.mark.parametrize("harm", CUT)
def test_damaged_file_is_one_line(harm: str, tmp_path: Path) -> None:
    path = write_idx(tmp_path / "x", np.zeros((2, 3, 4), dtype=np.uint8))
    path.write_bytes(CUT[harm](path.read_bytes()))
    with pytest.raises(InputError, match=r"^`.*/x` is not an IDX file that can be read: it"):
        read_idx(path, 3)


def test_damaged_gzip_is_one_line(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "x.gz", np.zeros((2, 3, 4), dtype=np.uint8))
    for content in (path.read_bytes()[:-9], b"no gzip", path.read_bytes()[:10] + b"\xff" * 9):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not an IDX file"):
            read_idx(path, 3)


def test_images_and_labels_must_fit(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_idx_split(data, "train", 8)
    arguments = ["--data", data, "--val-split", "train", "--out", tmp_path / "run", *LITTLE]
    write_idx(data / "train-labels-idx1-ubyte", np.zeros(7, dtype=np.uint8))
    assert error_of(*arguments).endswith("has 7 labels for 8 images; give each one")
    write_idx(data / "train-labels-idx1-ubyte", np.full(8, -1, dtype=np.int32))
    assert error_of(*arguments).endswith("train-labels-idx1-ubyte` has labels -1..-1; they must be in 0..1,000,000")
    write_idx(data / "train-images-idx3-ubyte", np.zeros((8, 2, 2), dtype=np.int32))
    assert error_of(*arguments).endswith("train-images-idx3-ubyte` must have pixels of one byte")
    (data / "train-labels-idx1-ubyte").unlink()
    assert "train-labels-idx1-ubyte.gz` is not an IDX file that can be read: " in error_of(*arguments)
