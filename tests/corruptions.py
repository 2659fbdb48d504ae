"""Damages shards in many ways, many times, and counts how often `verify` finds it.

    python -m tests.corruptions [TIMES]

prints a line per kind of damage. The tests do the same.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import struct
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fdsl import Problem, bake
from fdsl.dataset.families import FAMILIES
from fdsl.dataset.plan import Shard
from shards.checking import check_shard
from shards.png import encode
from shards.stores.folder import Folder
from tests.shards.conftest import SERIAL, shards_of, small_spec
from tests.shards.disk import OnDisk, on_disk
from tests.shards.harm import Members, damage, edit_json, members, pack, replace_with_fifo, reseal

SHARD = "train-000003"
TIMES = 40

EVIL_NAMES = ("../../evil.png", "/tmp/evil.png", "..\\evil.png", "a/../../evil.png", "~/evil.png", "con.png", "")
"""Names that make a careless reader write elsewhere."""


class Target(NamedTuple):
    """A copy of a shard to damage.

    Attributes
    ----------
    directory : it holds the files of this shard only
    shard : Shard
    """

    directory: OnDisk
    shard: Shard

    @property
    def tar(self) -> Path:
        return self.directory.tar(self.shard)

    @property
    def table(self) -> Path:
        return self.directory.samples(self.shard)

    @property
    def receipt(self) -> Path:
        return self.directory.receipt(self.shard)


Harm = Callable[[Target, random.Random], None]


def flip_bit(target: Target, rng: random.Random) -> None:
    path = rng.choice([target.tar, target.table])
    damage(path, rng.randrange(path.stat().st_size), 1 << rng.randrange(8))


def truncate(target: Target, rng: random.Random) -> None:
    path = rng.choice([target.tar, target.table])
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def extend(target: Target, rng: random.Random) -> None:
    with target.tar.open("ab") as file:
        file.write(rng.randbytes(rng.randrange(1, 2000)))


def overwrite(target: Target, rng: random.Random) -> None:
    content = bytearray(target.tar.read_bytes())
    n, at = rng.randrange(4, 600), rng.randrange(len(content) - 600)
    content[at : at + n] = bytes(255 - byte for byte in content[at : at + n])
    target.tar.write_bytes(content)


def edit_receipt(target: Target, rng: random.Random) -> None:
    wrong: dict[str, Any] = {
        "shard": "train-000004.tar", "split": "validation", "samples": 5, "bytes": rng.randrange(10**6),
        "sha256": rng.randbytes(32).hex(), "samples_sha256": rng.randbytes(32).hex(), "spec": rng.randbytes(32).hex(),
    }  # fmt: skip
    key = rng.choice(sorted(wrong))
    edit_json(target.receipt, **{key: wrong[key]})


def add_space_to_receipt(target: Target, rng: random.Random) -> None:
    content = target.receipt.read_text()
    at = rng.choice([k for k, character in enumerate(content) if character in ",{}:"])
    target.receipt.write_text(f"{content[:at]} {content[at:]}")


def replace_file_with_fifo(target: Target, rng: random.Random) -> None:
    replace_with_fifo(rng.choice([target.tar, target.table]))


def make_huge(target: Target, rng: random.Random) -> None:
    path = rng.choice([target.tar, target.table])
    os.truncate(path, rng.randrange(2**35, 2**40))


def change_table(target: Target, rng: random.Random) -> None:
    table = pq.read_table(target.table)
    k = rng.randrange(table.num_columns)
    names, column = table.column_names, table.column(k)
    table = rng.choice([
        table.append_column(names[k], column),
        table.remove_column(k),
        table.rename_columns([*names[:k], f"{names[k]}x", *names[k + 1 :]]),
        table.slice(1),
        table.set_column(1, "category", pa.array([-1] * len(table), pa.int32())),
        table.set_column(0, "key", pa.array(["x"] * len(table))),
    ])  # fmt: skip
    pq.write_table(table, target.table)
    reseal(*target)


def change_schema(target: Target, rng: random.Random) -> None:
    """Keep every value of the table, and change what describes them."""
    table = pq.read_table(target.table)
    k, n = rng.randrange(table.num_columns), table.num_columns
    field = table.schema.field(k)
    kind = {pa.string(): pa.large_string(), pa.float64(): pa.float32()}.get(field.type, pa.int64())
    fields = [field.with_type(kind), field.with_nullable(False), field.with_metadata({"a": "b"})]
    table = rng.choice([
        *(table.cast(table.schema.set(k, changed), safe=False) for changed in fields),
        table.replace_schema_metadata({"pandas": "{}"}),
        table.append_column("x", table.column(k)),
        table.select([(k + 1) % n for k in range(n)]),
    ])  # fmt: skip
    pq.write_table(table, target.table, store_schema=rng.random() < 0.9)
    reseal(*target)


def nest_tar_headers(target: Target, rng: random.Random) -> None:
    """Write headers that a tar reader nests, or that promise gigabytes."""
    kind = rng.choice([tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE, tarfile.SYMTYPE, b"Z"])
    header = tarfile.TarInfo(members(target.tar)[0][0])
    header.type, header.size = kind, 512
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT)[:512])
    if kind == tarfile.GNUTYPE_SPARSE:
        block[386:410], block[483:495] = b"%011o\0%011o\0" % (2**32, 512), b"%011o\0" % 2**33
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    target.tar.write_bytes((bytes(block) + bytes(512)) * rng.choice([1, 1500]) + bytes(1024))
    reseal(*target)


def change_header(target: Target, rng: random.Random) -> None:
    """Change a byte of a header, other than its checksum, and make the checksum fit."""
    content = bytearray(target.tar.read_bytes())
    sizes = [512 + -(-len(payload) // 512) * 512 for _, payload in members(target.tar)]
    start = sum(sizes[: rng.randrange(len(sizes))])
    at = rng.choice([k for k in range(512) if not 148 <= k < 156])
    content[start + at] ^= rng.randrange(1, 256)
    content[start + 148 : start + 156] = b" " * 8
    content[start + 148 : start + 156] = b"%06o\0 " % sum(content[start : start + 512])
    target.tar.write_bytes(content)
    reseal(*target)


def append_archive(target: Target, rng: random.Random) -> None:
    """Append zeros or a second archive, which readers that skip zeros read."""
    content = target.tar.read_bytes()
    target.tar.write_bytes(content + rng.choice([content, bytes(512), bytes(8704), content[:2048]]))
    reseal(*target)


def _resealed(change: Callable[[Members, random.Random], None]) -> Harm:
    """Return a harm that changes a tar's members and makes the receipt fit."""

    def harm(target: Target, rng: random.Random) -> None:
        files = members(target.tar)
        change(files, rng)
        pack(target.tar, files)
        reseal(*target)

    harm.__name__ = change.__name__
    return harm


