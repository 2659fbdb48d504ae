"""Checking: content that is wrong although the receipt fits it."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest

from fdsl.dataset.plan import Shard
from shards.png import encode
from shards.problems import Kind
from shards.tar import member
from tests.shards import harm
from tests.shards.conftest import NAME, snapshot
from tests.shards.disk import OnDisk
from tests.shards.harm import Change, edit_json, members, repack, reseal_all

TAR, TABLE = f"{NAME}.tar", f"samples/{NAME}.parquet"
problems, the_problem = (partial(find, shards="3:4") for find in (harm.problems, harm.the_problem))
"""Of the damaged shard. To check all of them takes ten times as long."""


def black_png(size_px: int, bit_depth: int) -> bytes:
    return encode(np.zeros((size_px, size_px), dtype=np.uint8), bit_depth)


def with_payload(at: int, payload: bytes) -> Change:
    return lambda files: [(name, payload if k == at else old) for k, (name, old) in enumerate(files)]


def with_name(at: int, name: str) -> Change:
    return lambda files: [(name if k == at else old, payload) for k, (old, payload) in enumerate(files)]


def edited_png(edit: Callable[[bytes], bytes]) -> Change:
    return lambda files: with_payload(2, edit(files[2][1]))(files)


def bit_depth(png: bytes) -> int:
    return png[24]


def flip_middle_bit(payload: bytes) -> bytes:
    at = len(payload) // 2
    return payload[:at] + bytes([payload[at] ^ 4]) + payload[at + 1 :]


COLOUR_PNG = bytes(cv2.imencode(".png", np.zeros((64, 64, 3), dtype=np.uint8))[1])
KEY = r"\d{6}_\d{6}"
CHANGES: dict[str, tuple[Change, str]] = {
    "wrong label": (with_payload(3, b"99"), rf"{KEY}\.cls is b'99'; the label is \d"),
    "label with a newline": (
        lambda files: with_payload(3, files[3][1] + b"\n")(files),
        rf"{KEY}\.cls is b'\d\\n'; the label is \d",
    ),
    "empty label": (with_payload(3, b""), rf"{KEY}\.cls is b''; the label is \d"),
    "another category": (
        lambda files: with_payload(3, b"%d" % ((int(files[3][1]) + 1) % 5))(files),
        rf"{KEY}\.cls is b'\d'; the label is \d",
    ),
    "swapped samples": (
        lambda files: [*files[2:4], *files[:2], *files[4:]],
        rf"has '{KEY}\.png' in place of {KEY}\.png",
    ),
    "swapped members": (lambda files: [files[1], files[0], *files[2:]], rf"has '{KEY}\.cls' in place of {KEY}\.png"),
    "first sample missing": (lambda files: files[2:], rf"has '{KEY}\.png' in place of {KEY}\.png"),
    "last label missing": (lambda files: files[:-1], rf"ends before {KEY}\.cls"),
    "last sample missing": (lambda files: files[:-2], rf"ends before {KEY}\.png"),
    "no members": (lambda files: [], rf"ends before {KEY}\.png"),
    "extra member": (
        lambda files: [*files, ("000009_000000.png", b"")],
        r"does not end after its last sample; an archive ends with 1,024 zeros",
    ),
    "duplicate sample": (
        lambda files: [*files, *files[:2]],
        r"does not end after its last sample; an archive ends with 1,024 zeros",
    ),
    "path outside": (with_name(2, "../../evil.png"), rf"has '\.\./\.\./evil\.png' in place of {KEY}\.png"),
    "absolute path": (with_name(2, "/tmp/evil.png"), rf"has '/tmp/evil\.png' in place of {KEY}\.png"),
    "newline in a name": (with_name(2, "a\nb.png"), rf"has 'a\\nb\.png' in place of {KEY}\.png"),
    "another size": (
        lambda files: with_payload(2, black_png(65, bit_depth(files[2][1])))(files),
        rf"{KEY}\.png is not a 64 x 64 px grey PNG",
    ),
    "another depth": (
        lambda files: with_payload(2, black_png(64, 9 - bit_depth(files[2][1])))(files),
        rf"{KEY}\.png is not a 64 x 64 px grey PNG of [18] bit",
    ),
    "colour": (with_payload(2, COLOUR_PNG), rf"{KEY}\.png is not a 64 x 64 px grey PNG"),
    "garbage": (with_payload(2, b"garbage" * 40), rf"{KEY}\.png is not a 64 x 64 px grey PNG"),
    "empty PNG": (with_payload(2, b""), rf"{KEY}\.png is not a 64 x 64 px grey PNG"),
    "only a head": (edited_png(lambda png: png[:33]), rf"{KEY}\.png cannot be decoded"),
    "garbage after the head": (edited_png(lambda png: png[:33] + b"garbage" * 40), rf"{KEY}\.png cannot be decoded"),
    "truncated PNG": (edited_png(lambda png: png[: len(png) // 2]), rf"{KEY}\.png cannot be decoded"),
    "flipped bit": (edited_png(flip_middle_bit), rf"{KEY}\.png cannot be decoded"),
}


def test_resealed_shard_is_valid(copy: OnDisk, shard: Shard) -> None:
    repack(copy, shard, lambda files: files)
    assert not harm.problems(copy)


@pytest.mark.parametrize("name", CHANGES)
def test_changed_member_is_found(name: str, copy: OnDisk, shard: Shard) -> None:
    change, detail = CHANGES[name]
    repack(copy, shard, change)
    before = snapshot(copy.path.parent)
    problem = the_problem(copy)
    assert (problem.kind, problem.path) == (Kind.SHARD, TAR)
    assert re.match(detail, problem.detail)
    assert snapshot(copy.path.parent) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_irregular_member_is_found(kind: bytes, copy: OnDisk, shard: Shard) -> None:
    files = members(copy.tar(shard))
    with tarfile.open(copy.tar(shard), "w", format=tarfile.USTAR_FORMAT) as tar:
        for k, (name, payload) in enumerate(files):
            info = tarfile.TarInfo(name)
            if k == 3:
                info.type, info.linkname = kind, "/etc/passwd"
            else:
                info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    reseal_all(copy, shard)
    problem = the_problem(copy)
    assert (problem.kind, problem.path) == (Kind.SHARD, TAR)
    assert re.match(rf"has '{KEY}\.cls/' in place|{KEY}\.cls has a header or padding", problem.detail)


@pytest.mark.parametrize("size", [b"99999999999\0", b"\x80" + b"\x7f" * 11, b"\xff" * 12, b"not a number"])
def test_absurd_member_size_is_found(size: bytes, copy: OnDisk, shard: Shard) -> None:
    header = bytearray(member(members(copy.tar(shard))[0][0].encode(), b""))
    header[124:136] = size
    copy.tar(shard).write_bytes(sealed_header(header) + bytes(1024))
    reseal_all(copy, shard)
    assert {(problem.kind, problem.path) for problem in problems(copy)} == {(Kind.SHARD, TAR)}


def sealed_header(header: bytearray) -> bytes:
    """The header with the checksum that it needs."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    ("field", "at", "value"),
    [
        ("mode", 100, b"0000777\0"),
        ("uid", 108, b"0001750\0"),
        ("gid", 116, b"0001750\0"),
        ("time", 136, b"14000000000\0"),
        ("type of old tars", 156, b"\0"),
        ("contiguous type", 156, b"7"),
        ("link name", 157, b"/etc/passwd"),
        ("GNU magic", 257, b"ustar  \0"),
        ("user name", 265, b"root"),
        ("device", 329, b"0000001\0"),
        ("prefix", 345, b"../../evil"),
        ("last byte", 511, b"x"),
    ],
)
def test_changed_header_is_found(field: str, at: int, value: bytes, copy: OnDisk, shard: Shard) -> None:
    content = bytearray(copy.tar(shard).read_bytes())
    header = content[:512]
    header[at : at + len(value)] = value
    copy.tar(shard).write_bytes(sealed_header(header) + content[512:])
    reseal_all(copy, shard)
    assert re.match(rf"{KEY}\.png has a header or padding that a bake does not write", the_problem(copy).detail)


