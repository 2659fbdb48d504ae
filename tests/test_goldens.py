"""Images and categories equal those of earlier versions, bit for bit."""

from __future__ import annotations

import json
from collections import Counter

from tests.goldens import FILE, make_goldens

ADVICE = """differ from tests/goldens.json: datasets would differ from those already baked.
If you mean to change them: raise FORMAT in fdsl/dataset/spec.py, say what changes under "Changes the bytes of baked data" in
CHANGELOG.md, and write the hashes again: python -m tests.goldens"""


def test_images_and_categories_are_unchanged() -> None:
    before, now = json.loads(FILE.read_text()), make_goldens()
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    assert not changed, f"{', '.join(changed)} {ADVICE}"


def test_goldens_are_distinct() -> None:
    """Equal images would show that an option or a part of the address is ignored."""
    hashes = Counter(digest for name, digest in json.loads(FILE.read_text()).items() if "categories" not in name)
    assert max(hashes.values()) == 1
