"""What the tests do to a baked directory, and how they see what is found."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

from shards import verify
from shards.directory import Directory
from shards.index import write_index
from shards.plan import Shard
from shards.tar import TarWriter

Members = list[tuple[str, bytes]]


def problems(directory: Directory) -> tuple[str, ...]:
    return verify(directory.path, workers=1).problems


def the_problem(directory: Directory) -> str:
    """The one thing that is wrong, told in one line."""
    found = problems(directory)
    assert len(found) == 1, found
    assert len(found[0].splitlines()) == 1
    return found[0]


def damage(path: Path, at: int, bits: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= bits
    path.write_bytes(content)


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def reseal(directory: Directory, shard: Shard) -> None:
    """Make a shard's receipt, and the index, say what the shard's files now are: only their content can betray them."""
    tar, samples = directory.tar(shard).read_bytes(), directory.samples(shard).read_bytes()
    receipt = directory.read_receipt(shard)
    assert receipt is not None
    sealed = dataclasses.replace(
        receipt,
        bytes=len(tar),
        sha256=hashlib.sha256(tar).hexdigest(),
        md5=hashlib.md5(tar).hexdigest(),
        samples_sha256=hashlib.sha256(samples).hexdigest(),
    )
    directory.receipt(shard).write_text(sealed.to_json())
    write_index(directory)


def members(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def pack(path: Path, files: Members) -> None:
    with path.open("wb") as file:
        tar = TarWriter(file)
        for name, payload in files:
            tar.add(name, payload)
        tar.close()
