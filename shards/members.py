"""Checking the members of a shard's tar: names, labels, images."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any, NamedTuple, Protocol, cast

import cv2
import numpy as np

from fdsl.dataset.dataset import Dataset
from fdsl.dataset.families import Image
from fdsl.dataset.plan import Shard, image_key, image_names
from fdsl.dataset.spec import Spec
from fdsl.primitives.errors import InputError
from shards.png import first_bytes, is_as_encoded, max_bytes
from shards.problems import Kind, Problem
from shards.tar import BLOCK, END, member

_MAX_PROBLEMS = 5
"""Problems reported of one tar."""


_SIZE = re.compile(rb"([0-7]{11})\0")


class Readable(Protocol):
    """A file open for reading."""

    def read(self, n_bytes: int, /) -> bytes:
        """Return the next bytes; fewer at the end only."""


class Blank(NamedTuple):
    """Keys of empty and full images.

    Attributes
    ----------
    empty : every pixel is background
    full : no pixel is background
    """

    empty: list[str]
    full: list[str]


def max_tar_bytes(spec: Spec, shard: Shard) -> int:
    """Return a bound on the size of a shard's tar."""
    n_label = 2 * BLOCK
    return shard.n_samples * (_max_png_bytes(spec) + 2 * BLOCK + n_label) + len(END)


def _max_png_bytes(spec: Spec) -> int:
    return max_bytes(spec.size_px, spec.size_px, spec.family_module.BIT_DEPTH)


class TarCheck:
    """The members of a shard's tar, checked from first to last.

    Attributes
    ----------
    digests : hash of each PNG file, 8 bytes
    blank : keys of the empty and of the full images
    variants : variant of each image that was rendered again, by its position
    """

    def __init__(self, dataset: Dataset, shard: Shard, rerendered: Collection[int]) -> None:
        self._dataset, self._shard, self._rerendered = dataset, shard, frozenset(rerendered)
        self.digests: list[bytes] = []
        self.blank = Blank([], [])
        self.variants: dict[int, Any] = {}

    def problems(self, tar: Readable, path: str) -> list[Problem]:
        """Return the first few problems of a tar's members.

        Holds one member at a time. Does not always read the tar to its end.
        """
        return [Problem(kind, path, detail) for kind, detail in islice(self._details(tar), _MAX_PROBLEMS)]

    def _details(self, tar: Readable) -> Iterator[tuple[Kind, str]]:
        """Yield where a tar differs from what a bake writes."""
        limit = _max_png_bytes(self._dataset.spec)
        for k, (category, instance) in enumerate(image_names(self._dataset.spec, self._shard)):
            key = image_key(category, instance)
            for name in (f"{key}.png", f"{key}.cls"):
                payload = _payload(tar, name, limit)
                if isinstance(payload, str):
                    yield Kind.SHARD, payload
                    return
                if name.endswith(".cls"):
                    if payload != b"%d" % category:
                        yield Kind.SHARD, f"{name} is {payload[:20]!r}; the label is {category}"
                elif problem := self._image_problem(k, category, instance, payload):
                    yield problem[0], f"{name} {problem[1]}"
        if tar.read(len(END) + 1) != END:
            yield Kind.SHARD, f"does not end after its last sample; an archive ends with {len(END):,} zeros"

    def _image_problem(self, k: int, category: int, instance: int, payload: bytes) -> tuple[Kind, str] | None:
        """Record an image; return what is wrong with it."""
        self.digests.append(hashlib.blake2b(payload, digest_size=8).digest())
        image = _decoded(self._dataset.spec, payload)
        if isinstance(image, str):
            return Kind.SHARD, image
        is_drawn = image != self._dataset.spec.family_module.BACKGROUND
        if not is_drawn.any():
            self.blank.empty.append(image_key(category, instance))
        elif is_drawn.all():
            self.blank.full.append(image_key(category, instance))
        if k not in self._rerendered:
            return None
        rendered, self.variants[k] = next(self._dataset.images([(category, instance)]))
        n_different = np.count_nonzero(rendered != image)
        detail = f"is not what the spec renders here ({n_different:,} of {image.size:,} pixels differ)"
        return (Kind.PIXELS, detail) if n_different else None


def read_images(dataset: Dataset, shard: Shard, tar: Readable) -> Iterator[Image]:
    """Yield the images of a correct tar."""
    limit = _max_png_bytes(dataset.spec)
    for category, instance in image_names(dataset.spec, shard):
        key = image_key(category, instance)
        payload, _ = _payload(tar, f"{key}.png", limit), _payload(tar, f"{key}.cls", limit)
        image = payload if isinstance(payload, str) else _decoded(dataset.spec, payload)
        if isinstance(image, str):  # the file was changed since it was checked
            raise InputError(f"`{shard.name}.tar`: {image}; verify it again")
        yield image


def _payload(tar: Readable, name: str, limit: int) -> bytes | str:
    """Return the payload of the next member, or its problem.

    The whole member is compared with the writer's own bytes, so nothing of it is interpreted but its size.

    Parameters
    ----------
    limit : largest size that is accepted, bytes
    """
    header = tar.read(BLOCK)
    if len(header) < BLOCK or header == bytes(BLOCK):
        return f"ends before {name}"
    own_name = header[:100].rstrip(b"\0").decode(errors="replace")
    digits = _SIZE.fullmatch(header[124:136])
    if own_name != name or digits is None:
        return f"has {own_name!r} in place of {name}" if own_name != name else f"{name} has a broken header"
    n_bytes = int(digits[1], 8)
    if n_bytes > limit:
        return f"{name} has {n_bytes:,} bytes; a bake writes at most {limit:,}"
    payload = tar.read(n_bytes)
    if len(payload) < n_bytes:
        return f"ends within {name}"
    if header + payload + tar.read(-n_bytes % BLOCK) != member(name.encode(), payload):
        return f"{name} has a header or padding that a bake does not write"
    return payload


def _decoded(spec: Spec, payload: bytes) -> Image | str:
    """Return the image of a PNG file, or its problem."""
    size, depth = spec.size_px, spec.family_module.BIT_DEPTH
    if not payload.startswith(first_bytes(size, size, depth)):
        return f"is not a {size} x {size} px grey PNG of {depth} bit"
    if not is_as_encoded(payload, size, size, depth):  # checked first, because OpenCV prints its own errors
        return "cannot be decoded, or was not written by a bake"
    image = cv2.imdecode(np.frombuffer(payload, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.shape != (size, size):
        return "cannot be decoded"
    return cast("Image", image)
