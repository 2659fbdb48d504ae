"""The spec: all settings that define a dataset, except its categories."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from fdsl.dataset.families import FAMILIES, Family
from fdsl.primitives.streams import TRAIN, VALIDATION
from fdsl.primitives.validation import FamilyParams, Model, matching, one_of, parse, refusal

FORMAT = 2
"""Version of the rules that turn a spec into pixels, labels and order. Part of every dataset's hash."""

OLDER_FORMATS = (1,)
"""Formats whose directories can be verified, but not rendered: the rules are gone."""

SPLITS = {"train": TRAIN, "validation": VALIDATION}
"""Splits, in order, with their roles in random streams."""

BAKED = "baked"
"""Key of a baked directory's spec.yaml that does not belong to the spec."""

OUTSIDE_HASH = ("license",)
"""Keys that do not belong to a dataset's identity: no pixel, label or order depends on them."""

_LICENSE_RULE = "an SPDX identifier of at most 64 characters, such as CC0-1.0 or CC-BY-4.0"
_NAME_RULE = "1 to 100 lower-case letters, digits, `.`, `_` or `-`, the first a letter or digit"

_MAY_BE_EMPTY = ("image", "params")
"""Keys that may be empty, which means the family's defaults."""

MAX_CATEGORIES = 1_000_000

_SHOWN = 200
"""Limit of a value in a message, characters."""

_MAX_SHARDS = 999_999
"""Shard numbers have six digits."""


class Instances(Model):
    """Number of images per category and split.

    At most 1,000,000 together.

    Attributes
    ----------
    train : 1 .. 1,000,000; images to train on
    validation : 0 .. 999,999; images to validate on
    """

    train: int = Field(ge=1, le=1_000_000)
    validation: int = Field(0, ge=0, le=999_999)

    @model_validator(mode="after")
    def _limit_total(self) -> Instances:
        if self.total > 1_000_000:
            raise PydanticCustomError(
                "total", "must be at most 1,000,000 in total, not {total}", {"total": f"{self.total:,}"}
            )
        return self

    @property
    def total(self) -> int:
        """Number of images per category."""
        return self.train + self.validation


class ImageFormat(Model):
    """Format of the images.

    Attributes
    ----------
    size : 16 .. 4096, px; width and height
    """

    size: int = Field(ge=16, le=4096)


class ShardFormat(Model):
    """How images are divided into shards.

    Attributes
    ----------
    samples : 1 .. 1,000,000; largest number of images in a shard
    order : `shuffled` over the whole split, or `by-category`
    """

    samples: int = Field(1000, ge=1, le=1_000_000)
    order: Literal["shuffled", "by-category"] = "shuffled"


def _default_image(fields: dict[str, Any]) -> ImageFormat:
    return ImageFormat(size=FAMILIES[fields["family"]].SIZE_PX)


def _default_params(fields: dict[str, Any]) -> Any:
    return FAMILIES[fields["family"]].Params()


