"""The shard that is baked again and again."""

from __future__ import annotations

import importlib
from pathlib import Path


def test_shard_is_baked_again(tmp_path: Path) -> None:
    ours = importlib.import_module("ours").prepare_ours("rcdb", 2, 2, tmp_path)
    ours.tar.write_bytes(b"")
    ours.bake()
    assert ours.tar.stat().st_size > 0
