"""Reads Parquet files that someone else may have written.

A file of a few hundred bytes can decode to gigabytes, whatever its footer says. pyarrow can abort the process on a broken
footer. So the footer and the header of every page are read here first.

Source: Apache Software Foundation, "Parquet format", parquet.thrift; "Thrift compact protocol encoding".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fdsl.primitives.errors import InputError

_FREE_BYTES, _MAX_RATIO = 2**20, 256
"""A table may take _FREE_BYTES of memory, and _MAX_RATIO for each byte of its file."""

_VALUE_BYTES = 12
"""Size of a decoded number and its two levels of nesting."""

_MAGIC = b"PAR1"
_TEXT, _FIXED_TEXT = 6, 7
_PLAIN_OR_DICTIONARY = (0, 2, 8)
_DICTIONARY = 2
_PARTS = {0: (5, 2), _DICTIONARY: (7, 2), 3: (8, 4)}
"""For each kind of page: the field of its header that describes it, and the field of the encoding in that description."""

_TRUE, _FALSE, _INT8, _INT32, _INT64, _BYTES, _LIST, _STRUCT = 1, 2, 3, 5, 6, 8, 9, 12
"""Thrift's type numbers."""

Fields = dict[tuple[int, int], Any]
"""Fields of a struct by number and type."""

_UNREADABLE = (
    pa.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError,
)  # fmt: skip


class Unreadable(InputError):
    """Error of a Parquet file; its message lacks the file's name."""


