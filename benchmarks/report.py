"""Tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from families import FamilyResult
from measures import Agreement, Ratio
from published import N_VIEWS
from search import SearchResult

from fdsl.dataset.families import FAMILIES

N_IMAGES = 21_000_000
"""21,000 categories with 1,000 images each."""


def _row(label: str, us: float, note: str = "") -> str:
    return f"  {label:<44}{us:>12,.1f}  {note}".rstrip()


def _share(us: float, whole_us: float) -> str:
    return f"{us / whole_us:5.0%}"


def _at_first(us: float | None) -> str:
    return f"{'':8}" if us is None else f"{us:8,.1f}"


def _ratio(label: str, ratio: Ratio) -> str:
    verdict = "pass" if ratio.is_met else "FAIL"
    return (
        f"  {label:<44}{ratio.median:>11,.1f}x  ({ratio.low:,.1f} to {ratio.high:,.1f} in the rounds)"
        f"  target >= {ratio.target:g}x: {verdict}"
    )


def _agreement(agreement: Agreement) -> str:
    verdict = "pass" if agreement.is_same else "FAIL"
    return (
        f"  same work: {agreement.quantity}: ours {agreement.ours:.5f}, published {agreement.published:.5f},"
        f" {agreement.standard_errors:+.1f} standard errors: {verdict}"
    )


def family_lines(result: FamilyResult, first: dict[str, Any]) -> Iterator[str]:
    """Yield the table of a family.

    Parameters
    ----------
    first : the family's times before anything was tuned; empty if there are none
    """
    whole_us, first_us = result.shard_us, first.get("stages_us", {})
    title = FAMILIES[result.family].TITLE
    yield f"{title}, {result.size_px} px: {result.categories} categories x {result.rounds} images"
    yield f"  {'stage':<44}{'us/image':>12}  share  at first"
    for stage, us in result.stages_us.items():
        yield _row(stage, us, f"{_share(us, whole_us)}  {_at_first(first_us.get(stage))}")
    rate = f"{1e6 / whole_us:,.0f} images/s per core"
    yield _row("whole shard", whole_us, f"{1:5.0%}  {_at_first(first.get('shard_us'))}  {rate}")
    if result.published_us is not None and result.ratio is not None:
        yield _row(
            "published procedure", result.published_us, f"       {1e6 / result.published_us:,.0f} images/s per core"
        )
        yield _ratio("published procedure / whole shard", result.ratio)
    if result.shared_us is not None and result.shared_ratio is not None:
        yield _row(f"published procedure, {N_VIEWS} views per cloud", result.shared_us)
        yield _ratio("... / whole shard", result.shared_ratio)
    if result.t1_us is not None:
        yield _row(
            "T1: plainest chaos game, 10,000 points", result.t1_us, f"whole shard = {whole_us / result.t1_us:.2f} T1"
        )
    yield _row("E: rows deflated, ISA-L level 1", result.e_us, f"whole shard = {whole_us / result.e_us:.2f} E")
    yield f"  {'PNG':<44}{'bytes/image':>12}"
    for encoder, n_bytes in result.bytes.items():
        yield f"  {encoder:<44}{n_bytes:>12,.0f}"
    hours = [f"{N_IMAGES * whole_us / 3.6e9:,.1f} core-hours"]
    hours += [f"published {N_IMAGES * result.published_us / 3.6e9:,.0f}"] if result.published_us else []
    size = f"{N_IMAGES * result.disk_bytes / 1e9:,.0f} GB of shards"
    yield f"  {N_IMAGES:,} images on such cores: {', '.join(hours)}; {size}"
    if result.agreement is not None:
        yield _agreement(result.agreement)


def search_lines(result: SearchResult, first: dict[str, Any]) -> Iterator[str]:
    """Yield the table of the search; `first` as in `family_lines`."""
    yield f"ExFractalDB, search: {result.candidates:,} candidates; and the whole search for {result.categories} categories"
    yield f"  {'':<44}{'us':>12}         at first"
    yield _row("per candidate", result.candidate_us, f"{'':5}  {_at_first(first['candidate_us'])}")
    yield _row("per candidate, published search", result.published_candidate_us)
    yield _ratio("published / ours, per candidate", result.ratio)
    acceptance = f"acceptance {result.acceptance:.2%}"
    yield _row("per accepted category", result.category_us, f"{'':5}  {_at_first(first['category_us'])}  {acceptance}")
    yield _row("per accepted category, published search", result.published_category_us)
    yield f"  {'published / ours, per accepted category':<44}{result.category_ratio:>11,.1f}x"
    yield f"  {'21,000 categories':<44}{21_000 * result.category_us / 1e6:>11,.0f} s of one core"
    yield _agreement(result.agreement)