def test_size_written_another_way_is_found(copy: OnDisk, shard: Shard) -> None:
    content = bytearray(copy.tar(shard).read_bytes())
    header = content[:512]
    header[124:136] = b" " + header[124:135].lstrip(b"0").rjust(10) + b" "
    copy.tar(shard).write_bytes(sealed_header(header) + content[512:])
    reseal_all(copy, shard)
    assert re.match(rf"{KEY}\.png has a broken header", the_problem(copy).detail)


def test_padding_with_content_is_found(copy: OnDisk, shard: Shard) -> None:
    content = bytearray(copy.tar(shard).read_bytes())
    content[-1025] = 1
    copy.tar(shard).write_bytes(content)
    reseal_all(copy, shard)
    assert re.match(rf"{KEY}\.cls has a header or padding", the_problem(copy).detail)


@pytest.mark.parametrize("n_bytes", [-512, -1, 512, 9216])
def test_another_end_is_found(n_bytes: int, copy: OnDisk, shard: Shard) -> None:
    content = copy.tar(shard).read_bytes()
    copy.tar(shard).write_bytes(content + bytes(n_bytes) if n_bytes > 0 else content[:n_bytes])
    reseal_all(copy, shard)
    assert "does not end after its last sample; an archive ends with 1,024 zeros" in the_problem(copy).detail


