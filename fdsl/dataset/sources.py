"""Where specs come from: presets and YAML files."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from fdsl.dataset.families import FAMILIES
from fdsl.dataset.spec import Spec, parse_spec
from fdsl.primitives.errors import InputError
from fdsl.primitives.reading import read_bounded
from fdsl.primitives.validation import shown, suggestion

MAX_YAML_BYTES = 2**16
"""Limit of a YAML file's size."""


def presets() -> dict[str, str]:
    """Return the YAML text of every preset by its name."""
    texts = {}
    for name in FAMILIES:
        package = find_spec(name)
        for folder in (package and package.submodule_search_locations) or ():
            for path in sorted(Path(folder, "presets").glob("*.yaml")):
                texts[path.stem] = path.read_text(encoding="utf-8")
    return texts


def preset_text(name: str) -> str:
    """Return the YAML text of a preset.

    Raises InputError if the name is unknown.
    """
    texts = presets()
    if name not in texts:
        raise InputError(f"`name` (={name!r}) is not a preset; {suggestion(name, texts, 'presets: {}')}")
    return texts[name]


class _Loader(yaml.SafeLoader):
    """YAML loader for the values of JSON.

    Only plain decimals are numbers. Anchors, aliases and tags are refused, because a few of them can expand to billions of
    values, and so are duplicate keys, of which PyYAML keeps the last.
    """

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012 - the stub declares it on instances

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return a node; refuse anchors, aliases and tags."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if event.anchor or getattr(event, "tag", None):
            raise InputError(f"line {event.start_mark.line + 1}: anchors, aliases and tags (&, *, !) are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping. Raises InputError on a duplicate key."""
        keys: set[Any] = set()
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise InputError(f"line {line}: a key must be a word")
            key = self.construct_object(key_node)
            if key in keys:
                raise InputError(f"line {line}: duplicate key `{str(key)[:80]}`")
            keys.add(key)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?|[-+]?\.inf|\.nan", list("-+0123456789.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; see `parse_yaml`."""
    return parse_yaml(read_bounded(path, MAX_YAML_BYTES), str(path))


def parse_yaml(content: bytes, source: str) -> Any:
    """Return the content of a YAML text.

    Parameters
    ----------
    source : the text's name in messages

    Raises
    ------
    InputError
        Not YAML, or with anchors, aliases, tags or duplicate keys.
    """
    try:
        return _Loader(content).get_single_data()
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"`{source}` is not YAML: {error}") from None


def load_spec(spec: str | Path) -> Spec:
    """Return the spec of a preset or of a YAML file.

    Parameters
    ----------
    spec : name of a preset, or path of a YAML file

    Raises
    ------
    InputError
        No such preset or file, not YAML, or a wrong key or value.
    """
    if not isinstance(spec, str | os.PathLike):
        raise InputError(f"`spec` (={shown(spec)}) must be the name of a preset or the path of a YAML file")
    texts = presets()
    if str(spec) in texts:
        return parse_spec(_Loader(texts[str(spec)]).get_single_data())
    path = Path(spec)
    if not path.is_file():
        problem = "does not exist" if path.suffix in (".yaml", ".yml") else "is neither a preset nor a file"
        beside = path / "spec.yaml"
        hint = f"did you mean {beside}?" if beside.is_file() else suggestion(str(spec), texts, "presets: {}")
        raise InputError(f"`spec` (={str(spec)!r}) {problem}; {hint}")
    mapping = read_yaml(path)
    try:
        return parse_spec(mapping)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
