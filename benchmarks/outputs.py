"""Where benchmarks write: tars, results, and text blocks of pages."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
PERFORMANCE = ROOT / "docs" / "performance.md"
SCALING = ROOT / "docs" / "scaling.md"
TRAINER = ROOT / "trainer" / "README.md"
_SHARED_MEMORY = Path("/dev/shm")


def tar_folder() -> tuple[Path, str]:
    """Return the folder for tars, and its name for people."""
    if _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK):
        return _SHARED_MEMORY, "tmpfs (/dev/shm)"
    return Path(tempfile.gettempdir()), "the temporary folder, because /dev/shm is missing"


def write_block(page: Path, block: str, lines: Sequence[str]) -> None:
    """Replace the lines of a page's fenced block.

    Parameters
    ----------
    block : name after the opening fence's `text`

    Raises
    ------
    ValueError
        The page does not have exactly one block of this name.
    """
    text = "".join(f"{line}\n" for line in lines)
    fence = re.compile(rf"(^```text {block}\n).*?(^```$)", re.MULTILINE | re.DOTALL)
    content, n = fence.subn(lambda match: f"{match[1]}{text}{match[2]}", page.read_text())
    if n != 1:
        raise ValueError(f"`{page}` has {n} blocks named {block}; it must have one")
    page.write_text(content)
    print(f"wrote {page}")
