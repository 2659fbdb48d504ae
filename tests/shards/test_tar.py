"""Tars: real readers see the members, nothing but names and payloads is in them, and the writer's own sums are right."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shards.tar import BLOCK, TarWriter, member

Members = dict[str, bytes]
KEYS = st.from_regex(r"\A[a-zA-Z0-9_]([a-zA-Z0-9_-]){0,95}\.(png|cls)\Z")
PAYLOADS = st.binary(max_size=40) | st.sampled_from([0, 1, 511, 512, 513, 1024, 5000]).map(lambda n: b"\xa5" * n)
MEMBERS = st.dictionaries(KEYS, PAYLOADS, max_size=6)
LARGE: Members = {"000000_000000.png": bytes(range(256)) * 9000, "000000_000000.cls": b"0", "1.png": b"x" * 3_000_000}


def pack(members: Members) -> bytes:
    file = io.BytesIO()
    writer = TarWriter(file)
    for name, payload in members.items():
        writer.add(name, payload)
    writer.close()
    assert writer.bytes == len(file.getvalue())
    assert writer.sha256.hexdigest() == hashlib.sha256(file.getvalue()).hexdigest()
    assert writer.md5.hexdigest() == hashlib.md5(file.getvalue()).hexdigest()
    return file.getvalue()


def pack_with_python(members: Members) -> bytes:
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
def test_pythons_tarfile_reads_the_members_in_order(members: Members) -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(members)), mode="r:") as tar:
        found = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
        assert not tar.pax_headers
    assert list(found.items()) == list(members.items())


@settings(deadline=None)
@given(members=MEMBERS)
@example(members={})
@example(members={"a" * 96 + ".png": b"the longest name"})
@example(members=LARGE)
def test_the_bytes_are_those_of_pythons_ustar_writer_but_for_its_longer_padding(members: Members) -> None:
    mine, pythons = pack(members), pack_with_python(members)
    assert len(pythons) % tarfile.RECORDSIZE == 0
    assert pythons == mine + bytes(len(pythons) - len(mine))
    assert mine.endswith(bytes(2 * BLOCK))


@settings(deadline=None, max_examples=25)
@given(members=MEMBERS)
@example(members=LARGE)
def test_gnu_tar_lists_and_extracts_the_members_without_a_warning(members: Members) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "a.tar", Path(folder) / "out"
        file.write_bytes(pack(members))
        out.mkdir()
        environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
        for command in (["tar", "tvf", file, "--numeric-owner"], ["tar", "xf", file, "-C", out]):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            assert done.stderr == ""
            if "tvf" in command:
                listed = [line.split() for line in done.stdout.splitlines()]
        assert listed == [
            ["-rw-r--r--", "0/0", str(len(payload)), "1970-01-01", "00:00", name] for name, payload in members.items()
        ]
        assert {path.name: path.read_bytes() for path in out.iterdir()} == members


@settings(deadline=None)
@given(name=KEYS, payload=PAYLOADS)
def test_a_members_header_is_plain_ustar_with_fixed_metadata(name: str, payload: bytes) -> None:
    packed = member(name.encode(), payload)
    header = packed[:BLOCK]
    assert len(packed) == BLOCK + -(-len(payload) // BLOCK) * BLOCK
    assert header[257:265] == b"ustar\x0000"
    info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    assert (info.name, info.size, info.type) == (name, len(payload), tarfile.REGTYPE)
    assert (info.mode, info.uid, info.gid, info.mtime) == (0o644, 0, 0, 0)
    assert (info.uname, info.gname, info.linkname, info.devmajor, info.devminor) == ("", "", "", 0, 0)


def test_a_name_that_is_not_ascii_is_not_written_as_something_else() -> None:
    with pytest.raises(UnicodeEncodeError):
        TarWriter(io.BytesIO()).add("é.png", b"")
