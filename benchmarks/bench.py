"""Measure the speed of the toolkit against the published procedure, and whether it is what it must be.

    .venv/bin/python benchmarks/bench.py            # all: about a minute on one core; `make bench` runs this
    .venv/bin/python benchmarks/bench.py rcdb       # one of exfractal, rcdb, search
    .venv/bin/python benchmarks/bench.py --check    # compares with the recorded ratios; `make bench-check` runs this

Prints a table for each and writes benchmarks/results/all.json, or exfractal.json and so on; --check writes nothing. Exits
with 1 if a target is missed, if the two sides turn out not to do the same work, or if, with --check, a ratio is more than a
fifth below the recorded one. README.md says what the numbers mean.
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
from outputs import PERFORMANCE, RESULTS, say_on_page, tar_folder
from report import family_lines, search_lines
from search import SearchResult, measure_search

Result = FamilyResult | SearchResult

TARGETS = {"exfractal": 180.0, "rcdb": 40.0, "search": 280.0}
"""The ratio to the published procedure that each must reach: per image, per image, per candidate; below what is measured by
as much as a busy machine may take away."""

_DIGITS = 3
_LEAST_SHARE = 0.8


def measure(name: str) -> Result:
    """Measure one of TARGETS."""
    if name == "search":
        return measure_search(TARGETS[name])
    with tempfile.TemporaryDirectory(prefix="fdsl-bench-", dir=tar_folder()[0]) as folder:
        return measure_family(name, TARGETS[name], Path(folder))


def figures(result: Result) -> dict[str, float]:
    """Return the ratios that any machine should give about alike; the more the better."""
    if isinstance(result, SearchResult):
        return {"published / ours, per candidate": result.ratio.median}
    limits = {"T1 / whole shard": result.t1_us, "E / whole shard": result.e_us if result.t1_us is None else None}
    return {
        "published / whole shard": result.ratio.median,
        **{name: us / result.shard_us for name, us in limits.items() if us is not None},
    }


def regressions(results: dict[str, Result], recorded: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each ratio that is more than a fifth below the recorded one."""
    for name, result in results.items():
        for figure, now in figures(result).items():
            before = recorded[name]["figures"][figure]
            if now < _LEAST_SHARE * before:
                yield f"{name}: {figure} is {now:.3g}; recorded was {before:.3g}"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, _DIGITS + 3) if isinstance(value, float) else value


def write_results(name: str, results: dict[str, Result], path: Path) -> None:
    """Write what was measured, and on what machine, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {each: _rounded({**asdict(result), "figures": figures(result)}) for each, result in results.items()}
    content = {"measured": name, "machine": machine.describe(), "tars": tar_folder()[1], "results": found}
    path.write_text(json.dumps(content, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", nargs="?", default="all", choices=[*TARGETS, "all"])
    parser.add_argument("--check", action="store_true", help="compare with the recorded ratios, and write nothing")
    chosen = parser.parse_args(arguments)
    name = chosen.what
    here = machine.describe()
    said: list[str] = []

    def say(*lines: str) -> None:
        said.extend(lines)
        print(*lines, sep="\n", flush=True)

    say(f"{here['cpu']}, {here['cores']} cores, {here['platform']}, Python {here['python']}; tars on {tar_folder()[1]}")
    say("CPU time of one process, medians of rounds in which both sides take turns")
    first = json.loads((RESULTS / "first.json").read_text())["results"]
    results: dict[str, Result] = {}
    for each in TARGETS if name == "all" else (name,):
        result = results[each] = measure(each)
        lines = (
            family_lines(result, first[each]) if isinstance(result, FamilyResult) else search_lines(result, first[each])
        )
        say("", *lines)
    failed = [each for each, result in results.items() if not (result.ratio.is_met and result.agreement.is_same)]
    print("\nFAIL: " + ", ".join(failed) if failed else "\nall targets met")
    if chosen.check:
        slower = list(regressions(results, json.loads((RESULTS / "all.json").read_text())["results"]))
        for line in slower:
            print(f"FAIL: {line}")
        if not slower:
            print("no ratio is more than a fifth below the recorded one")
        return 1 if failed or slower else 0
    path = RESULTS / f"{name}.json"
    write_results(name, results, path)
    print(f"written to {path}")
    if name == "all":
        say_on_page(PERFORMANCE, "bench", said)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