class _ThriftReader:
    """Reads structs of Thrift's compact protocol.

    Knows the types that Parquet uses.
    """

    def __init__(self, content: bytes, at: int) -> None:
        self.content, self.at = content, at

    def _byte(self) -> int:
        self.at += 1
        return self.content[self.at - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number has no end")

    def _number(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def _value(self, kind: int) -> Any:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind == _INT8:
            return self._byte()
        if kind in (_INT32, _INT64):
            return self._number()
        if kind == _BYTES:
            n_bytes = self._varint()
            self.at += n_bytes
            return self.content[self.at - n_bytes : self.at]
        if kind == _LIST:
            return list(self._items())
        if kind == _STRUCT:
            return self.struct()
        raise ValueError(f"a field has type {kind}")

    def _items(self) -> Iterator[Any]:
        head = self._byte()
        kind, n_items = head & 15, self._varint() if head >> 4 == 15 else head >> 4
        if kind in (_TRUE, _FALSE):
            raise ValueError(f"a list has type {kind}")
        for _ in range(n_items):
            yield self._value(kind)

    def struct(self) -> Fields:
        """Return the fields of a struct."""
        fields: Fields = {}
        number = 0
        while head := self._byte():
            previous, number = number, number + (head >> 4) if head >> 4 else self._number()
            if not previous < number < 2**15:
                raise ValueError("a field is repeated")
            fields[number, head & 15] = self._value(head & 15)
        return fields


class _Column(NamedTuple):
    """A column of numbers or texts; a list's column holds its elements.

    Attributes
    ----------
    name : name of the table's column
    kind : number of the type of its values
    is_nested : whether the table's column holds lists
    """

    name: str
    kind: int
    is_nested: bool


def _footer(content: bytes) -> Fields:
    """Return the footer of a file."""
    n_bytes = int.from_bytes(content[-8:-4], "little")
    if content[-4:] != _MAGIC or not 0 < n_bytes < len(content) - 8:
        raise ValueError("it has no Parquet footer")
    return _ThriftReader(content, len(content) - 8 - n_bytes).struct()


def _columns(footer: Fields) -> list[_Column]:
    """Return the columns of a footer, in stored order."""
    root, *elements = footer[2, _LIST]
    columns, open_nodes, name = [], [root[5, _INT32]], ""
    for element in elements:
        while open_nodes and not open_nodes[-1]:
            open_nodes.pop()
        open_nodes[-1] -= 1
        if len(open_nodes) == 1:
            name = element[4, _BYTES].decode()
        if element.get((5, _INT32)):
            open_nodes.append(element[5, _INT32])
        else:
            columns.append(_Column(name, element[1, _INT32], len(open_nodes) > 1))
    return columns


def _pages(content: bytes, chunk: Fields) -> Iterator[tuple[int, int, int]]:
    """Yield size, number of values and encoding of each page.

    Stops at the page where pyarrow stops.
    """
    n_left, n_stored, start = chunk[5, _INT64], chunk[7, _INT64], chunk[9, _INT64]
    if 0 < chunk.get((11, _INT64), 0) < start:
        start = chunk[11, _INT64]
    reader, end = _ThriftReader(content, start), start + n_stored
    if not 0 < start <= end <= len(content):
        raise ValueError("a column is outside the file")
    while n_left > 0:
        header = reader.struct()
        kind, n_bytes, n_compressed = (header[number, _INT32] for number in (1, 2, 3))
        part, encoding = _PARTS[kind]
        n_values = header[part, _STRUCT][1, _INT32]
        reader.at += n_compressed
        if min(n_bytes, n_compressed, n_values) < 0 or reader.at > end:
            raise ValueError("a page is outside its column")
        n_left -= 0 if kind == _DICTIONARY else n_values
        yield n_bytes, n_values, header[part, _STRUCT][encoding, _INT32]


def _sizes(content: bytes, footer: Fields) -> Iterator[int]:
    """Yield how much memory each page of a file takes, decoded."""
    columns, n_stored = _columns(footer), 0
    for column in columns:
        if column.kind == _FIXED_TEXT or (column.kind == _TEXT and column.is_nested):
            raise ValueError(f"`{column.name}` is a list of texts, or its texts have a fixed length")
    for group in footer[4, _LIST]:
        for column, entry in zip(columns, group[1, _LIST], strict=True):
            chunk = entry[3, _STRUCT]
            n_stored += chunk[7, _INT64]
            if not 0 <= chunk[7, _INT64] <= n_stored <= len(content):
                raise ValueError("its columns overlap")
            for n_bytes, n_values, encoding in _pages(content, chunk):
                if column.kind == _TEXT and encoding not in _PLAIN_OR_DICTIONARY:
                    raise ValueError(f"`{column.name}` has encoding {encoding}")
                yield n_bytes + n_values * _VALUE_BYTES


def _check_size(content: bytes, footer: Fields, n_rows: int) -> None:
    """Raise ValueError if a table is too large.

    It has too many rows or takes too much memory.
    """
    if footer[3, _INT64] > n_rows:
        raise ValueError(f"it has {footer[3, _INT64]:,} rows; at most {n_rows:,} are allowed")
    n_decoded, most = 0, _most_bytes(content)
    for n_bytes in _sizes(content, footer):
        n_decoded += n_bytes
        if n_decoded > most:
            raise ValueError(f"its {len(content):,} bytes decode to more than {most:,}")


def _most_bytes(content: bytes) -> int:
    """Return how much memory a file's table may take."""
    return _FREE_BYTES + _MAX_RATIO * len(content)


def _expanded(column: pa.ChunkedArray, kind: pa.DataType, n_bytes: int) -> pa.ChunkedArray:
    """Return a column of texts that was read as a dictionary.

    Raises ValueError if its texts are too long.
    """
    lengths = [pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in column.chunks]
    if sum(pc.sum(of_chunk).as_py() or 0 for of_chunk in lengths) > n_bytes:
        raise ValueError(f"its texts have more than {n_bytes:,} bytes")
    return column.cast(column.type.value_type).cast(kind)


def _read(content: bytes, n_rows: int) -> pa.Table:
    footer = _footer(content)
    if footer[3, _INT64]:
        _check_size(content, footer, n_rows)
    schema = pq.ParquetFile(pa.BufferReader(content)).schema_arrow
    if not footer[3, _INT64]:
        return schema.empty_table()
    texts = [column.name for column in _columns(footer) if column.kind == _TEXT]
    table = pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts).read(use_threads=False)
    for k, field in enumerate(schema):
        if table.schema.field(k).type != field.type:
            table = table.set_column(k, field, _expanded(table.column(k), field.type, _most_bytes(content)))
    return table


def parse_parquet(content: bytes, n_rows: int) -> pa.Table:
    """Return the table in a Parquet file's bytes.

    The table takes at most 1 MiB, plus 256 bytes per byte of the file. Single-threaded: a pyarrow thread that is still ending
    at exit can abort the process.

    Parameters
    ----------
    n_rows : largest number of rows that is accepted

    Raises
    ------
    Unreadable
        Not a Parquet file, too many rows, or too large when decoded.
    """
    try:
        return _read(content, n_rows)
    except _UNREADABLE as error:
        raise Unreadable(f"is not a readable Parquet file: {error or type(error).__name__}") from None
