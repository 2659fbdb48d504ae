"""The README and the pages of docs/ show what the toolkit does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

import cli
from fdsl import Spec, presets
from fdsl.dataset.families import FAMILIES

ROOT = Path(__file__).parent.parent
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
PAGES = [README, CONTRIBUTING, ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").glob("*.md")]
FOLDERS = ("benchmarks", "docs", "exfractal", "fdsl", "rcdb", "shards", "tests", "trainer")


def load(path: Path) -> ModuleType:
    """Import a script that belongs to no package."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_console_blocks_show_real_output() -> None:
    done = subprocess.run([sys.executable, "docs/make.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


VARYING = {
    "out: baked 10,500 images in 11 shards, 19,341 images/s": "out: baked 10,500 images in 11 shards, 20 images/s",
    "report.html: 1.4 MB": "report.html: 12.5 MB",
    "-rw-r--r-- 0/0            1310 1970-01-01 00:00 a.png": "-rw-r--r-- 0/0             930 1970-01-01 00:00 a.png",
    "a.tar: 9,000 bytes; its receipt says 2,649,088": "a.tar: 9,000 bytes; its receipt says 2,649,600",
    ' "bytes": 2639872,': ' "bytes": 2639360,',
    f' "sha256": "{64 * "a"}",': f' "sha256": "{64 * "b"}",',
    "    numba: 0.68.1": "    numba: 0.70.0",
    "11 shards are only at /data/copy; `fdsl": "11 shards are only at /tmp/x1/copy; `fdsl",
    "size               2.66 GB, 2,629 bytes per image": "size              12.70 GB, 2,700 bytes per image",
    "time               19 s with 8 workers": "time         1 min 12 s with 8 workers",
    "| train | 10,000 | 100 | 10 | 1,000 | 26,407,936 |": "| train | 10,000 | 100 | 10 | 1,000 | 26,408,448 |",
}
FIXED = {
    "out: baked 10,500 images in 11 shards, 19,341 images/s": "out: baked 10,501 images in 11 shards, 19,341 images/s",
    "-rw-r--r-- 0/0            1310 1970-01-01 00:00 a.png": "-rw-r--r-- 0/0            1310 1970-01-02 00:00 a.png",
    "a.tar: 9,000 bytes; its receipt says 2,649,088": "a.tar: 9,001 bytes; its receipt says 2,649,088",
    f"  categories_sha256: {64 * 'a'}": f"  categories_sha256: {64 * 'b'}",
    f' "spec": "{64 * "a"}"': f' "spec": "{64 * "b"}"',
    "11 shards are only at /data/copy; `fdsl": "12 shards are only at /data/copy; `fdsl",
    "files               396 in all": "files               397 in all",
    "50 categories of 3,795 candidates (1.32% accepted)": "50 categories of 3,796 candidates (1.32% accepted)",
    "'qw': 0.16607421985827386": "'qw': 0.16607421985827385",
    "| train | 10,000 | 100 | 10 | 1,000 | 26,407,936 |": "| train | 10,001 | 100 | 10 | 1,000 | 26,407,936 |",
}


@pytest.mark.parametrize(("line", "other"), VARYING.items())
def test_varying_output_is_ignored(line: str, other: str) -> None:
    make = load(ROOT / "docs" / "make.py")
    assert make.masked(f"$ command\n{line}\n") == make.masked(f"$ command\n{other}\n")


@pytest.mark.parametrize(("line", "other"), FIXED.items())
def test_changed_output_is_noticed(line: str, other: str) -> None:
    make = load(ROOT / "docs" / "make.py")
    assert make.masked(f"$ command\n{line}\n") != make.masked(f"$ command\n{other}\n")


@pytest.mark.slow
def test_python_example_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("220 images, 0 problems\n", 0), done.stderr


@pytest.mark.slow
def test_first_lines_of_the_formula_page_run(tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "formula.md").read_text(), re.DOTALL)[0]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"21000000 12345678 \d+\n", done.stdout)


def test_presets_page_identifies_every_preset() -> None:
    page = (ROOT / "docs" / "presets.md").read_text()
    assert sorted(re.findall(r"^(\S+): .* categories\nhash   [0-9a-f]{64}\npixels", page, re.MULTILINE)) == list(
        presets()
    )


def test_pictures_of_the_architecture_have_every_folder() -> None:
    drawn = load(ROOT / "docs" / "rooms.py").draw()
    for name, pattern in (("rooms.svg", r'class="b">([^<]+)'), ("path.svg", r'class="[bg]">([^<]+)')):
        shown = re.findall(pattern, (ROOT / "docs" / name).read_text())
        assert shown == re.findall(pattern, drawn[name]), "run: python docs/rooms.py"


def test_readme_lists_every_command() -> None:
    listed = re.findall(r"^\| `fdsl (\w+)", README.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(cli.fdsl.commands)


@pytest.mark.parametrize("page", [README, CONTRIBUTING], ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    targets = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE))
    assert {"test"} < named
    for target in named:
        assert re.search(rf"^make {target}\b(?!-)", targets, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not target.startswith("http"):
            file, _, heading = target.partition("#")
            text = (page.parent / file).read_bytes().lower()
            assert not heading or f"\n## {heading.replace('-', ' ')}\n".encode() in text, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    for path in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", page.read_text()):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_is_described(family: str) -> None:
    page = (ROOT / "docs" / "datasets.md").read_text()
    for name in FAMILIES[family].Params.model_fields:
        assert f"\n| `{name}` |" in page, name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_table_of_keys(family: str) -> None:
    assert f"```{{keys}} {family}.Params\n" in (ROOT / "docs" / "spec.md").read_text()


def test_measured_numbers_are_those_of_their_pages() -> None:
    rows = re.findall(
        r"^\| (?:images|time|core).*\| (.+) \| (.+) \| `make (\w+)` \|$", README.read_text(), re.MULTILINE
    )
    pages = {"bench": "performance.md", "fidelity": "fidelity.md"}
    assert len(rows) == 4
    for *cells, target in rows:
        page = (ROOT / "docs" / pages[target]).read_text()
        for number in re.findall(r"[\d.,]*\d", " ".join(cells)):
            assert re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d.,])", page), number


def test_every_spec_key_is_described() -> None:
    page = (ROOT / "docs" / "datasets.md").read_text()
    for name in Spec.model_fields:
        assert re.search(rf"^\| `{name}[:`]", page, re.MULTILINE), name


def test_benchmark_block_is_replaced(tmp_path: Path) -> None:
    write_block = load(ROOT / "benchmarks" / "outputs.py").write_block
    page = tmp_path / "page.md"
    page.write_text("before\n```text speed\n```\nbetween\n```sh\nls\n```\nafter\n")
    for lines in (["one", "two"], ["three"], []):
        write_block(page, "speed", lines)
        block = "".join(f"{line}\n" for line in lines)
        assert page.read_text() == f"before\n```text speed\n{block}```\nbetween\n```sh\nls\n```\nafter\n"
    with pytest.raises(ValueError, match="has 0 blocks named cost; it must have one"):
        write_block(page, "cost", ["one"])


def test_trainer_readme_shows_stock_loaders() -> None:
    page = (ROOT / "trainer" / "README.md").read_text()
    assert "train.py --dataset wds/" in page
    assert "load_dataset(" in page
    assert page.count("```") % 2 == 0
