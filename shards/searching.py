"""Searches for categories, in parallel."""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fdsl.dataset.categories import numbered
from fdsl.dataset.dataset import require_spec
from fdsl.dataset.families import FAMILIES
from fdsl.dataset.spec import Spec
from fdsl.primitives.errors import InputError
from shards.events import Advanced, Finished, Listener, Started, ignore
from shards.executors.contract import Executor, Failed, Outcomes, require_executor
from shards.executors.local import LocalExecutor
from shards.executors.signals import uninterrupted

_CHUNK = 256
"""Attempts per task: a worker answers within tens of milliseconds."""

_MAX_ATTEMPTS = 1024 * _CHUNK
"""Candidates per category, on average, after which the search gives up."""


@dataclass(frozen=True)
class SearchResult:
    """A categories table and the cost of finding it.

    Attributes
    ----------
    table : the family's SCHEMA, one row per category
    n_tried : candidates up to and including the last accepted one
    """

    table: pa.Table
    n_tried: int

    @property
    def acceptance(self) -> float:
        """Share of candidates that became categories, 0..1."""
        return len(self.table) / self.n_tried


@dataclass(frozen=True)
class _SampleChunk:
    """Task of one worker: sample some attempts."""

    family: str
    params: Any
    seed: int

    def __call__(self, attempts: range) -> pa.Table:
        return FAMILIES[self.family].sample(self.params, self.seed, attempts)


def search_categories(spec: Spec, executor: Executor | None = None, listener: Listener = ignore) -> SearchResult:
    """Return the first `spec.categories` different categories.

    They are in the order of their attempts, whatever the executor.

    Parameters
    ----------
    executor : this process by default

    Raises
    ------
    InputError
        `spec.params` accept too few candidates.
    """
    require_spec(spec)
    executor = LocalExecutor(1) if executor is None else executor
    require_executor(executor)
    with uninterrupted():
        spec.family_module.compile_kernels()
    listener(Started("search", spec.name, "categories", spec.categories))
    chunks = (range(first, first + _CHUNK) for first in itertools.count(0, _CHUNK))
    outcomes = executor.run(_SampleChunk(spec.family, spec.params, spec.seed), chunks)
    with closing(_in_order(outcomes)) as tables:
        parts = _first_distinct(tables, spec.categories, listener)
    listener(Finished("search"))
    table = pa.concat_tables(parts)
    return SearchResult(numbered(table, spec.family), table.column("attempt")[-1].as_py() + 1)


def search_table(spec: Spec, executor: Executor, listener: Listener) -> pa.Table:
    """Return the table of a search."""
    return search_categories(spec, executor, listener).table


def _in_order(outcomes: Outcomes[range, pa.Table]) -> Generator[pa.Table, None, None]:
    """Yield the tables of chunks in the chunks' order."""
    early: dict[int, pa.Table] = {}
    first = 0
    with closing(outcomes):
        for outcome in outcomes:
            if isinstance(outcome, Failed):
                raise outcome.error
            early[outcome.item.start] = outcome.result
            while first in early:
                yield early.pop(first)
                first += _CHUNK


def _first_distinct(tables: Iterator[pa.Table], n_wanted: int, listener: Listener) -> list[pa.Table]:
    """Return tables of the first `n_wanted` different categories together."""
    seen: set[str] = set()
    parts: list[pa.Table] = []
    n_found = 0
    for n_chunks, table in enumerate(tables, 1):
        rows = _new_rows(table, seen)[: n_wanted - n_found]
        parts.append(table.take(pa.array(rows, pa.int64())))
        n_found += len(rows)
        listener(Advanced(len(rows), "categories"))
        if n_found == n_wanted:
            break
        n_tried = n_chunks * _CHUNK
        if n_tried >= _MAX_ATTEMPTS * (n_found + 1):
            raise InputError(
                f"only {n_found:,} of {n_tried:,} candidates passed; relax `params` to find {n_wanted:,} `categories`"
            )
    return parts


def _new_rows(table: pa.Table, seen: set[str]) -> list[int]:
    """Return the rows whose parameters are not in `seen`, and add them."""
    rows = []
    for k, row in enumerate(table.drop_columns(["category", "attempt"]).to_pylist()):
        text = json.dumps(row)
        if text not in seen:
            seen.add(text)
            rows.append(k)
    return rows
