"""Hostile data runs nothing and takes bounded memory."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from webdataset import gopen

from tests.processes import PATIENCE_S, descendants, kill_all
from tests.trainer.conftest import ROOT, edit_info, picture, write_dataset
from tests.trainer.runs import LITTLE, command, start
from tests.trainer.test_stream import as_it_is, opened, read_through
from trainer import checkpoint, data, images
from trainer.batches import Batches
from trainer.data import Folder
from trainer.errors import InputError
from trainer.images import EvalTransform
from trainer.info import LARGEST_INFO, read_split
from trainer.recipe import Recipe
from trainer.tars import build_index

MB = 1 << 20


@contextlib.contextmanager
def memory_below(n_mb: int) -> Iterator[None]:
    """Assert that a block's memory stays bounded.

    Far more is a MemoryError.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("memory is measured on Linux only")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, limits = status_kb(status, "VmHWM"), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (status_kb(status, "VmSize") * 1024 + 1024 * MB, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert status_kb(status, "VmHWM") - before < n_mb * 1024


def status_kb(status: Path, name: str) -> int:
    return int(re.search(rf"{name}:\s+(\d+)", status.read_text())[1])  # type: ignore[index]


NAMES = [
    "x.tar; touch P",
    "$(touch P).tar",
    "`touch P`",
    "x\ntouch P",
    "x' ; touch P; '",
    'x" ; touch P; "',
    "|touch P",
]
COMMANDS = [
    "pipe:cat {folder}/{{}}",
    'pipe:cat "{folder}/{{}}"',
    "pipe:cat '{folder}/{{}}'",
    'pipe:sh -c "cat {folder}/{{}}"',
]


def test_file_names_run_no_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are refused that do harm in a shell."""
    monkeypatch.chdir(tmp_path)
    folder, harmful = write_dataset(tmp_path / "data", [2], [1]), 0
    for place in (each.format(folder=folder) for each in COMMANDS):
        for name in NAMES:
            split = {"filenames": [name], "shard_lengths": [2], "num_samples": 2}
            edit_info(folder, splits={"train": split})
            with pytest.raises(InputError, match=r"`splits\.train\.filenames\.0` .*: String should match pattern"):
                read_through(place)
            assert not Path("P").exists()
            subprocess.run(["sh", "-c", place[5:].replace("{}", name)], capture_output=True, check=False)
            harmful += Path("P").exists()
            Path("P").unlink(missing_ok=True)
    assert harmful > 10


@pytest.mark.parametrize("scheme", ["gs", "sftp", "scp", "ftps", "http", "ais"])
def test_webdataset_starts_no_shell(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its releases before 1.0 do for some URLs."""
    for program in ("gsutil", "curl", "ais"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(ValueError), gopen(f"{scheme}://a/b';touch P;'") as file:
        file.read()
    assert not Path("P").exists()


@pytest.mark.parametrize("way", ["{}", "pipe:cat {}/{{}}"])
def test_an_endless_info_is_refused(way: str, small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    os.truncate(folder / "_info.json", 1 << 40)
    rule = f"cannot be read: it has more than the {LARGEST_INFO:,} bytes"
    with memory_below(100), pytest.raises(InputError, match=rule):
        read_split(way.format(folder), "train")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def zeros(n_mb: int) -> bytes:
    """Return a zlib stream of zeros, a thousandth as long: pieces of 16 MB, an empty last one, the checksum."""
    deflate = zlib.compressobj(9, wbits=-15)
    piece = deflate.compress(bytes(16 * MB)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\xda" + piece * (n_mb // 16) + b"\3\0" + struct.pack(">HH", n_mb * MB % 65521, 1)


def bomb(width: int = 32, height: int = 32, n_mb: int = 16, kind: int = 0) -> bytes:
    """Return a PNG whose rows inflate to `n_mb` MB."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zeros(n_mb)) + chunk(b"IEND", b"")


def test_zeros_are_a_zlib_stream() -> None:
    assert zlib.decompress(zeros(32)) == bytes(32 * MB)


@pytest.mark.parametrize("kind", [0, 2])
def test_a_small_image_inflates_to_its_size(kind: int) -> None:
    """Grey images by ISA-L, then by Pillow; coloured ones by Pillow."""
    content = bomb(n_mb=4096, kind=kind)
    assert len(content) < 5 * MB
    with memory_below(60):
        assert images._decode_unfiltered(content) is None
        assert not images.decode(content).any()


@pytest.mark.parametrize(("width", "height"), [(0, 1 << 31), (1 << 31, 0), (1 << 30, 1 << 30)])
def test_impossible_image_sizes_are_refused(width: int, height: int) -> None:
    with memory_below(60), pytest.raises(InputError, match="cannot be decoded"):
        images.load((bomb(width, height), 0, "this", 0, 0), as_it_is, 0)


def test_text_chunks_inflate_to_little() -> None:
    text = chunk(b"zTXt", b"a\0\0" + zeros(4096))
    content = picture(0, 0)
    with memory_below(60), pytest.raises(InputError, match="cannot be decoded"):
        images.load((content[:33] + text + content[33:], 0, "this", 0, 0), as_it_is, 0)


def test_a_strip_takes_no_memory_to_validate() -> None:
    with memory_below(100):
        for shape in ((1, MB, 1), (MB, 1, 1)):
            assert EvalTransform(Recipe(size=32))(np.zeros(shape, dtype=np.uint8)).shape == (32, 32, 1)


def test_other_formats_than_images_are_not_decoded() -> None:
    """Pillow would start ghostscript for this one."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "EPS")
    with pytest.raises(InputError, match="this cannot be decoded: cannot identify image file"):
        images.load((file.getvalue(), 0, "this", 0, 0), as_it_is, 0)


def with_header(folder: Path, start: int, field: bytes) -> None:
    """Write a field of the first tar's first header."""
    content = bytearray((folder / "train-000000.tar").read_bytes())
    content[start : start + len(field)] = field
    (folder / "train-000000.tar").write_bytes(content)


HEADERS = {
    "negative": (124, b"-0000001000\0", "no tar header at byte 0"),
    "binary": (124, b"\x80\0\0\0\0\0\0\0\0\0\2\0", "no tar header at byte 0"),
    "words": (124, b"0_0 0000100\0", "no tar header at byte 0"),
    "beyond": (124, b"77777777777\0", "has 8,589,934,591 bytes, an image may have 67,108,864"),
    "PAX": (156, b"x", "holds 39 samples|: 39 of 40 samples could be read in 5 tries"),
    "GNU name": (156, b"L", "the header at byte 512 changes a name or size"),
    "sparse": (156, b"S", "the header at byte 512 changes a name or size"),
}


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("way", ["disk", "pipe"])
def test_odd_tar_headers_end_in_one_line(kind: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A size below zero would lead back to the same header."""
    n_reads, pread = itertools.count(), os.pread

    def read_few(*arguments: int) -> bytes:
        assert next(n_reads) < 1000, "the tar is read without end"
        return pread(*arguments)

    monkeypatch.setattr(os, "pread", read_few)
    monkeypatch.setattr(data, "sleep", lambda seconds: None)
    folder = write_dataset(tmp_path / "data", [40], [1])
    start, field, rule = HEADERS[kind]
    with_header(folder, start, field)
    with pytest.raises(InputError, match=rule):
        read_all(folder if way == "disk" else f"pipe:cat {folder}/{{}}", 40, tmp_path)


def read_all(place: object, n: int, cache: Path) -> None:
    """Index a split, or read it from a URL."""
    if isinstance(place, Path):
        build_index(read_split(str(place), "train"), cache)
        return
    batches = Batches(n, 8, shuffle=False)
    stream = iter(opened(place, batches))
    for _ in range(min(batches.steps, 9)):
        next(stream)


@pytest.mark.parametrize(
    ("record", "is_read"),
    [
        (b"12 mtime=1.5\n", True),
        (b"13 size=9999\n", False),
        (b"9 path=x\n", False),
        (b"65010 comment=" + b"9" * 64_995 + b"\n", True),
        (b"66015 comment=" + b"9" * 66_000 + b"\n", False),
    ],
    ids=lambda value: str(value)[:20],
)
def test_pax_headers_change_no_sizes_or_names(record: bytes, is_read: bool, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", [2], [1])
    content = (folder / "train-000000.tar").read_bytes()
    header = bytearray(content[:512])
    header[124:136], header[156:157] = f"{len(record):011o}\0".encode(), b"x"
    (folder / "train-000000.tar").write_bytes(bytes(header) + record + bytes(-len(record) % 512) + content)
    if is_read:
        assert np.load(build_index(read_split(str(folder), "train"), tmp_path)).shape == (2, 4)
    else:
        with pytest.raises(InputError, match="changes a name or size"):
            build_index(read_split(str(folder), "train"), tmp_path)


def test_large_images_and_labels_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").touch()
    os.truncate(tmp_path / "a" / "0.png", 1 << 40)
    with memory_below(200):
        with pytest.raises(InputError, match=r"0\.png` has more than the 67,108,864 bytes"):
            Folder(tmp_path, as_it_is, 0)[0]
        with pytest.raises(InputError, match="must be a whole number below 4"):
            images.parse_label(b"1" * 5_000, "x", 4)


@pytest.mark.parametrize("n", [10**30, 10**10])
def test_claimed_samples_take_no_memory(n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "sleep", lambda seconds: None)
    folder = write_dataset(tmp_path / "data", [4], [1])
    edit_info(folder, splits={"train": {"filenames": ["train-000000.tar"], "shard_lengths": [n], "num_samples": n}})
    with memory_below(60):
        for place in (folder, f"pipe:cat {folder}/{{}}"):
            with pytest.raises(InputError, match=r"or equal to 10000000000|holds 4 samples|could be read in 5 tries"):
                read_all(place, n, tmp_path)


def test_checkpoints_inflate_nothing(tmp_path: Path) -> None:
    path, packed = tmp_path / "x.pt", tmp_path / "packed.pt"
    torch.save({"state_dict": {"x": torch.zeros(64 * MB)}}, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for part in old.infolist():
            new.writestr(part.filename, old.read(part))
    with memory_below(60), pytest.raises(InputError, match="is not a checkpoint of this trainer"):
        checkpoint.load(packed)


@pytest.mark.parametrize("plain", [{"x": "x" * (17 * MB)}, {"x": bytearray(9)}])
def test_plain_parts_are_bounded(plain: dict[str, object], tmp_path: Path) -> None:
    torch.save({"state_dict": {"x": torch.zeros(1)}, **plain}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="is not a checkpoint of this trainer"):
        checkpoint.load(tmp_path / "x.pt")


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_endless_checkpoints_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, 1 << 40)
    with memory_below(60), pytest.raises(InputError, match="is not a checkpoint of this trainer"):
        checkpoint.load(tmp_path / name)


def test_six_hundred_shards_need_few_files(tmp_path: Path) -> None:
    limited = ["bash", "-c", 'ulimit -n 256; exec "$@"', "bash"]
    code = "from trainer.data import N_OPEN; print(N_OPEN)"
    done = subprocess.run([*limited, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "64\n"
    folder = write_dataset(tmp_path / "data", [1] * 600, [1] * 300)
    arguments = command("--data", folder, "--out", tmp_path / "run", "--epochs", "1", *LITTLE, "--batch", "60")
    process = start([*limited, *arguments])
    try:
        _, text = process.communicate(timeout=PATIENCE_S)
    finally:
        kill_all({process.pid, *descendants(process.pid)})
    assert process.returncode == 0, text
    assert (tmp_path / "run" / "model.safetensors").exists()
