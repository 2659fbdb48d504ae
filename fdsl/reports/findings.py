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
    """Return pairs of categories that look alike, most similar first.

    Each is a category with the one most similar to it. None is in two pairs, or a few sparse ones would fill them all. Memory
    grows with the number of categories, not with its square.
    """
    vectors = sample.spectra - sample.spectra.mean(axis=0)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    candidates: list[Pair] = []
    for start in range(0, len(vectors), _BLOCK):
        similarity = vectors[start : start + _BLOCK] @ vectors.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -np.inf  # to itself
        partners = similarity.argmax(axis=1)
        values = similarity[rows, partners].tolist()
        pairs = zip(values, (start + rows).tolist(), partners.tolist(), strict=True)
        candidates += [Pair(value, (min(row, other), max(row, other))) for value, row, other in pairs if row != other]
    chosen: list[Pair] = []
    used: set[int] = set()
    for pair in sorted(candidates, key=lambda pair: (-pair.similarity, pair.rows)):
        if used.isdisjoint(pair.rows):
            chosen.append(pair)
            used.update(pair.rows)
    return chosen[:n]
