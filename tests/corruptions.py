"""Harms shards in every way that comes to mind, many times, and counts how often `verify` says so.

    python -m tests.corruptions [TIMES]

prints a line for each kind of harm: how often it was tried, and found. The tests run the same with fewer tries.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shards import bake
from shards.content import verify_shard
from shards.directory import Directory, open_directory
from shards.png import encode
from tests.shards.conftest import FAMILIES, shards_of, small_spec
from tests.shards.harm import damage, edit_json, members, pack, reseal

SHARD = "train-000003"
TIMES = 40

EVIL = ("../../evil.png", "/tmp/evil.png", "..\\evil.png", "a/../../evil.png", "~/evil.png", "con.png", "")
"""Names that a reader which believes them would write, or read, elsewhere."""


def _tar(directory: Directory) -> Path:
    return directory.path / f"{SHARD}.tar"


def flip_a_bit(directory: Directory, rng: random.Random) -> None:
    path = rng.choice([_tar(directory), directory.path / "samples" / f"{SHARD}.parquet"])
    damage(path, rng.randrange(path.stat().st_size), 1 << rng.randrange(8))


def truncate(directory: Directory, rng: random.Random) -> None:
    path = rng.choice([_tar(directory), directory.path / "samples" / f"{SHARD}.parquet"])
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def prolong(directory: Directory, rng: random.Random) -> None:
    with _tar(directory).open("ab") as file:
        file.write(rng.randbytes(rng.randrange(1, 2000)))


def overwrite(directory: Directory, rng: random.Random) -> None:
    content = bytearray(_tar(directory).read_bytes())
    n, at = rng.randrange(4, 600), rng.randrange(len(content) - 600)
    content[at : at + n] = bytes(255 - byte for byte in content[at : at + n])
    _tar(directory).write_bytes(content)


def edit_a_receipt(directory: Directory, rng: random.Random) -> None:
    path = directory.path / "receipts" / f"{SHARD}.json"
    wrong: dict[str, Any] = {
        "shard": "train-000004.tar", "split": "validation", "samples": 5, "bytes": rng.randrange(10**6),
        "sha256": rng.randbytes(32).hex(), "md5": rng.randbytes(16).hex(), "samples_sha256": rng.randbytes(32).hex(),
        "spec": rng.randbytes(32).hex(),
    }  # fmt: skip
    field = rng.choice(sorted(wrong))
    edit_json(path, **{field: wrong[field]})


def replace_by_a_fifo(directory: Directory, rng: random.Random) -> None:
    path = rng.choice([_tar(directory), directory.path / "samples" / f"{SHARD}.parquet"])
    path.unlink()
    os.mkfifo(path)


def blow_up(directory: Directory, rng: random.Random) -> None:
    path = rng.choice([_tar(directory), directory.path / "samples" / f"{SHARD}.parquet"])
    os.truncate(path, rng.randrange(2**35, 2**40))


def add_a_space_to_a_receipt(directory: Directory, rng: random.Random) -> None:
    path = directory.path / "receipts" / f"{SHARD}.json"
    content = path.read_text()
    at = rng.choice([k for k, character in enumerate(content) if character in ",{}:"])
    path.write_text(f"{content[:at]} {content[at:]}")


def harm_a_table(directory: Directory, rng: random.Random) -> None:
    path = directory.path / "samples" / f"{SHARD}.parquet"
    table = pq.read_table(path)
    k = rng.randrange(table.num_columns)
    name, column = table.column_names[k], table.column(k)
    table = rng.choice([
        table.append_column(name, column),
        table.remove_column(k),
        table.rename_columns([f"{each}x" if each == name else each for each in table.column_names]),
        table.slice(1),
        table.set_column(1, "category", pa.array([-1] * len(table), pa.int32())),
        table.set_column(0, "key", pa.array(["x"] * len(table))),
    ])  # fmt: skip
    pq.write_table(table, path)
    reseal(directory, shards_of(directory)[SHARD])


def build_a_strange_tar(directory: Directory, rng: random.Random) -> None:
    """Headers that a tar reader nests, or that promise gigabytes."""
    kind = rng.choice([tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE, tarfile.SYMTYPE, b"Z"])
    header = tarfile.TarInfo(members(_tar(directory))[0][0])
    header.type, header.size = kind, 512
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT)[:512])
    if kind == tarfile.GNUTYPE_SPARSE:
        block[386:410], block[483:495] = b"%011o\0%011o\0" % (2**32, 512), b"%011o\0" % 2**33
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    _tar(directory).write_bytes((bytes(block) + bytes(512)) * rng.choice([1, 1500]) + bytes(1024))
    reseal(directory, shards_of(directory)[SHARD])


def _repack(
    change: Callable[[list[tuple[str, bytes]], random.Random], None],
) -> Callable[[Directory, random.Random], None]:
    """Return a harm that changes a tar's members and makes the receipt fit, so that only the content can tell."""

    def harm(directory: Directory, rng: random.Random) -> None:
        files = members(_tar(directory))
        change(files, rng)
        pack(_tar(directory), files)
        reseal(directory, shards_of(directory)[SHARD])

    harm.__name__ = change.__name__
    return harm


