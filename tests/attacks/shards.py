"""Hostile tars, PNG files, tables and links in a baked dataset."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shards.png import first_bytes
from tests.attacks import Attack, attack, dataset, fdsl, register
from tests.attacks.texts import TERABYTE, VERIFY
from tests.shards.harm import Members, members, pack

TAR, SAMPLES, RECEIPT = "train-000000.tar", "samples/train-000000.parquet", "receipts/train-000000.json"
MODULES = ("json", "joblib", "multiprocessing", "numba", "pickle", "shards", "signal", "struct", "threading")


def sealed(out: Path, **changes: object) -> None:
    """Make a receipt fit its shard's files, as an attacker does."""
    content = json.loads((out / RECEIPT).read_text())
    for key, name in (("sha256", TAR), ("samples_sha256", SAMPLES)):
        if (out / name).stat().st_size < 2**30:
            content[key] = hashlib.sha256((out / name).read_bytes()).hexdigest()
    content = {**content, "bytes": (out / TAR).stat().st_size, **changes}
    (out / RECEIPT).write_text(json.dumps(content, indent=1) + "\n")


def _tar(name: str, says: str, content: Callable[[bytes], bytes]) -> None:
    """Register a tar with other bytes, and a receipt that fits."""

    def kind(folder: Path) -> Attack:
        out = dataset(folder)
        (out / TAR).write_bytes(content((out / TAR).read_bytes()))
        sealed(out)
        return Attack(VERIFY, says)

    register(f"tar_{name}", kind)


def pax_of_digits(tar: bytes) -> bytes:
    """Return a tar that begins with a PAX header of a number without an end."""
    payload = b"9" * 12_000  # of more, the receipt says too many bytes
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(payload)
    return info.tobuf(tarfile.USTAR_FORMAT) + payload + bytes(-len(payload) % 512) + tar


def with_size(tar: bytes, size: bytes) -> bytes:
    """Return a tar whose first member claims a size."""
    edited = bytearray(tar)
    edited[124:136] = size
    edited[148:156] = b" " * 8
    edited[148:156] = b"%06o\0 " % sum(edited[:512])
    return bytes(edited)


_tar("with_pax_of_digits", "has 'pax' in place of", pax_of_digits)
_tar("of_a_negative_size", "has a broken header", lambda tar: with_size(tar, b"\xff" * 12))
_tar("of_eight_gigabytes", "a bake writes at most", lambda tar: with_size(tar, b"77777777777\0"))
_tar("of_zeros", "ends before", lambda tar: bytes(len(tar)))
_tar("of_two_archives", "does not end after its last sample", lambda tar: tar + tar[:2048])


@attack
def tar_and_receipt_of_a_terabyte(folder: Path) -> Attack:
    out = dataset(folder)
    os.truncate(out / TAR, TERABYTE)
    sealed(out)
    return Attack(VERIFY, "its receipt says 1,099,511,627,776 bytes; a bake writes at most")


def _members(name: str, says: str, change: Callable[[Members], Members], command: str = "verify") -> None:
    """Register a tar with other members, and a receipt that fits."""

    def kind(folder: Path) -> Attack:
        out = dataset(folder)
        pack(out / TAR, change(members(out / TAR)))
        sealed(out)
        says_all = says if command == "verify" else "out: "
        return Attack(
            fdsl(command, "out", "--workers", "1"),
            says_all,
            command == "repair",
            writes="out" if command == "repair" else "",
        )

    register(f"{name}_{command}", kind)


