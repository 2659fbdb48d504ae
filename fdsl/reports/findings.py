"""What stands out in a sample: extremes, duplicates, similar categories."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fdsl.reports.sample import Name, Sample

_BLOCK = 512
"""Categories that are compared with all others at a time."""


class Pair(NamedTuple):
    """Two categories whose images look alike.

    Attributes
    ----------
    similarity : -1..1; correlation of their mean spectra, after subtracting the mean over all categories
    rows : of the two in the sample's categories
    """

    similarity: float
    rows: tuple[int, int]


def emptiest(sample: Sample, n: int) -> list[Name]:
    """Return the images with the least ink, least first."""
    return [sample.names[k] for k in np.argsort(sample.ink, kind="stable")[:n].tolist()]


def fullest(sample: Sample, n: int) -> list[Name]:
    """Return the images with the most ink, most first."""
    return [sample.names[k] for k in np.argsort(-sample.ink, kind="stable")[:n].tolist()]


def duplicates(sample: Sample) -> list[list[Name]]:
    """Return the groups of equal images."""
    groups: dict[bytes, list[Name]] = {}
    for digest, name in zip(sample.digests, sample.names, strict=True):
        groups.setdefault(digest, []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def similar_pairs(sample: Sample, n: int) -> list[Pair]:
    """Return the most similar pairs of categories, most similar first.

    Memory grows with the number of categories, not with its square.
    """
    vectors = sample.spectra - sample.spectra.mean(axis=0)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    columns, pairs = np.arange(len(vectors)), list[Pair]()
    for start in range(0, len(vectors), _BLOCK):
        similarity = vectors[start : start + _BLOCK] @ vectors.T
        rows = columns[start : start + _BLOCK, None]
        similarity[rows >= columns] = -np.inf  # each pair once
        best = np.argsort(-similarity, axis=None, kind="stable")[:n]
        for row, column in zip(*np.divmod(best, len(vectors)), strict=True):
            if np.isfinite(similarity[row, column]):
                pairs.append(Pair(float(similarity[row, column]), (start + int(row), int(column))))
    return sorted(pairs, key=lambda pair: -pair.similarity)[:n]