@_resealed
def swap_two_members(files: Members, rng: random.Random) -> None:
    one, other = rng.sample(range(len(files)), 2)
    files[one], files[other] = files[other], files[one]


@_resealed
def write_wrong_label(files: Members, rng: random.Random) -> None:
    k = rng.randrange(1, len(files), 2)
    name, label = files[k]
    wrong = [b"", b"-1", b"5", b"0x1", b"1.0", label + b"\n", b"0" + label, b" " + label, b"\xff"]
    files[k] = name, rng.choice([*wrong, *(b"%d" % c for c in range(5) if b"%d" % c != label)])


@_resealed
def rename_member(files: Members, rng: random.Random) -> None:
    k = rng.randrange(len(files))
    files[k] = rng.choice([*EVIL_NAMES, "000000_000099.png", files[k][0].upper(), files[k - 1][0]]), files[k][1]


@_resealed
def delete_member(files: Members, rng: random.Random) -> None:
    del files[rng.randrange(len(files))]


@_resealed
def add_member(files: Members, rng: random.Random) -> None:
    name = rng.choice([*EVIL_NAMES, "x.png", files[0][0]])
    files.insert(rng.randrange(len(files) + 1), (name, rng.randbytes(20)))


@_resealed
def flip_bit_of_png(files: Members, rng: random.Random) -> None:
    k = rng.randrange(0, len(files), 2)
    content = bytearray(files[k][1])
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    files[k] = files[k][0], bytes(content)


@_resealed
def truncate_png(files: Members, rng: random.Random) -> None:
    k = rng.randrange(0, len(files), 2)
    files[k] = files[k][0], files[k][1][: rng.randrange(len(files[k][1]))]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _sub_filtered(row: bytes) -> bytes:
    return b"\1" + bytes(b - a & 255 for a, b in itertools.pairwise(b"\0" + row[1:]))


