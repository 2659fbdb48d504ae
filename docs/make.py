"""Runs the commands that the README and the pages of docs/ show, and puts what they print in its place.

A fenced block marked `console` holds commands, each after `$ `, and their output. `python docs/make.py` writes the outputs
and the pictures again; `python docs/make.py --check` only compares, but for hashes and longer numbers (which vary with the
machine's speed and with the releases of isal and pyarrow), and exits 1 naming the pages that differ.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
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
}
BOTH = ("both.png", ("exfractal.png", "rcdb.png"))
"""The README's picture: two of them, one above the other."""

_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
_VARYING = re.compile(r"\b[0-9a-f]{32,}\b|\d[\d,.]{2,}")


def run(command: str, folder: Path) -> str:
    """Return what a shell command prints to standard output in a folder, with this environment's `fdsl` on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env={**os.environ, "PATH": path, "LC_ALL": "C"}, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def filled(page: str, folder: Path) -> str:
    """Return a page with the output of every command of its console blocks."""

    def block(match: re.Match[str]) -> str:
        commands = [line[2:] for line in match[0].splitlines() if line.startswith("$ ")]
        return "".join(f"$ {command}\n{run(command, folder)}" for command in commands)

    return _BLOCK.sub(block, page)


def main() -> int:
    """Write, or check, all pages; return the exit status."""
    check = "--check" in sys.argv[1:]
    stale = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in PAGES:
            old = path.read_text()
            new = filled(old, Path(folder))
            if check and _VARYING.sub("N", old) != _VARYING.sub("N", new):
                stale += 1
                print(f"{path.relative_to(ROOT)}: a command prints something else now; `make docs` mends it")
            elif not check:
                path.write_text(new)
    for name, arguments in {} if check else PICTURES.items():
        print(run(f"fdsl preview {arguments} -o docs/{name}", ROOT), end="")
    if not check:
        name, parts = BOTH
        pictures = [cv2.imread(str(ROOT / "docs" / part), cv2.IMREAD_GRAYSCALE) for part in parts]
        cv2.imwrite(str(ROOT / "docs" / name), np.vstack(pictures))
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