def test_second_archive_is_found(copy: OnDisk, shard: Shard) -> None:
    content = copy.tar(shard).read_bytes()
    copy.tar(shard).write_bytes(content + content)
    reseal_all(copy, shard)
    detail = the_problem(copy).detail
    assert "does not end after its last sample" in detail or re.search(
        "its receipt says .* a bake writes at most", detail
    )


def test_extended_header_is_found(copy: OnDisk, shard: Shard) -> None:
    """A PAX record can tell one reader another size, name or label than the next."""
    files = members(copy.tar(shard))
    with tarfile.open(copy.tar(shard), "w", format=tarfile.PAX_FORMAT) as tar:
        for k, (name, payload) in enumerate(files):
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            if k == 1:
                info.pax_headers = {"size": "1"}
            tar.addfile(info, io.BytesIO(payload))
    reseal_all(copy, shard)
    assert re.match(rf"has '\././@PaxHeader' in place of {KEY}\.cls", the_problem(copy).detail)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x1f\x8b" + bytes(600), bytes(10_240)])
def test_file_that_is_no_tar_is_found(content: bytes, copy: OnDisk, shard: Shard) -> None:
    copy.tar(shard).write_bytes(content)
    reseal_all(copy, shard)
    problem = the_problem(copy)
    assert (problem.kind, problem.path) == (Kind.SHARD, TAR)


def test_few_problems_of_one_tar_are_reported(copy: OnDisk, shard: Shard) -> None:
    repack(copy, shard, lambda files: [(name, b"99" if name.endswith(".cls") else payload) for name, payload in files])
    result = problems(copy)
    assert shard.n_samples > len(result) == 5
    assert all(".cls is b'99'; the label is " in problem.detail for problem in result)


def increased(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(
        table.column_names.index(name), name, pa.compute.add(table[name], pa.scalar(1, pa.int32()))
    )


def with_type(table: pa.Table, name: str, kind: pa.DataType) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, table[name].cast(kind))


def with_empty_cell(table: pa.Table, name: str) -> pa.Table:
    values = pa.array([None, *table[name].to_pylist()[1:]], table[name].type)
    return table.set_column(table.column_names.index(name), name, values)


