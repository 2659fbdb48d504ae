"""Damage to a baked directory, and what `verify` finds."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from click.testing import CliRunner, Result

from cli import fdsl
from fdsl import Problem, verify
from fdsl.dataset.plan import Shard
from shards.png import encode
from shards.tar import TarWriter
from tests.shards.conftest import SERIAL
from tests.shards.disk import OnDisk, index_again

Members = list[tuple[str, bytes]]
Change = Callable[[Members], Members]


def problems(directory: OnDisk, **options: Any) -> tuple[Problem, ...]:
    """Return what `verify` finds in a directory. Each problem is one printable line."""
    result = verify(directory.path, executor=SERIAL, **options).problems
    assert all(len(str(problem).splitlines()) == 1 for problem in result), result
    return result


def the_problem(directory: OnDisk, **options: Any) -> Problem:
    """Return the only problem of a directory."""
    (problem,) = problems(directory, **options)
    return problem


def damage(path: Path, at: int, bits: int = 1) -> None:
    """Flip some bits of one byte."""
    content = bytearray(path.read_bytes())
    content[at] ^= bits
    path.write_bytes(content)


def replace_with_fifo(path: Path) -> None:
    """Put a FIFO in place of a file. Use the fixture `time_limit`: opening it blocks."""
    path.unlink()
    os.mkfifo(path)


def edit_json(path: Path, **changes: Any) -> None:
    """Change some keys of a JSON file, in the layout of a receipt."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=1) + "\n")


def reseal(directory: OnDisk, shard: Shard) -> None:
    """Make a shard's receipt fit its files, so that only their content is wrong."""
    tar, samples = directory.tar(shard).read_bytes(), directory.samples(shard).read_bytes()
    receipt = directory.read_receipt(shard)
    assert receipt is not None
    sealed = receipt.model_copy(
        update={
            "bytes": len(tar),
            "sha256": hashlib.sha256(tar).hexdigest(),
            "samples_sha256": hashlib.sha256(samples).hexdigest(),
        }
    )
    directory.receipt(shard).write_text(sealed.to_json())


def reseal_all(directory: OnDisk, shard: Shard) -> None:
    """Make a shard's receipt and the index fit its files."""
    reseal(directory, shard)
    index_again(directory)


def members(path: Path) -> Members:
    """Return the name and payload of each file in a tar, in order."""
    with tarfile.open(path) as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def pack(path: Path, files: Members) -> None:
    """Write a tar."""
    with path.open("wb") as file:
        tar = TarWriter(file)
        for name, payload in files:
            tar.add(name, payload)
        tar.close()


def repack(directory: OnDisk, shard: Shard, change: Change) -> None:
    """Change the members of a shard's tar, and make its receipt and the index fit."""
    pack(directory.tar(shard), change(members(directory.tar(shard))))
    reseal_all(directory, shard)


def replace_image(directory: OnDisk, shard: Shard, k: int, change: Callable[[Any], Any]) -> str:
    """Change an image of a shard, make its receipt and the index fit, and return the image's key."""
    files = members(directory.tar(shard))
    name, payload = files[2 * k]
    image = cv2.imdecode(np.frombuffer(payload, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    changed = encode(change(image.astype(np.uint8)), directory.spec.family_module.BIT_DEPTH)
    repack(directory, shard, lambda files: [*files[: 2 * k], (name, changed), *files[2 * k + 1 :]])
    return name.removesuffix(".png")


def invoke(*arguments: str | Path) -> Result:
    """Run the command in this process. An error is in `exception`."""
    return CliRunner().invoke(fdsl, [str(argument) for argument in arguments], standalone_mode=False)
