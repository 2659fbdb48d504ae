"""Verifying: of a shard whose receipt was made to fit, its content tells what is wrong."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest

from shards.directory import Directory
from shards.plan import Shard
from shards.png import encode
from shards.tar import member
from tests.shards.conftest import NAME, snapshot
from tests.shards.harm import Members, members, pack, problems, reseal, the_problem


def other_png(size_px: int, bit_depth: int) -> bytes:
    return encode(np.zeros((size_px, size_px), dtype=np.uint8), bit_depth)


def replaced(at: int, payload: bytes) -> Callable[[Members], Members]:
    return lambda files: [(name, payload if k == at else old) for k, (name, old) in enumerate(files)]


def renamed(at: int, name: str) -> Callable[[Members], Members]:
    return lambda files: [(name if k == at else old, payload) for k, (old, payload) in enumerate(files)]


def edited_png(edit: Callable[[bytes], bytes]) -> Callable[[Members], Members]:
    return lambda files: replaced(2, edit(files[2][1]))(files)


def flipped(payload: bytes) -> bytes:
    at = len(payload) // 2
    return payload[:at] + bytes([payload[at] ^ 4]) + payload[at + 1 :]


COLOUR_PNG = bytes(cv2.imencode(".png", np.zeros((64, 64, 3), dtype=np.uint8))[1])
KEY = r"\d{6}_\d{6}"
CONTENT: dict[str, tuple[Callable[[Members], Members], str]] = {
    "wrong label": (replaced(3, b"99"), rf"{KEY}\.cls is b'99'; the label is \d"),
    "label with a newline": (lambda f: replaced(3, f[3][1] + b"\n")(f), rf"{KEY}\.cls is b'\d\\n'; the label is \d"),
    "empty label": (replaced(3, b""), rf"{KEY}\.cls is b''; the label is \d"),
    "another category": (
        lambda f: replaced(3, b"%d" % ((int(f[3][1]) + 1) % 5))(f),
        rf"{KEY}\.cls is b'\d'; the label is \d",
    ),
    "swapped samples": (lambda f: [*f[2:4], *f[:2], *f[4:]], rf"has '{KEY}\.png' where {KEY}\.png should stand"),
    "swapped members": (lambda f: [f[1], f[0], *f[2:]], rf"has '{KEY}\.cls' where {KEY}\.png should stand"),
    "first sample missing": (lambda f: f[2:], rf"has '{KEY}\.png' where {KEY}\.png should stand"),
    "last label missing": (lambda f: f[:-1], rf"ends before {KEY}\.cls"),
    "last sample missing": (lambda f: f[:-2], rf"ends before {KEY}\.png"),
    "no members": (lambda f: [], rf"ends before {KEY}\.png"),
    "extra member": (lambda f: [*f, ("000009_000000.png", b"")], r"goes on with '000009_000000\.png' after its last"),
    "sample twice": (lambda f: [*f, *f[:2]], rf"goes on with '{KEY}\.png' after its last"),
    "path outside": (renamed(2, "../../evil.png"), rf"has '\.\./\.\./evil\.png' where {KEY}\.png should stand"),
    "absolute path": (renamed(2, "/tmp/evil.png"), rf"has '/tmp/evil\.png' where {KEY}\.png should stand"),
    "newline in a name": (renamed(2, "a\nb.png"), rf"has 'a\\nb\.png' where {KEY}\.png should stand"),
    "another size": (lambda f: replaced(2, other_png(65, f[2][1][24]))(f), rf"{KEY}\.png is not a 64 x 64 px grey PNG"),
    "another depth": (
        lambda f: replaced(2, other_png(64, 9 - f[2][1][24]))(f),
        rf"{KEY}\.png is not a 64 x 64 px grey PNG of [18] bit",
    ),
    "colour": (replaced(2, COLOUR_PNG), rf"{KEY}\.png is not a 64 x 64 px grey PNG"),
    "garbage": (replaced(2, b"garbage" * 40), rf"{KEY}\.png is not a 64 x 64 px grey PNG"),
    "nothing": (replaced(2, b""), rf"{KEY}\.png is not a 64 x 64 px grey PNG"),
    "only a head": (edited_png(lambda png: png[:33]), rf"{KEY}\.png cannot be decoded"),
    "garbage after the head": (edited_png(lambda png: png[:33] + b"garbage" * 40), rf"{KEY}\.png cannot be decoded"),
    "truncated": (edited_png(lambda png: png[: len(png) // 2]), rf"{KEY}\.png cannot be decoded"),
    "flipped bit": (edited_png(flipped), rf"{KEY}\.png cannot be decoded"),
}


@pytest.mark.parametrize("which", CONTENT)
def test_content_that_is_not_the_plans_is_found_in_a_resealed_shard(which: str, copy: Directory, shard: Shard) -> None:
    change, told = CONTENT[which]
    pack(copy.tar(shard), change(members(copy.tar(shard))))
    reseal(copy, shard)
    before = snapshot(copy.path.parent)
    assert re.match(rf"{NAME}\.tar: {told}", the_problem(copy))
    assert snapshot(copy.path.parent) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_regular_file_is_found(kind: bytes, copy: Directory, shard: Shard) -> None:
    files = members(copy.tar(shard))
    with tarfile.open(copy.tar(shard), "w", format=tarfile.USTAR_FORMAT) as tar:
        for k, (name, payload) in enumerate(files):
            info = tarfile.TarInfo(name)
            if k == 3:
                info.type, info.linkname = kind, "/etc/passwd"
            else:
                info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    reseal(copy, shard)
    assert re.match(rf"{NAME}\.tar: has '{KEY}\.cls.*' where {KEY}\.cls should stand", the_problem(copy))


@pytest.mark.parametrize("size", [b"99999999999\0", b"\x80" + b"\x7f" * 11, b"\xff" * 12, b"not a number"])
def test_a_member_of_an_absurd_size_is_found(size: bytes, copy: Directory, shard: Shard) -> None:
    header = bytearray(member(members(copy.tar(shard))[0][0].encode(), b""))
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    copy.tar(shard).write_bytes(bytes(header) + bytes(1024))
    reseal(copy, shard)
    assert {problem.split(": ")[0] for problem in problems(copy)} == {f"{NAME}.tar"}


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x1f\x8b" + bytes(600), bytes(10_240)])
def test_what_is_no_tar_is_found(content: bytes, copy: Directory, shard: Shard) -> None:
    copy.tar(shard).write_bytes(content)
    reseal(copy, shard)
    assert the_problem(copy).startswith(f"{NAME}.tar: ")


def test_of_a_shard_that_is_all_wrong_a_few_problems_are_told(copy: Directory, shard: Shard) -> None:
    files = members(copy.tar(shard))
    pack(copy.tar(shard), [(name, b"99" if name.endswith(".cls") else payload) for name, payload in files])
    reseal(copy, shard)
    found = problems(copy)
    assert len(found) == 5
    assert all(".cls is b'99'; the label is " in problem for problem in found)


def increased(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda t: t.set_column(t.column_names.index(name), name, pa.compute.add(t[name], pa.scalar(1, pa.int32())))


TABLES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "a row missing": lambda table: table.slice(1),
    "another order": lambda table: table.take(pa.array(range(table.num_rows - 1, -1, -1))),
    "another category": increased("category"),
    "another instance": increased("instance"),
    "no category": lambda table: table.drop_columns(["category"]),
    "no instance": lambda table: table.drop_columns(["instance"]),
    "nothing drawn": lambda table: table.drop_columns([table.column_names[-1]]),
    "no text": lambda table: table.set_column(1, "category", pa.array([b"\xff"] * len(table)).view(pa.string())),
}


@pytest.mark.parametrize("which", TABLES)
def test_a_table_that_is_not_the_plans_is_found_in_a_resealed_shard(which: str, copy: Directory, shard: Shard) -> None:
    path = copy.samples(shard)
    pq.write_table(TABLES[which](pq.read_table(path)), path)
    reseal(copy, shard)
    assert the_problem(copy).startswith(f"samples/{NAME}.parquet: ")


def test_what_is_no_table_is_found_in_a_resealed_shard(copy: Directory, shard: Shard) -> None:
    copy.samples(shard).write_bytes(b"garbage")
    reseal(copy, shard)
    assert the_problem(copy).startswith(f"samples/{NAME}.parquet: is not a Parquet file that can be read")