TABLES: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "a row missing": (lambda table: table.slice(1), "`key` differs from the plan"),
    "another order": (
        lambda table: table.take(pa.array(range(table.num_rows - 1, -1, -1))),
        "`key` differs from the plan",
    ),
    "another category": (increased("category"), "`category` differs from the plan"),
    "another instance": (increased("instance"), "`instance` differs from the plan"),
    "no category": (lambda table: table.drop_columns(["category"]), "`category` is missing or a duplicate"),
    "no instance": (lambda table: table.drop_columns(["instance"]), "`instance` is missing or a duplicate"),
    "duplicate key": (lambda table: table.append_column("key", table["key"]), "`key` is missing or a duplicate"),
    "no variant": (lambda table: table.drop_columns([table.column_names[-1]]), "is missing or a duplicate"),
    "no text": (
        lambda table: table.set_column(0, "key", pa.array([b"\xff"] * len(table)).view(pa.string())),
        "holds a text that is not UTF-8",
    ),
    "extra column": (lambda table: table.append_column("x", table["key"]), "`x` (string) is column "),
    "another order of columns": (
        lambda table: table.select(["category", "key", *table.column_names[2:]]),
        "`category` (int32) is column 0",
    ),
    "another type": (lambda table: with_type(table, "category", pa.int64()), "`category` (int64) is column 1"),
    "long texts": (lambda table: with_type(table, "key", pa.large_string()), "`key` (large_string) is column 0"),
    "no nulls allowed": (
        lambda table: table.cast(pa.schema([field.with_nullable(False) for field in table.schema])),
        "`key` (string) is column 0",
    ),
    "metadata of a field": (
        lambda table: table.cast(pa.schema([field.with_metadata({"a": "b"}) for field in table.schema])),
        "`key` (string) is column 0",
    ),
    "metadata": (lambda table: table.replace_schema_metadata({"pandas": "{}"}), "it has metadata"),
    "an empty cell": (lambda table: with_empty_cell(table, table.column_names[-1]), "has empty cells"),
}


@pytest.mark.parametrize("name", TABLES)
def test_changed_table_of_image_parameters_is_found(name: str, copy: OnDisk, shard: Shard) -> None:
    path = copy.samples(shard)
    change, detail = TABLES[name]
    pq.write_table(change(pq.read_table(path)), path)
    reseal_all(copy, shard)
    problem = the_problem(copy)
    assert (problem.kind, problem.path) == (Kind.SHARD, TABLE)
    assert detail in problem.detail


@pytest.mark.parametrize("has_schema", [True, False])
def test_metadata_beside_the_schema_is_found(has_schema: bool, copy: OnDisk, shard: Shard) -> None:
    table = pq.read_table(copy.samples(shard))
    with pq.ParquetWriter(copy.samples(shard), table.schema, store_schema=has_schema) as writer:
        writer.write_table(table)
        if has_schema:
            writer.add_key_value_metadata({"payload": "x"})
    reseal_all(copy, shard)
    assert the_problem(copy).detail.endswith(
        "it has metadata" if has_schema else "its metadata is not what a bake writes"
    )


def test_absurd_size_in_a_receipt_is_found(copy: OnDisk, shard: Shard) -> None:
    """Nothing is read of a tar that is larger than any image could make it."""
    os.truncate(copy.tar(shard), 2**40)
    edit_json(copy.receipt(shard), bytes=2**40)
    assert "its receipt says 1,099,511,627,776 bytes; a bake writes at most " in problems(copy)[0].detail


def test_file_that_is_no_table_is_found(copy: OnDisk, shard: Shard) -> None:
    copy.samples(shard).write_bytes(b"garbage")
    reseal_all(copy, shard)
    problem = the_problem(copy)
    assert (problem.kind, problem.path) == (Kind.SHARD, TABLE)
    assert problem.detail.startswith("is not a readable Parquet file")
