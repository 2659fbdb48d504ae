"""Fills in the output of the commands that the pages show.

A fenced block marked `console` holds commands, each after `$ `, and their output.
A command goes on in lines that begin with `>`.

    python docs/make.py [PAGE ...]            # runs the commands and writes the pages; all pages by default
    python docs/make.py --check [PAGE ...]    # compares only; exits 1 and names the pages that differ

What may differ between two runs or two machines is not compared: see VARYING. A block that differs in nothing else keeps its
text. Without PAGE, the pictures are rendered too.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PICTURES = {
    "exfractal.png": "quickstart-exfractal --categories 3 --instances 8",
    "rcdb.png": "quickstart-rcdb --categories 3 --instances 8",
    "mvfractal.png": "mvfractaldb-1k --categories 2 --instances 12",
    "broken.png": "docs/broken.yaml --categories 2 --instances 8",
    "sweep.png": "quickstart-rcdb --categories 0,40,41 --sweep perlin=0:4:8",
    "turntable.webp": "quickstart-exfractal --categories 0,78 --instances 4 --turntable",
}
BOTH = ("both.png", ("exfractal.png", "rcdb.png"))
"""The README's picture, and the pictures that it stacks."""

REPORT, REPORT_PX = ("report.png", "quickstart-rcdb"), (1280, 1280)
"""The picture of a report, its dataset, and the size of the browser's window."""

VARYING = {
    "rate": r"[\d,]+(?= images/s)",
    "size of a report, by release of its packages": r"[\d.]+(?= MB$)",
    "bytes of a tar, by release of isal": r"(?<=0/0)\s+\d+|(?<=receipt says )[\d,]+|(?<=[\"']bytes[\"']: )\d+"
    r"|(?<='shard_bytes': \[)\d+|[\d,]+(?= \|$)",
    "hash of a file, by release of isal or pyarrow": r"(?<=sha256[\"']: [\"'])[0-9a-f]{64}"
    r"|(?<='shard_sha256': \[')[0-9a-f]{64}",
    "estimate": r"(?<=^size ) +[\d.,]+ GB, [\d,]+|(?<=^CPU time ) +[\d.,]+|(?<=^time ) +.*?(?= with)|(?<=^memory ) +[\d.]+"
    r"|(?<=^accepted ) +[\d.]+(?=%)",
    "folder of a copy": r" /\S+(?=/copy\b)",
    "versions": r"(?<=^    )(?:python|numba|llvmlite|numpy|isal|pyarrow|platform): .*$",
}
"""What may differ between two runs or two machines: a regular expression for each."""

_VARYING = re.compile("|".join(VARYING.values()), re.MULTILINE)
_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


def masked(text: str) -> str:
    """Return a text without what may differ between runs."""
    return _VARYING.sub("?", text)


def run(command: str, folder: Path) -> str:
    """Return the standard output of a shell command.

    The `fdsl` on its path is that of this environment.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.run(
        ["bash", "-c", command], cwd=folder, env={**os.environ, "PATH": path, "LC_ALL": "C"}, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, check=True,
    )  # fmt: skip
    return process.stdout


def filled(page: str, folder: Path) -> str:
    """Return a page with the output of its commands."""

    def fill(match: re.Match[str]) -> str:
        old = match[0]
        commands = re.findall(r"^\$ (.*\n(?:>.*\n)*)", old, re.MULTILINE)
        new = "".join(
            f"$ {command}{run(re.sub('^> ?', '', command, flags=re.MULTILINE), folder)}" for command in commands
        )
        return old if masked(old) == masked(new) else new

    return _BLOCK.sub(fill, page)


def render_pictures() -> None:
    """Render the pictures of the pages."""
    for name, arguments in PICTURES.items():
        print(run(f"fdsl preview {arguments} -o docs/{name}", ROOT), end="")
    name, parts = BOTH
    pictures = [cv2.imread(str(ROOT / "docs" / part), cv2.IMREAD_GRAYSCALE) for part in parts]
    cv2.imwrite(str(ROOT / "docs" / name), np.vstack(pictures))


def photograph_report() -> None:
    """Render the picture of a report; needs Chromium."""
    (name, preset), (width, height) = REPORT, REPORT_PX
    if shutil.which("chromium") is None:
        print(f"docs/{name} is not rendered again: chromium is not here")
        return
    with tempfile.TemporaryDirectory() as folder:
        run(f"fdsl report {preset} -o {folder}/report.html --quiet", ROOT)
        browser = f"chromium --headless --no-sandbox --hide-scrollbars --window-size={width},{height}"
        run(f"{browser} --screenshot=docs/{name} file://{folder}/report.html", ROOT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check pages; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE")
    parser.add_argument("--check", action="store_true", help="compare; write nothing")
    options = parser.parse_args(arguments)
    n_stale = 0
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache  # an empty one, so that categories are searched
        for path in options.pages or PAGES:
            old = path.read_text()
            new = filled(old, Path(folder))
            if new != old and options.check:
                n_stale += 1
                print(f"{path}: a command prints something else; `make pages` updates the page")
            elif new != old:
                path.write_text(new)
                print(f"wrote {path}")
    if not options.check and not options.pages:
        render_pictures()
        photograph_report()
    return 1 if n_stale else 0


if __name__ == "__main__":
    sys.exit(main())