def png(data: bytes, size: int = 32, extra: bytes = b"", kind: bytes = b"IDAT") -> bytes:
    """Return a grey PNG of 8 bits with any data and any chunks before it."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (
        first_bytes(size, size, 8)
        + extra
        + chunk
        + struct.pack(">I", 0)
        + b"IEND"
        + struct.pack(">I", zlib.crc32(b"IEND"))
    )


def zeros(n_bytes: int) -> bytes:
    """Return a zlib stream of zeros that is a thousandth of their number."""
    return zlib.compress(bytes(n_bytes), 2)


for _command in ("verify", "repair"):
    _members("member_outside", "in place of", lambda files: [("../../evil.png", files[0][1]), *files[1:]], _command)
    _members("absolute_member", "in place of", lambda files: [("/tmp/evil.png", files[0][1]), *files[1:]], _command)
_members("image_of_more_rows", "cannot be decoded", lambda files: [(files[0][0], png(zeros(2**18))), *files[1:]])
_members("image_that_inflates", "a bake writes at most", lambda files: [(files[0][0], png(zeros(2**26))), *files[1:]])
_members(
    "image_of_giant_size",
    "is not a 32 x 32 px grey PNG",
    lambda files: [(files[0][0], png(zeros(2**10), 60_000)), *files[1:]],
)
_members("label_of_digits", "; the label is", lambda files: [files[0], (files[1][0], b"9" * 500), *files[2:]])


def _table(name: str, file: str, table: Callable[[], pa.Table], says: str, **options: Any) -> None:
    """Register a table in a baked dataset that is small in bytes and large in memory, and a receipt that fits."""

    def kind(folder: Path) -> Attack:
        out = dataset(folder)
        pq.write_table(table(), out / file, compression="zstd", **options)
        sealed(out)
        return Attack(VERIFY, says)

    register(f"{file.split('/')[0].split('.')[0]}_table_of_{name}", kind)


for _file, _answer in (
    (SAMPLES, "is not a readable Parquet file"),
    ("categories.parquet", "is not a readable Parquet file"),
    ("shards.parquet", "contradicts the receipts"),
):
    _table("rows", _file, lambda: pa.table({"x": np.zeros(10**7)}), _answer)
    _table("a_list", _file, lambda: pa.table({"x": [np.zeros(10**8, dtype=np.uint8)]}), _answer)
    _table("a_text", _file, lambda: pa.table({"x": ["x" * (3 * 10**8)]}), _answer, use_dictionary=False)
    _table("equal_texts", _file, lambda: pa.table({"x": ["x" * 10**6] * 6}), _answer)


@attack
def given_table_of_a_list(folder: Path) -> Attack:
    from tests.fdsl.dataset.test_parquet import with_lie

    n = 10**8
    file = io.BytesIO()
    pq.write_table(pa.table({"x": [np.zeros(n, dtype=np.uint8)]}), file, compression="zstd")
    (folder / "t.parquet").write_bytes(with_lie(file.getvalue(), n, 1))
    command = fdsl("bake", "quickstart-rcdb", "-o", "new", "--categories-from", "t.parquet", "--workers", "1")
    return Attack(command, "`t.parquet` is not a readable Parquet file: its ")


@attack
def given_table_of_a_terabyte(folder: Path) -> Attack:
    (folder / "t.parquet").touch()
    os.truncate(folder / "t.parquet", TERABYTE)
    command = fdsl("bake", "quickstart-rcdb", "-o", "new", "--categories-from", "t.parquet", "--workers", "1")
    return Attack(command, "such a file has at most 1,073,741,824")


def _link(name: str, command: str, says: str) -> None:
    """Register a dataset whose folder is a link to a folder of the victim's."""

    def kind(folder: Path) -> Attack:
        out, mine = dataset(folder), folder / "mine"
        (out / name).rename(mine)
        (out / name).symlink_to(mine)
        (mine / "train-000099.json").write_text("mine")
        (mine / "train-000099.parquet").write_text("mine")
        (out / TAR).unlink()
        spec = ["out/spec.yaml", "-o"] if command == "bake" else []
        return Attack(fdsl(command, *spec, "out", "--workers", "1"), says, writes="out")

    register(f"linked_{name}_{command}", kind)


for _name in ("samples", "receipts"):
    for _command in ("bake", "repair"):
        _link(_name, _command, f"out/{_name}` is a symbolic link")


@attack
def linked_files_repair(folder: Path) -> Attack:
    out = dataset(folder)
    (folder / "mine").write_text("mine")
    for name in (TAR, SAMPLES, RECEIPT, "_info.json", "README.md", "shards.parquet", "categories.parquet"):
        (out / name).unlink()
        (out / name).symlink_to(folder / "mine")
    return Attack(fdsl("repair", "out", "--workers", "1"), "out: ", is_harmless=True, writes="out")


def _modules(*command: str) -> None:
    """Register a dataset with modules that a command must not import."""

    def kind(folder: Path) -> Attack:
        out = dataset(folder)
        for name in MODULES:
            (out / f"{name}.py").write_text("import os; open(os.path.expanduser('~/imported'), 'a').write(__name__)\n")
        return Attack(
            fdsl(*command, "--workers", "2"), "", is_harmless=True, folder="out", writes="out", memory_bytes=2**33
        )

    register(f"modules_in_the_dataset_{command[0]}", kind)


_modules("verify", ".", "--rerender", "5")
_modules("repair", ".")
_modules("bake", "spec.yaml", "-o", "new")
_modules("sample", "spec.yaml", "-o", "t.parquet")
_modules("plan", "spec.yaml")
