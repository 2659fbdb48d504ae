"""Receipts: what they hold, and what is no receipt."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsl import InputError
from fdsl.dataset.plan import Shard
from shards.receipts import Receipt, parse_receipt
from tests.shards.conftest import NAME, shards_of
from tests.shards.disk import OnDisk
from tests.shards.harm import edit_json

RECEIPT = Receipt(
    shard="train-000000.tar",
    split="train",
    samples=6,
    bytes=13_312,
    sha256="a" * 64,
    samples_sha256="b" * 64,
    spec="c" * 64,
)
COUNTS = st.integers(0, 2**63 - 1)
SHA256 = st.binary(min_size=32, max_size=32).map(bytes.hex)
MD5 = st.none() | st.binary(min_size=16, max_size=16).map(bytes.hex)


def write(path: Path, **changes: Any) -> Path:
    """Write a receipt with some keys changed; None deletes a key."""
    path.write_text(RECEIPT.to_json())
    edit_json(path, **changes)
    path.write_text(
        json.dumps({key: value for key, value in json.loads(path.read_text()).items() if value is not None})
    )
    return path


@settings(deadline=None)
@given(n_samples=COUNTS, n_bytes=COUNTS, sha256=SHA256, md5=MD5)
def test_round_trip(
    n_samples: int, n_bytes: int, sha256: str, md5: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    receipt = RECEIPT.model_copy(update={"samples": n_samples, "bytes": n_bytes, "sha256": sha256, "md5": md5})
    path = tmp_path_factory.getbasetemp() / "receipt.json"
    path.write_text(receipt.to_json())
    assert parse_receipt(path.read_bytes(), str(path)) == receipt
    assert parse_receipt(path.read_bytes(), str(path)).to_json() == path.read_text()


def test_new_receipt_has_no_md5(copy: OnDisk, shard: Shard) -> None:
    content = json.loads(copy.receipt(shard).read_text())
    tar = copy.tar(shard).read_bytes()
    assert content == {
        "shard": f"{NAME}.tar",
        "split": "train",
        "samples": shard.n_samples,
        "bytes": len(tar),
        "sha256": hashlib.sha256(tar).hexdigest(),
        "samples_sha256": hashlib.sha256(copy.samples(shard).read_bytes()).hexdigest(),
        "spec": copy.dataset.hash,
    }
    assert list(content) == [name for name in Receipt.model_fields if name != "md5"]


def test_older_receipt_with_md5_round_trip(tmp_path: Path) -> None:
    receipt = RECEIPT.model_copy(update={"md5": "d" * 32})
    path = tmp_path / "receipt.json"
    path.write_text(receipt.to_json())
    assert list(json.loads(path.read_text())) == list(Receipt.model_fields)
    assert parse_receipt(path.read_bytes(), str(path)) == receipt


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("shard", "../evil.tar", "`shard`"),
        ("shard", None, "`shard` is missing from the receipt"),
        ("split", "test", "`split` (='test') must be one of train, validation"),
        ("samples", "7", "`samples` (='7') must be a whole number; write 7"),
        ("samples", True, "`samples` (=True) must be a whole number"),
        ("samples", 7.0, "`samples` (=7.0) must be a whole number"),
        ("samples", -1, "`samples` (=-1) must be at least 0"),
        ("bytes", 2**63, "`bytes` (=9223372036854775808) must be at most 9,223,372,036,854,775,807"),
        ("sha256", "A" * 64, "`sha256`"),
        ("sha256", "a" * 63, "`sha256`"),
        ("samples_sha256", 5, "`samples_sha256` (=5) must be text"),
        ("md5", "0" * 31, "`md5`"),
        ("spec", None, "`spec` is missing from the receipt"),
        ("note", "mine", "`note` (='mine') is not a key of the receipt"),
    ],
)
def test_wrong_value_is_named(key: str, value: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "receipt.json", **{key: value})
    with pytest.raises(InputError) as error:
        parse_receipt(path.read_bytes(), str(path))
    assert str(error.value).startswith(f"`{path}` is not a readable receipt: {message}")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 4000])
def test_file_that_is_no_receipt_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"`{path}` is not a readable receipt: "):
        parse_receipt(path.read_bytes(), str(path))


def test_missing_receipt_is_none(copy: OnDisk, shard: Shard) -> None:
    copy.receipt(shard).unlink()
    assert copy.read_receipt(shard) is None


@pytest.mark.usefixtures("time_limit")
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_receipt_that_is_no_file_is_refused(make: Any, copy: OnDisk, shard: Shard) -> None:
    copy.receipt(shard).unlink()
    make(copy.receipt(shard))
    with pytest.raises(InputError, match="is not a regular file; remove it"):
        copy.read_receipt(shard)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shard": "train-000004.tar"}, "names train-000004.tar, train"),
        ({"split": "validation"}, f"names {NAME}.tar, validation"),
        ({"samples": 5}, "5 samples, not "),
        ({"spec": "0" * 64}, f"belongs to another dataset: `spec` is {'0' * 64}, not "),
    ],
)
def test_receipt_of_another_shard_is_refused(changes: dict[str, Any], message: str, copy: OnDisk, shard: Shard) -> None:
    edit_json(copy.receipt(shard), **changes)
    with pytest.raises(InputError, match=message):
        copy.read_receipt(shard)
    assert not copy.finished(shard)


def test_done_shard_has_receipt_and_all_bytes(copy: OnDisk, shard: Shard) -> None:
    assert copy.finished(shard)
    with copy.tar(shard).open("ab") as file:
        file.write(b"x")
    assert not copy.finished(shard)
    other = shards_of(copy)["validation-000001"]
    copy.samples(other).unlink()
    assert not copy.finished(other)
