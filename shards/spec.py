"""A spec names a dataset: every image of it is a function of the spec, the split, the category and the instance."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import yaml

from primitives.fields import Checked, Choice, InputError, Integer, Text, from_mapping, ruled
from primitives.streams import TRAIN, VALIDATION
from shards.families import FAMILIES, Family, Params, known

FORMAT = 1
"""Raised whenever the same spec would give other pixels, labels or order; part of every spec's hash."""

SPLITS = {"train": TRAIN, "validation": VALIDATION}
"""The splits, in order, and the role that each has in the random streams."""

_MAX_SHARDS = 999_999
"""Their numbers have six digits."""

BAKED = "baked"
"""The key of a baked directory's spec.yaml that is not the spec's own."""


@dataclass(frozen=True)
class Instances(Checked):
    """Images of each category: train 1..999,999 and validation 0..999,999, together at most 1,000,000."""

    PATH: ClassVar[str] = "instances."
    train: int = ruled(Integer(1, 999_999))
    validation: int = ruled(Integer(0, 999_999), 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        Integer(1, 1_000_000).check("instances.train + instances.validation", self.train + self.validation)


@dataclass(frozen=True)
class Image(Checked):
    """Square images of `size` px, 16..4,096."""

    PATH: ClassVar[str] = "image."
    size: int = ruled(Integer(16, 4096))


@dataclass(frozen=True)
class Shards(Checked):
    """At most `samples` images a shard, 1..1,000,000, in a `shuffled` order of the whole split or `by-category`."""

    PATH: ClassVar[str] = "shards."
    samples: int = ruled(Integer(1, 1_000_000), 1000)
    order: str = ruled(Choice(("shuffled", "by-category")), "shuffled")


@dataclass(frozen=True, kw_only=True)
class Spec(Checked):
    """A dataset.

    name : lower-case letters, digits, `.`, `_` and `-`; for people.
    family : exfractal or rcdb.
    categories : 1..1,000,000.
    instances : images of each category.
    seed : 0..2**64 - 1.
    image, params : the family's published ones unless given.
    """

    name: str = ruled(Text(r"[a-z0-9][a-z0-9._-]{0,99}", "lower-case letters, digits, `.`, `_` or `-`, at most 100"))
    family: str = ruled(Choice(FAMILIES))
    categories: int = ruled(Integer(1, 1_000_000))
    instances: Instances
    seed: int = ruled(Integer(0, 2**64 - 1), 0)
    image: Image | None = None
    shards: Shards = Shards()
    params: Params | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, kind, default in (
            ("instances", Instances, None),
            ("image", Image, {"size": self.rules.SIZE_PX}),
            ("shards", Shards, None),
            ("params", self.rules.Params, {}),
        ):
            value = getattr(self, name)
            value = default if value is None else value
            if not isinstance(value, kind):
                object.__setattr__(self, name, from_mapping(kind, value, f"{name}."))
        for split in SPLITS:
            n_samples = self.categories * self.n_instances(split)
            if n_samples > _MAX_SHARDS * self.shards.samples:
                raise InputError(
                    f"`shards.samples` (={self.shards.samples}) must be at least {-(-n_samples // _MAX_SHARDS)}:"
                    f" a split has at most {_MAX_SHARDS:,} shards"
                )
        most = self.parameters.max_categories
        if most is not None and self.categories > most:
            raise InputError(
                f"`categories` (={self.categories}) must be at most {most}: the label allows no more different ones;"
                " widen `params` or lower it"
            )

    @property
    def rules(self) -> Family:
        """The family's contract."""
        return known(self.family)

    @property
    def parameters(self) -> Any:
        """The family's parameters, never None."""
        return self.params

    @property
    def size_px(self) -> int:
        """The width and height of an image."""
        assert self.image is not None
        return self.image.size

    def n_instances(self, split: str) -> int:
        """Return how many images of each category a split has."""
        return self.instances.train if split == "train" else self.instances.validation

    def first_instance(self, split: str) -> int:
        """Return the number of a split's first instance: validation counts on from train."""
        return 0 if split == "train" else self.instances.train

    def split_of(self, instance: int) -> str:
        """Return the split that an instance belongs to."""
        return "train" if instance < self.instances.train else "validation"

    def to_mapping(self) -> dict[str, Any]:
        """Return the spec as plain mappings, lists, strings and numbers: its canonical form."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain


def parse_spec(mapping: object) -> Spec:
    """Return the spec that a mapping describes; InputError names the first key that is wrong."""
    if isinstance(mapping, dict):
        mapping = {key: value for key, value in mapping.items() if key != BAKED}
    return from_mapping(Spec, mapping)


def presets() -> dict[str, str]:
    """Return the YAML text of every built-in spec by its name."""
    texts = {}
    for name in FAMILIES:
        package = find_spec(name)
        for folder in (package and package.submodule_search_locations) or ():
            for path in sorted(Path(folder, "presets").glob("*.yaml")):
                texts[path.stem] = path.read_text(encoding="utf-8")
    return texts


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but for a key that stands twice: it would silently win."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; ConstructorError if a key stands twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for k, key in enumerate(keys):
            if key in keys[:k]:
                raise yaml.constructor.ConstructorError(
                    problem=f"key `{key}` stands twice", problem_mark=node.start_mark
                )
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds, loaded safely; InputError says where it is broken."""
    try:
        return _Loader(path.read_bytes()).get_single_data()
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"`{path}` is not YAML: {' '.join(str(error).split())}") from None


def override(spec: Spec, categories: int | None = None, seed: int | None = None) -> Spec:
    """Return a spec with another number of categories or another seed; None keeps the spec's."""
    return dataclasses.replace(
        spec,
        categories=spec.categories if categories is None else categories,
        seed=spec.seed if seed is None else seed,
    )


def preset_text(name: str) -> str:
    """Return the YAML of a preset; InputError lists them all if there is none of this name."""
    texts = presets()
    if name not in texts:
        raise InputError(f"`NAME` (={name!r}) is no preset; {_near(name, texts)}")
    return texts[name]


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"the presets are {', '.join(known)}"


def load_spec(source: str | Path) -> Spec:
    """Return the spec of a preset's name or of a YAML file.

    Raises
    ------
    InputError
        There is no such preset or file, it is not YAML, or a key or value of it is wrong.
    """
    texts = presets()
    if str(source) in texts:
        return parse_spec(yaml.safe_load(texts[str(source)]))
    path = Path(source)
    if not path.is_file():
        what = "is no file" if path.suffix in (".yaml", ".yml") else "is neither a preset nor a file"
        hint = f"did you mean {path / 'spec.yaml'}?" if (path / "spec.yaml").is_file() else _near(str(source), texts)
        raise InputError(f"`SPEC` (={str(source)!r}) {what}; {hint}")
    mapping = read_yaml(path)
    try:
        return parse_spec(mapping)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def spec_hash(spec: Spec, categories_sha256: str) -> str:
    """Return the identity of a dataset, 64 hexadecimal digits: of its format, spec and categories."""
    canonical = {"format": FORMAT, "categories_sha256": categories_sha256, "spec": spec.to_mapping()}
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


def difference(old: object, new: object, path: str = "") -> str | None:
    """Return the first field in which two plain mappings differ, as "`path` is OLD there and NEW here", or None."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *(key for key in old if key not in new)]:
            found = difference(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
            if found:
                return found
        return None
    return None if old == new else f"`{path}` is {json.dumps(old)} there and {json.dumps(new)} here"
