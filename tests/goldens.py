"""Hashes of images and categories, which must not change.

To write goldens.json again: python -m tests.goldens
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from fdsl import Dataset, parse_spec, search_categories

FILE = Path(__file__).with_name("goldens.json")

RING = {"viewpoint": "ring"}
SPECS: dict[str, dict[str, Any]] = {
    "exfractal": {"family": "exfractal"},
    "exfractal-seed": {"family": "exfractal", "seed": 2**64 - 1, "image": {"size": 64}},
    "exfractal-redrawn": {"family": "exfractal", "seed": 340},  # the first weight of 000000_000011 diverges
    "exfractal-ring": {"family": "exfractal", "params": RING},
    "exfractal-options": {
        "family": "exfractal",
        "image": {"size": 512},
        "params": RING
        | {"maps": [3, 4], "points": 1000, "weight_range": 0.3, "variance_threshold": 0.1, "jitter_deg": 9},
    },
    "rcdb": {"family": "rcdb"},
    "rcdb-seed": {"family": "rcdb", "seed": 2**64 - 1, "image": {"size": 64}},
    "rcdb-label-2": {"family": "rcdb", "image": {"size": 224}, "params": {"label": ["vertices", "contours"]}},
    "rcdb-label-6": {
        "family": "rcdb",
        "image": {"size": 224},
        "params": {"label": ["vertices", "contours", "perlin", "gap", "radius", "aspect"]},
    },
    "rcdb-broken": {"family": "rcdb", "params": {"broken": 0.3}},
    "rcdb-options": {
        "family": "rcdb",
        "params": {
            "vertices": [300, 1000],
            "contours": [5, 9],
            "perlin": [10, 20],
            "gap": [1, 2],
            "radius": [200, 300],
            "aspect": [0.5, 3],
            "centre": [-600, 600],
        },
    },
}
"""Small datasets of 3 categories, with 30 train and 4 validation instances each."""

IMAGES = [(0, 0), (0, 11), (1, 12), (2, 29), (2, 33)]
"""(category, instance) of the images that are hashed; the last one is in the validation split."""


def make_goldens() -> dict[str, str]:
    """Return hashes of the categories and of some images of each dataset."""
    goldens = {}
    for name, mapping in SPECS.items():
        spec = parse_spec({"name": name, "categories": 3, "instances": {"train": 30, "validation": 4}} | mapping)
        dataset = Dataset(spec, search_categories(spec).table)
        numbers = json.dumps(dataset.table.to_pylist(), sort_keys=True).encode()
        goldens[f"{name} categories"] = hashlib.sha256(numbers).hexdigest()
        for category, instance in IMAGES:
            pixels = dataset.image(category, instance).tobytes()
            goldens[f"{name} {category:06}_{instance:06}"] = hashlib.sha256(pixels).hexdigest()
    return goldens


if __name__ == "__main__":
    FILE.write_text(json.dumps(make_goldens(), indent=1) + "\n")
    print(f"{FILE}: written")
