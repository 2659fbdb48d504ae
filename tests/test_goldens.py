"""Images and categories are, to the last bit, those that users have baked."""

from __future__ import annotations

import json
from collections import Counter

from tests.goldens import FILE, make_goldens

ADVICE = """differ from tests/goldens.json: datasets would come out otherwise than those already baked.
If this is meant: raise FORMAT in shards/spec.py, say what changes under "Changes the bytes of baked data" in CHANGELOG.md,
and make the hashes again: python tests/goldens.py"""


def test_images_and_categories_are_those_of_before() -> None:
    before, now = json.loads(FILE.read_text()), make_goldens()
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    assert not changed, f"{', '.join(changed)} {ADVICE}"


def test_no_two_goldens_are_of_the_same_pixels() -> None:
    """Twins would show that an option or a part of an image's name is ignored."""
    hashes = Counter(digest for name, digest in json.loads(FILE.read_text()).items() if "categories" not in name)
    assert max(hashes.values()) == 1