@_resealed
def change_structure_of_png(files: Members, rng: random.Random) -> None:
    """Keep every pixel of an image, and write it another way."""
    k = rng.randrange(0, len(files), 2)
    name, png = files[k]
    start, data, end = png[:33], png[41:-16], png[-12:]
    rows, at, head = zlib.decompress(data), rng.randrange(1, len(data)), bytearray(png[16:29])
    n_row = len(rows) // 64
    filtered = b"".join(_sub_filtered(rows[at : at + n_row]) for at in range(0, len(rows), n_row))
    head[rng.choice([10, 11, 12])] ^= 1
    image = cv2.imdecode(np.frombuffer(png, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    files[k] = name, rng.choice([
        start + _chunk(b"tEXt", b"Comment\0x") + _chunk(b"IDAT", data) + end,
        start + _chunk(b"IDAT", data) + _chunk(b"eXIf", rng.randbytes(9)) + end,
        start + _chunk(b"IDAT", data[:at]) + _chunk(b"IDAT", data[at:]) + end,
        start + _chunk(b"IDAT", data) + _chunk(b"IDAT", b"") + end,
        start + _chunk(b"IDAT", data + rng.randbytes(9)) + end,
        start + _chunk(b"IDAT", zlib.compress(rows, rng.choice([0, 1, 6, 9]))) + end,
        start + _chunk(b"IDAT", zlib.compress(filtered, 2)) + end,
        png[:8] + _chunk(b"IHDR", bytes(head)) + png[33:],
        png + rng.randbytes(9),
        png + png,
        bytes(cv2.imencode(".png", image)[1]),
        bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))[1]),
    ])  # fmt: skip


@_resealed
def change_pixel(files: Members, rng: random.Random) -> None:
    k = rng.randrange(0, len(files), 2)
    image = cv2.imdecode(np.frombuffer(files[k][1], dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    row, column = rng.randrange(64), rng.randrange(64)
    image[row, column] = 255 - image[row, column]
    bit_depth = files[k][1][24]
    files[k] = files[k][0], encode(image.astype(np.uint8), bit_depth)


@_resealed
def swap_two_images(files: Members, rng: random.Random) -> None:
    one, other = rng.sample(range(0, len(files), 2), 2)
    files[one], files[other] = (files[one][0], files[other][1]), (files[other][0], files[one][1])


BY_HASH = (
    flip_bit, truncate, extend, overwrite, edit_receipt, add_space_to_receipt, replace_file_with_fifo, make_huge,
)  # fmt: skip
BY_CONTENT = (
    swap_two_members, write_wrong_label, rename_member, delete_member, add_member, flip_bit_of_png, truncate_png,
    change_table, change_schema, change_structure_of_png, nest_tar_headers, change_header, append_archive,
)  # fmt: skip
BY_RENDERING = (change_pixel, swap_two_images)
HARMS: dict[Harm, str] = {
    **dict.fromkeys(BY_HASH, "the receipt"),
    **dict.fromkeys(BY_CONTENT, "the content; the receipt was made to fit"),
    **dict.fromkeys(BY_RENDERING, "rendering again; the receipt was made to fit"),
}
"""Each harm, and what finds it."""


def problems_after(original: OnDisk, harm: Harm, seed: int) -> list[Problem]:
    """Damage a copy of a shard; return what the check of the shard finds."""
    shard = shards_of(original)[SHARD]
    positions = range(shard.n_samples) if harm in BY_RENDERING else ()
    with tempfile.TemporaryDirectory() as folder:
        target = Target(OnDisk(Folder(Path(folder, "a", "b", "c")), original.dataset), shard)
        for file in (OnDisk.tar, OnDisk.samples, OnDisk.receipt):
            copy = file(target.directory, shard)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file(original, shard), copy)
        harm(target, random.Random(seed))
        before = sorted(Path(folder).rglob("*"))
        problems = check_shard(target.directory, (shard, positions)).problems
        assert sorted(Path(folder).rglob("*")) == before, "the check wrote something"
        return problems


def main() -> int:
    """Print the table; return 1 if a harm was not found."""
    n_times, n_tried, n_found = int((sys.argv[1:] or [TIMES])[0]), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for family in FAMILIES:
            bake(small_spec(family), Path(folder, family), executor=SERIAL)
        originals = [on_disk(Path(folder, family)) for family in FAMILIES]
        for harm, finder in HARMS.items():
            results = [bool(problems_after(original, harm, k)) for original in originals for k in range(n_times)]
            print(f"{harm.__name__.replace('_', ' '):24}{len(results):6} tried{sum(results):6} found   by {finder}")
            n_tried, n_found = n_tried + len(results), n_found + sum(results)
    print(f"{'in all':24}{n_tried:6} tried{n_found:6} found")
    return int(n_found < n_tried)


if __name__ == "__main__":
    sys.exit(main())