class Spec(Model):
    """All settings that define a dataset, except its categories.

    Attributes
    ----------
    name : 1 to 100 lower-case letters, digits, `.`, `_` or `-`; for people
    family : the formula, such as `rcdb`
    categories : 1 .. 1,000,000; number of labels
    instances : images of each category, by split
    seed : 0 .. 2**64 - 1; determines all random numbers
    image : the family's published size by default
    shards : size and order of the shards
    params : the family's published parameters by default
    license : SPDX identifier of the licence of the images; only the dataset card shows it
    """

    name: Annotated[str, AfterValidator(matching(r"[a-z0-9][a-z0-9._-]{0,99}", _NAME_RULE))]
    family: Annotated[str, BeforeValidator(one_of(tuple(FAMILIES)))]
    categories: int = Field(ge=1, le=MAX_CATEGORIES)
    instances: Instances
    seed: int = Field(0, ge=0, le=2**64 - 1)
    image: ImageFormat = Field(default_factory=_default_image)
    shards: ShardFormat = ShardFormat()
    params: SerializeAsAny[FamilyParams] = Field(default_factory=_default_params)
    license: Annotated[str, AfterValidator(matching(r"[A-Za-z][A-Za-z0-9.+-]{0,63}", _LICENSE_RULE))] = "CC0-1.0"

    @field_validator("params", mode="before")
    @classmethod
    def _parse_params(cls, value: Any, info: ValidationInfo) -> Any:
        """Parse the parameters as those of the spec's family."""
        family = FAMILIES.get(info.data.get("family", ""))
        return value if family is None else family.Params.model_validate(value)

    @model_validator(mode="after")
    def _limit_counts(self) -> Spec:
        for split in SPLITS:
            n_samples = self.n_images(split)
            if n_samples > _MAX_SHARDS * self.shards.samples:
                least = -(-n_samples // _MAX_SHARDS)
                raise refusal(
                    f"`shards.samples` (={self.shards.samples:,}) must be at least {least:,}:"
                    f" a split has at most {_MAX_SHARDS:,} shards"
                )
            if self.n_instances(split) % self.params.instances_step:
                raise refusal(
                    f"`instances.{split}` (={self.n_instances(split):,}) must be a multiple of"
                    f" {self.params.instances_step:,}: `params` make that many images of each category in turn"
                )
        most = self.params.max_categories
        if most is not None and self.categories > most:
            raise refusal(
                f"`categories` (={self.categories:,}) must be at most {most:,}: `params` allow no more;"
                " widen a range or extend `label`"
            )
        return self

    @property
    def family_module(self) -> Family[Any, Any, Any]:
        """The package of the spec's family."""
        return FAMILIES[self.family]

    @property
    def size_px(self) -> int:
        """Width and height of an image, px."""
        return self.image.size

    def n_instances(self, split: str) -> int:
        """Return the number of images of each category in a split."""
        return self.instances.train if split == "train" else self.instances.validation

    def n_images(self, split: str) -> int:
        """Return the number of images in a split."""
        return self.categories * self.n_instances(split)

    def first_instance(self, split: str) -> int:
        """Return a split's first instance; validation continues after train."""
        return 0 if split == "train" else self.instances.train

    def split_of(self, instance: int) -> str:
        """Return the split of an instance, of any epoch."""
        return "train" if instance % self.instances.total < self.instances.train else "validation"

    def to_mapping(self) -> dict[str, Any]:
        """Return the canonical form: mappings, lists, strings and numbers."""
        return self.model_dump(mode="json")

    def replace(self, **changes: Any) -> Spec:
        """Return a spec with some fields changed.

        Raises InputError, as `parse_spec` does.
        """
        return parse_spec({**self.to_mapping(), **changes})


def parse_spec(mapping: object) -> Spec:
    """Return the spec that a mapping describes.

    Raises
    ------
    InputError
        The first key or value that is wrong.
    """
    if isinstance(mapping, dict):
        mapping = {
            key: value
            for key, value in mapping.items()
            if key != BAKED and not (value is None and key in _MAY_BE_EMPTY)
        }
    return parse(Spec, mapping, "the spec")


def dataset_hash(spec: Spec, categories_sha256: str) -> str:
    """Return the identity of a dataset: 64 hexadecimal digits.

    It covers the format, the spec but for its licence, and the categories.
    """
    return hash_of_format(FORMAT, spec.to_mapping(), categories_sha256)


def hash_of_format(number: int, mapping: dict[str, Any], categories_sha256: str) -> str:
    """Return the identity of a dataset of any format.

    Parameters
    ----------
    number : the format
    mapping : the spec with every default of that format
    """
    decisive = {key: value for key, value in mapping.items() if key not in OUTSIDE_HASH}
    canonical = {"format": number, "categories_sha256": categories_sha256, "spec": decisive}
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


def difference(old: object, new: object, path: str = "") -> str | None:
    """Return the first difference of two mappings, one line, or None."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *(key for key in old if key not in new)]:
            line = difference(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
            if line:
                return line
        return None
    return None if old == new else f"`{path}` is {json.dumps(old)[:_SHOWN]} there and {json.dumps(new)[:_SHOWN]} here"
