"""Tars: other readers see the members; the bytes depend on names and payloads alone."""

from __future__ import annotations

import io
import os
import string
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shards.tar import BLOCK, TarWriter, member

Members = dict[str, bytes]
WORD = string.ascii_letters + string.digits + "_"
KEYS = st.tuples(st.sampled_from(WORD), st.text(f"{WORD}-", max_size=95), st.sampled_from([".png", ".cls"])).map(
    "".join
)
PAYLOADS = st.binary(max_size=40) | st.sampled_from([0, 1, 511, 512, 513, 1024, 5000]).map(lambda n: b"\xa5" * n)
MEMBERS = st.dictionaries(KEYS, PAYLOADS, max_size=6)
LARGE: Members = {"000000_000000.png": bytes(range(256)) * 9000, "000000_000000.cls": b"0", "1.png": b"x" * 3_000_000}


def pack(members: Members) -> bytes:
    file = io.BytesIO()
    writer = TarWriter(file)
    for name, payload in members.items():
        writer.add(name, payload)
    writer.close()
    return file.getvalue()


def pack_with_tarfile(members: Members) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, payload in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    return file.getvalue()


@settings(deadline=None)
@given(members=MEMBERS)
@example(members=LARGE)
def test_tarfile_reads_the_members_in_order(members: Members) -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(members)), mode="r:") as tar:
        files = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
        assert not tar.pax_headers
    assert list(files.items()) == list(members.items())


@settings(deadline=None)
@given(members=MEMBERS)
@example(members={})
@example(members={"a" * 96 + ".png": b"the longest name"})
@example(members=LARGE)
def test_bytes_equal_tarfile_except_padding(members: Members) -> None:
    ours, theirs = pack(members), pack_with_tarfile(members)
    assert len(theirs) % tarfile.RECORDSIZE == 0
    assert theirs == ours + bytes(len(theirs) - len(ours))
    assert ours.endswith(bytes(2 * BLOCK))


@settings(deadline=None, max_examples=25)
@given(members=MEMBERS)
@example(members=LARGE)
def test_gnu_tar_extracts_without_a_warning(members: Members) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "a.tar", Path(folder) / "out"
        file.write_bytes(pack(members))
        out.mkdir()
        environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
        for command in (["tar", "tvf", file, "--numeric-owner"], ["tar", "xf", file, "-C", out]):
            process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            assert process.stderr == ""
            if "tvf" in command:
                listed = [line.split() for line in process.stdout.splitlines()]
        assert listed == [
            ["-rw-r--r--", "0/0", str(len(payload)), "1970-01-01", "00:00", name] for name, payload in members.items()
        ]
        assert {path.name: path.read_bytes() for path in out.iterdir()} == members


@settings(deadline=None)
@given(name=KEYS, payload=PAYLOADS)
def test_header_is_ustar_with_fixed_metadata(name: str, payload: bytes) -> None:
    packed = member(name.encode(), payload)
    header = packed[:BLOCK]
    assert len(packed) == BLOCK + -(-len(payload) // BLOCK) * BLOCK
    assert header[257:265] == b"ustar\x0000"
    info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    assert (info.name, info.size, info.type) == (name, len(payload), tarfile.REGTYPE)
    assert (info.mode, info.uid, info.gid, info.mtime) == (0o644, 0, 0, 0)
    assert (info.uname, info.gname, info.linkname, info.devmajor, info.devminor) == ("", "", "", 0, 0)


def test_name_must_be_ascii() -> None:
    with pytest.raises(UnicodeEncodeError):
        TarWriter(io.BytesIO()).add("é.png", b"")