@_repack
def exchange_two_members(files: list[tuple[str, bytes]], rng: random.Random) -> None:
    one, other = rng.sample(range(len(files)), 2)
    files[one], files[other] = files[other], files[one]


@_repack
def write_a_wrong_label(files: list[tuple[str, bytes]], rng: random.Random) -> None:
    k = rng.randrange(1, len(files), 2)
    name, label = files[k]
    wrong = [b"", b"-1", b"5", b"0x1", b"1.0", label + b"\n", b"0" + label, b" " + label, b"\xff"]
    files[k] = name, rng.choice([*wrong, *(b"%d" % c for c in range(5) if b"%d" % c != label)])


@_repack
def rename_a_member(files: list[tuple[str, bytes]], rng: random.Random) -> None:
    k = rng.randrange(len(files))
    files[k] = rng.choice([*EVIL, "000000_000099.png", files[k][0].upper(), files[k - 1][0]]), files[k][1]


@_repack
def drop_a_member(files: list[tuple[str, bytes]], rng: random.Random) -> None:
    del files[rng.randrange(len(files))]


@_repack
def add_a_member(files: list[tuple[str, bytes]], rng: random.Random) -> None:
    files.insert(rng.randrange(len(files) + 1), (rng.choice([*EVIL, "x.png", files[0][0]]), rng.randbytes(20)))


@_repack
def flip_a_bit_of_a_png(files: list[tuple[str, bytes]], rng: random.Random) -> None:
    k = rng.randrange(0, len(files), 2)
    content = bytearray(files[k][1])
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    files[k] = files[k][0], bytes(content)


@_repack
def truncate_a_png(files: list[tuple[str, bytes]], rng: random.Random) -> None:
    k = rng.randrange(0, len(files), 2)
    files[k] = files[k][0], files[k][1][: rng.randrange(len(files[k][1]))]


@_repack
def change_a_pixel(files: list[tuple[str, bytes]], rng: random.Random) -> None:
    k = rng.randrange(0, len(files), 2)
    image = cv2.imdecode(np.frombuffer(files[k][1], dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    row, column = rng.randrange(64), rng.randrange(64)
    image[row, column] = 255 - image[row, column]
    files[k] = files[k][0], encode(image.astype(np.uint8), 1 if set(np.unique(image)) <= {0, 255} else 8)


@_repack
def exchange_two_images(files: list[tuple[str, bytes]], rng: random.Random) -> None:
    one, other = rng.sample(range(0, len(files), 2), 2)
    files[one], files[other] = (files[one][0], files[other][1]), (files[other][0], files[one][1])


BY_HASH = (
    flip_a_bit, truncate, prolong, overwrite, edit_a_receipt, add_a_space_to_a_receipt, replace_by_a_fifo, blow_up,
)  # fmt: skip
BY_CONTENT = (
    exchange_two_members, write_a_wrong_label, rename_a_member, drop_a_member, add_a_member, flip_a_bit_of_a_png,
    truncate_a_png, harm_a_table, build_a_strange_tar,
)  # fmt: skip
BY_RENDERING = (change_a_pixel, exchange_two_images)
HARMS = {
    **dict.fromkeys(BY_HASH, "its receipt"),
    **dict.fromkeys(BY_CONTENT, "content, its receipt made to fit"),
    **dict.fromkeys(BY_RENDERING, "rendering again, its receipt made to fit"),
}
"""Each harm, and what finds it."""


def what_is_found(out: Path, harm: Callable[[Directory, random.Random], None], seed: int) -> list[str]:
    """Harm a copy of a baked dataset, as the seed says; return what `verify` finds."""
    shard = shards_of(open_directory(out))[SHARD]
    rerender = range(shard.samples) if harm in BY_RENDERING else ()
    with tempfile.TemporaryDirectory() as folder:
        copy = open_directory(Path(shutil.copytree(out, Path(folder, "a", "b", "c"))))
        harm(copy, random.Random(seed))
        before = sorted(Path(folder).rglob("*"))
        problems = verify_shard(copy, shard, rerender).problems
        assert sorted(Path(folder).rglob("*")) == before, "verifying wrote something"
        return problems


def count(out: Path, harm: Callable[[Directory, random.Random], None], times: int) -> tuple[int, int, list[str]]:
    """Harm copies of a baked dataset; return how often, how often `verify` found it, and what it said."""
    said = [what_is_found(out, harm, seed) for seed in range(times)]
    return times, sum(map(bool, said)), [problem for problems in said for problem in problems]


def main() -> int:
    """Print the table; return 1 if a harm was not found."""
    times, n_tried, n_found = int((sys.argv[1:] or [TIMES])[0]), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for family in FAMILIES:
            bake(small_spec(family), Path(folder, family), workers=1)
        for harm, how in HARMS.items():
            counts = [count(Path(folder, family), harm, times) for family in FAMILIES]
            tried, found = sum(each[0] for each in counts), sum(each[1] for each in counts)
            print(f"{harm.__name__.replace('_', ' '):24}{tried:6} tried{found:6} found   by {how}")
            n_tried, n_found = n_tried + tried, n_found + found
    print(f"{'in all':24}{n_tried:6} tried{n_found:6} found")
    return int(n_found < n_tried)


if __name__ == "__main__":
    sys.exit(main())
