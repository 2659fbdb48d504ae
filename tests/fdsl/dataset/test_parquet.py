"""Parquet files decode to bounded memory, whatever their metadata claims."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdsl.dataset.parquet import Unreadable, parse_parquet

N = 1000
LISTS = pa.array([[[0.5] * 12] * 3, []] * (N // 2), pa.list_(pa.list_(pa.float64())))
TABLE = pa.table(
    {
        "key": [f"{k:06}" for k in range(N)],
        "long": pa.array(["a", "b"] * (N // 2), pa.large_string()),
        "dictionary": pa.array(["a", "b"] * (N // 2)).dictionary_encode(),
        "number": pa.array([None, 1] * (N // 2), pa.int16()),
        "real": [k / 7 for k in range(N)],
        "flag": [True, False] * (N // 2),
        "nothing": pa.nulls(N, pa.float64()),
        "maps": LISTS,
    }
).replace_schema_metadata({"a": "b"})


def written(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **{"compression": "zstd", **options})
    return file.getvalue()


def varint(number: int, n_bytes: int = 0) -> bytes:
    """Return a number as Thrift writes it, padded with redundant zeros."""
    digits, rest = [], 2 * number
    while rest or len(digits) < n_bytes or not digits:
        digits.append(rest & 127 | 128)
        rest >>= 7
    return bytes([*digits[:-1], digits[-1] & 127])


def with_lie(content: bytes, true: int, claimed: int) -> bytes:
    """Replace a number in a footer."""
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    old = varint(true)
    assert old in content[start:]
    return content[:start] + content[start:].replace(old, varint(claimed, len(old)))


@pytest.mark.parametrize(
    "options",
    [
        {}, {"compression": "none"}, {"compression": "snappy"}, {"use_dictionary": False}, {"data_page_version": "2.0"},
        {"row_group_size": 10}, {"data_page_size": 100}, {"write_page_index": True}, {"store_schema": False},
        {"write_statistics": False}, {"version": "1.0"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("n_rows", [N, 1, 0])
def test_table_is_read_as_pyarrow_reads_it(options: dict[str, Any], n_rows: int) -> None:
    content = written(TABLE.slice(0, n_rows), **options)
    table = parse_parquet(content, n_rows)
    table.validate(full=True)
    assert table.equals(pq.read_table(io.BytesIO(content), use_threads=False), check_metadata=True)


def test_table_of_many_equal_rows_is_read() -> None:
    n = 300_000
    table = pa.table({"key": [f"{k:06}" for k in range(n)], **{f"c{k}": np.full(n, 0.5) for k in range(9)}})
    assert parse_parquet(written(table), n).equals(table)


LARGE = {
    "rows": (pa.table({"x": np.zeros(10**6, dtype=np.int64)}), "has 1,000,000 rows; at most 1,000 are allowed"),
    "a list": (pa.table({"x": [np.zeros(10**6)]}), "decode to more than"),
    "a text": (pa.table({"x": ["x" * 10**7]}), "decode to more than"),
    "a text that stands often": (pa.table({"x": ["x" * 10**5] * N}), "its texts have more than"),
    "texts of one length": (pa.table({"x": pa.array([b"x" * 10**5] * N, pa.binary(10**5))}), "have a fixed length"),
    "lists of texts": (pa.table({"x": [["x" * 10**5]] * N}), "`x` is a list of texts"),
}


@pytest.mark.parametrize("name", LARGE)
def test_small_file_of_a_large_table_is_refused(name: str) -> None:
    table, reason = LARGE[name]
    content = written(table)
    assert len(content) < 10_000
    with pytest.raises(Unreadable, match=reason):
        parse_parquet(content, N)


def test_text_that_repeats_its_predecessor_is_refused() -> None:
    table = pa.table({"x": ["x" * 10**5 + str(k) for k in range(N)]})
    content = written(table, use_dictionary=False, column_encoding={"x": "DELTA_BYTE_ARRAY"})
    with pytest.raises(Unreadable, match="`x` has encoding 7"):
        parse_parquet(content, N)


def test_footer_that_lies_is_not_believed() -> None:
    lists = with_lie(written(pa.table({"x": [np.zeros(10**6)]})), 10**6, 1)
    text = written(pa.table({"x": ["x" * 10**7]}))
    n_bytes = pq.read_metadata(io.BytesIO(text)).row_group(0).column(0).total_uncompressed_size
    for content in (lists, with_lie(text, n_bytes, 9)):
        with pytest.raises(Unreadable, match="decode to more than"):
            parse_parquet(content, N)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 5, b"PAR1" + bytes(9) + b"PAR1", b"x" * 100])
def test_other_file_is_refused(content: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^is not a readable Parquet file: "):
        parse_parquet(content, N)


def test_damaged_footer_never_ends_the_process() -> None:
    """pyarrow's footer properties can do so, by a C++ exception."""
    content = written(TABLE.slice(0, 20))
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    rng, n_refused = random.Random(0), 0
    for _ in range(3000):
        damaged = bytearray(content)
        for _ in range(rng.choice((1, 1, 3))):
            damaged[rng.randrange(start, len(content))] = rng.randrange(256)
        try:
            parse_parquet(bytes(damaged), N)
        except Unreadable:
            n_refused += 1
    assert n_refused > 1000
