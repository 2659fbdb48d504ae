"""Compares the speed of the toolkit with the published procedure.

    .venv/bin/python benchmarks/bench.py            # all: about two minutes on one core; `make bench` runs this
    .venv/bin/python benchmarks/bench.py rcdb       # one family, or the search
    .venv/bin/python benchmarks/bench.py --check    # compares with the recorded ratios; `make bench-check` runs this

Prints tables and writes benchmarks/results/all.json, or rcdb.json and so on. --check writes nothing. Exits with 1 if a target
is missed, if the two sides do different work, or, with --check, if a ratio is more than a fifth below the recorded one.
README.md explains the numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import machine
from families import FamilyResult, measure_family
from outputs import PERFORMANCE, RESULTS, tar_folder, write_block
from report import family_lines, search_lines
from search import SearchResult, measure_search

from fdsl.dataset.families import FAMILIES

Result = FamilyResult | SearchResult

SEARCH = "search"
_DIGITS = 6
_LEAST_SHARE = 0.8


def measure(name: str) -> Result:
    """Measure a family, or the search."""
    if name == SEARCH:
        return measure_search()
    with tempfile.TemporaryDirectory(prefix="fdsl-bench-", dir=tar_folder()[0]) as folder:
        return measure_family(name, Path(folder))


def figures(result: Result) -> dict[str, float]:
    """Return ratios that are similar on any machine; more is better."""
    if isinstance(result, SearchResult):
        return {"published / ours, per candidate": result.ratio.median}
    ratios = {"published / whole shard": result.ratio.median} if result.ratio else {}
    if result.shared_ratio:
        ratios["published, views of one cloud / whole shard"] = result.shared_ratio.median
    if result.t1_us is not None:
        return {**ratios, "T1 / whole shard": result.t1_us / result.shard_us}
    return {**ratios, "E / whole shard": result.e_us / result.shard_us}


def passes(result: Result) -> bool:
    """Return whether targets and agreement are met, if there are any."""
    ratios = [result.ratio] if isinstance(result, SearchResult) else [result.ratio, result.shared_ratio]
    return all(ratio is None or ratio.is_met for ratio in ratios) and (
        result.agreement is None or result.agreement.is_same
    )


def regressions(results: dict[str, Result], recorded: dict[str, Any]) -> Iterator[str]:
    """Yield a line per ratio far below the recorded one."""
    for name, result in results.items():
        for figure, ratio in figures(result).items():
            before = recorded.get(name, {"figures": {}})["figures"].get(figure, 0.0)
            if ratio < _LEAST_SHARE * before:
                yield f"{name}: {figure} is {ratio:.3g}; recorded was {before:.3g}"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, _DIGITS) if isinstance(value, float) else value


def write_results(name: str, results: dict[str, Result]) -> None:
    """Write measurements and machine as JSON."""
    path = RESULTS / f"{name}.json"
    records = {key: _rounded({**asdict(result), "figures": figures(result)}) for key, result in results.items()}
    content = {"measured": name, "machine": machine.describe(), "tars": tar_folder()[1], "results": records}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote {path}")


def _recorded(name: str) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())["results"]
    return results


def _measure_all(names: Sequence[str]) -> tuple[dict[str, Result], list[str]]:
    """Measure, and print each table; return results and lines."""
    here, first = machine.describe(), _recorded("first")
    lines = [
        f"{here['cpu']}, {here['cores']} cores, {here['platform']}, Python {here['python']}; tars on {tar_folder()[1]}",
        "CPU time of one process, medians of rounds in which both sides take turns",
    ]
    print(*lines, sep="\n", flush=True)
    results: dict[str, Result] = {}
    for name in names:
        result = results[name] = measure(name)
        before = first.get(name, {})
        table = family_lines(result, before) if isinstance(result, FamilyResult) else search_lines(result, before)
        new_lines = ["", *table]
        print(*new_lines, sep="\n", flush=True)
        lines += new_lines
    return results, lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", nargs="?", default="all", choices=[*FAMILIES, SEARCH, "all"])
    parser.add_argument("--check", action="store_true", help="compare with the recorded ratios; write nothing")
    options = parser.parse_args(arguments)
    results, lines = _measure_all([*FAMILIES, SEARCH] if options.name == "all" else [options.name])
    failed = [name for name, result in results.items() if not passes(result)]
    print("\nFAIL: " + ", ".join(failed) if failed else "\nall targets met")
    if options.check:
        slower = list(regressions(results, _recorded("all")))
        lines = [f"FAIL: {line}" for line in slower]
        print(*(lines or ["no ratio is more than a fifth below the recorded one"]), sep="\n")
        return 1 if failed or slower else 0
    write_results(options.name, results)
    if options.name == "all":
        write_block(PERFORMANCE, "bench", lines)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
