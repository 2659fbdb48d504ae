"""Every fenced block of the pages is run, parsed or listed with the reason why not.

`console` blocks are run by `docs/make.py`, and `text NAME` blocks are written by benchmarks.
"""

from __future__ import annotations

import configparser
import contextlib
import re
import shlex
import subprocess
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

import cli
import fdsl

ROOT = Path(__file__).parent.parent
PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "trainer/README.md")
    ),
    *sorted((ROOT / "docs").glob("*.md")),
]

OTHERS = {
    "sh": "parsed below",
    "console": "docs/make.py runs it",
    "python": "run: see PYTHON",
    "json": "tests/trainer/conftest.py writes such an index",
    "{": "a directive of the site, which `make docs` runs",
    "text ": "a benchmark, or `make fidelity`, writes it; `text search` takes a minute and was copied",
}
"""Kinds of blocks, and what shows that they are right."""

PYTHON = {
    "README.md": "tests/test_docs.py",
    "docs/formula.md": "tests/test_docs.py, tests/trainer/test_formula.py",
    "docs/shipping.md": "test_shipping_page_reads_shards",
    "trainer/README.md": "tests/trainer/test_timm.py",
}
"""Pages with Python, and what runs it."""

UNRUN = {
    "dask": "tests/shards/executors/test_dask.py starts the same programs",
    "export": "sets variables of Dask; tests/shards/executors/test_dask.py",
    "torchrun": "tests/trainer/test_pages.py parses what it starts; train.py is timm's, and not in its package",
    "srun": "needs several machines with GPUs",
    ".": "activates an environment",
    "mkdir": "makes a folder for Docker",
    "python train.py": "timm's own script, which its package does not contain",
    "docker": "needs Docker's daemon",
    "apptainer": "needs Apptainer",
}
"""Commands that no test runs as they stand, and why."""


def blocks() -> Iterator[tuple[Path, str, str]]:
    """Yield page, kind and text of every fenced block."""
    for page in PAGES:
        for kind, text in re.findall(r"^```(\S.*)\n((?s:.*?))^```$", page.read_text(), re.MULTILINE):
            yield page, kind, text


LINES = [
    pytest.param(line, id=f"{page.name}: {line[:60]}")
    for page, kind, text in blocks()
    if kind == "sh"
    for line in text.replace("\\\n", "").splitlines()
    if line.strip()
]


@pytest.mark.parametrize("line", LINES)
def test_shell_line_is_valid(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "DOWNLOADED").mkdir()
    monkeypatch.chdir(tmp_path)
    words = re.sub(r"^([A-Z][A-Z_]*=\S+ )*| > \S+|&$", "", line)
    command, *arguments = shlex.split(words, comments=True)
    if command == "fdsl":
        node: click.Command = cli.fdsl
        parent = click.Context(node, **node.context_settings)  # click keeps the first help option that it makes
        while isinstance(node, click.Group):
            node = node.commands[arguments.pop(0)]
        node.make_context(node.name, arguments, parent)
    elif command == "make":
        done = subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    elif command == "pip":
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        assert set(re.findall(r"\[(.+)\]", line)) <= set(setup["options.extras_require"])
    elif command == "python" and arguments[0] == "-m":
        assert find_spec(arguments[1].split(".")[0]) is not None
    elif "_FDSL_COMPLETE=" not in line:  # tests/fdsl/console/test_completion.py
        reason = UNRUN.get(command) or UNRUN.get(f"{command} {arguments[0]}")
        assert reason is not None
        pytest.skip(reason)


def test_every_block_is_shown_to_be_right() -> None:
    for page, kind, text in blocks():
        assert any(kind.startswith(other) for other in OTHERS), (page, kind)
        assert kind != "python" or page.relative_to(ROOT).as_posix() in PYTHON, (page, text)


@pytest.mark.slow
def test_shipping_page_reads_shards(tmp_path: Path) -> None:
    spec = fdsl.load_spec("quickstart-rcdb").replace(
        categories=2, instances={"train": 10}, image={"size": 16}, shards={"samples": 2}
    )
    fdsl.bake(spec, tmp_path / "there", executor=fdsl.LocalExecutor(1))
    ((_, _, code),) = (block for block in blocks() if block[0].name == "shipping.md" and block[1] == "python")
    names: dict[str, object] = {}
    with contextlib.chdir(tmp_path), warnings.catch_warnings(action="ignore"):
        exec(f"{code}\nn_images = sum(1 for _ in dataset)", names)
    assert names["n_images"] == 20


def test_pictures_are_made_by_a_target() -> None:
    makers = "".join(
        path.read_text() for folder in ("docs", "benchmarks", "tests/fidelity") for path in ROOT.glob(f"{folder}/*.py")
    )
    shown = {name for page in PAGES for name in re.findall(r"!\[[^]]+\]\((?:docs/)?([^)]+)\)", page.read_text())}
    assert shown == {path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".png", ".svg", ".webp")}
    for name in shown:
        assert name in makers, name


@pytest.mark.parametrize("names", [["quickstart-exfractal", "exfractaldb-1k"], ["quickstart-rcdb", "rcdb-21k"]])
def test_presets_of_a_formula_share_images(names: list[str]) -> None:
    pixels = set()
    for name in names:
        spec = fdsl.load_spec(name).replace(categories=2)
        pixels.add(fdsl.Dataset(spec, fdsl.search_categories(spec).table).image(1, 7).tobytes())
    assert len(pixels) == 1
