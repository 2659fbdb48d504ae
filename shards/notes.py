"""Notes on empty, full and duplicate images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fdsl.dataset.plan import Shard, image_key, image_numbers
from fdsl.dataset.spec import Spec
from shards.checking import Findings

_N_SHOWN = 5


def image_notes(spec: Spec, shards: Sequence[Shard], findings: Sequence[Findings]) -> Iterator[str]:
    """Yield a line on the empty, the full and the duplicate images."""
    empty = [key for finding in findings for key in finding.blank.empty]
    full = [key for finding in findings for key in finding.blank.full]
    for keys, meaning in ((empty, "empty: nothing is drawn"), (full, "full: no background is left")):
        if keys:
            yield f"{_images(len(keys))} {meaning}: {_first(keys)}"
    groups = list(_duplicates(spec, shards, findings).values())
    if groups:
        examples = [" = ".join(group[:3]) for group in groups]
        yield f"{_images(sum(map(len, groups)))} exact duplicates of one another: {_first(examples)}"


def _images(n: int) -> str:
    return f"{n:,} images are" if n > 1 else "1 image is"


def _first(examples: list[str]) -> str:
    """Return the first examples, and an ellipsis if there are more."""
    return ", ".join(examples[:_N_SHOWN]) + (", ..." if len(examples) > _N_SHOWN else "")


def _duplicates(spec: Spec, shards: Sequence[Shard], findings: Sequence[Findings]) -> dict[int, list[str]]:
    """Return the keys of equal images, by their common digest."""
    digests = np.sort(np.concatenate([np.empty(0, dtype=np.uint64), *(finding.digests for finding in findings)]))
    repeated = np.unique(digests[1:][digests[1:] == digests[:-1]])
    keys: dict[int, list[str]] = {}
    if not len(repeated):
        return keys
    for shard, finding in zip(shards, findings, strict=True):
        category, instance = image_numbers(spec, shard)
        for k in np.flatnonzero(np.isin(finding.digests, repeated)).tolist():
            key = image_key(int(category[k]), int(instance[k]))
            keys.setdefault(int(finding.digests[k]), []).append(key)
    return keys
