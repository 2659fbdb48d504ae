"""Where benchmarks write: tars in memory, results, and blocks of text that they keep up to date on a page."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
PERFORMANCE = ROOT / "docs" / "performance.md"
TRAINER = ROOT / "trainer" / "README.md"
_SHARED_MEMORY = Path("/dev/shm")


def tar_folder() -> tuple[Path, str]:
    """Return where both sides write their tars, and what to call it."""
    if _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK):
        return _SHARED_MEMORY, "tmpfs (/dev/shm)"
    return Path(tempfile.gettempdir()), "the temporary folder, for /dev/shm is not there"


def say_on_page(page: Path, block: str, lines: Sequence[str]) -> None:
    """Put lines into the one block of this name, in the place of those that stood there."""
    text = "".join(f"{line}\n" for line in lines)
    fence = re.compile(rf"(^```text {block}\n).*?(^```$)", re.MULTILINE | re.DOTALL)
    content, n = fence.subn(lambda match: f"{match[1]}{text}{match[2]}", page.read_text())
    if n != 1:
        raise ValueError(f"`{page}` has {n} blocks named {block}; it must have one")
    page.write_text(content)
    print(f"written to {page}")
