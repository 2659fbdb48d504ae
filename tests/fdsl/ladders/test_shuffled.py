"""Shuffled labels: the same images, and as many of each label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

import fdsl
from fdsl.ladders import shuffled


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec's file of 60 and 10 images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "spec.yaml"
    instances = {"train": 12, "validation": 2}
    path.write_text(
        yaml.safe_dump({"name": "a", "family": "rcdb", "categories": 5, "instances": instances, "image": {"size": 16}})
    )
    return path  # fmt: skip


@pytest.mark.parametrize("split", ["train", "validation"])
def test_only_the_labels_differ(split: str, spec: Path) -> None:
    live, control = fdsl.open(spec, split), shuffled.open(spec, split)
    assert (len(control), control.n_classes) == (len(live), 5)
    assert control.hash != live.dataset.hash
    images, labels = zip(*control.__getitems__(range(len(live))), strict=True)
    true_images, true_labels = zip(*live.__getitems__(range(len(live))), strict=True)
    assert np.array_equal(images, true_images)
    assert sorted(labels) == sorted(true_labels)
    assert np.mean(np.equal(labels, true_labels)) < 0.5
    image, label = control[7]
    assert (np.array_equal(image, images[7]), label) == (True, labels[7])
    assert list(shuffled.open(spec, split).labels) == list(labels)
