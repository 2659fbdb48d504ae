"""Specs, plans, baking, verifying: everything that is the same for every family. These names are the Python API."""

from primitives.fields import InputError
from shards.bake import Baked, bake, render
from shards.categories import sample_categories
from shards.repair import Repaired, repair
from shards.spec import Image, Instances, Shards, Spec, load_spec, presets
from shards.verify import Verified, verify

__all__ = [
    "Baked",
    "Image",
    "InputError",
    "Instances",
    "Repaired",
    "Shards",
    "Spec",
    "Verified",
    "bake",
    "load_spec",
    "presets",
    "render",
    "repair",
    "sample_categories",
    "verify",
]
