"""What the README and the pages of docs/ show is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_every_console_block_shows_what_its_commands_print() -> None:
    done = subprocess.run([sys.executable, "docs/make.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_python_api_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = tmp_path / "readme.py"
    body = "".join(f"    {line}\n" for line in code.splitlines())
    script.write_text(f"if __name__ == '__main__':\n{body}")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("220 images; 0 problems\n", 0), done.stderr


def test_the_readme_lists_every_command() -> None:
    assert set(re.findall(r"^\| `fdsl (\w+)", README, re.MULTILINE)) == set(cli.fdsl.commands)


def test_the_readme_names_make_targets_that_exist() -> None:
    targets = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = set(re.findall(r"make (\w+)", README))
    assert {"dataset", "test", "bench"} <= named
    for target in named:
        assert re.search(rf"^make {target}\b", targets, re.MULTILINE), target


def test_pages_link_only_to_files_that_exist() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            if not target.startswith("http"):
                file, _, heading = target.partition("#")
                text = (page.parent / file).read_bytes()
                assert not heading or f"\n## {heading.replace('-', ' ')}\n".encode() in text.lower(), target


def test_benchmarks_write_into_their_block_and_leave_the_page(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from outputs import say_on_page

    page = tmp_path / "page.md"
    page.write_text("before\n```text speed\n```\nbetween\n```sh\nls\n```\nafter\n")
    for lines in (["one", "two"], ["three"], []):
        say_on_page(page, "speed", lines)
        said = "".join(f"{line}\n" for line in lines)
        assert page.read_text() == f"before\n```text speed\n{said}```\nbetween\n```sh\nls\n```\nafter\n"
    with pytest.raises(ValueError, match="has 0 blocks named cost; it must have one"):
        say_on_page(page, "cost", ["one"])


def test_the_trainers_readme_says_how_to_do_without_it() -> None:
    page = (ROOT / "trainer" / "README.md").read_text()
    assert "train.py --dataset wds/" in page
    assert "load_dataset(" in page
    assert page.count("```") % 2 == 0
