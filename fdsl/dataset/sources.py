"""Where specs come from: presets and YAML files."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from fdsl.dataset.families import FAMILIES
from fdsl.dataset.spec import Spec, parse_spec
from fdsl.primitives.errors import InputError
from fdsl.primitives.validation import near, shown


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
        raise InputError(f"`name` (={name!r}) is not a preset; {near(name, texts, 'presets: {}')}")
    return texts[name]


class _Loader(yaml.SafeLoader):
    """SafeLoader that rejects duplicate keys, of which PyYAML keeps the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping. Raises InputError on a duplicate key."""
        keys: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise InputError(f"line {key_node.start_mark.line + 1}: duplicate key `{key}`")
            keys.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises InputError, naming the line, if it is not YAML.
    """
    try:
        return _Loader(path.read_bytes()).get_single_data()
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"`{path}` is not YAML: {error}") from None


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
        hint = f"did you mean {beside}?" if beside.is_file() else near(str(spec), texts, "presets: {}")
        raise InputError(f"`spec` (={str(spec)!r}) {problem}; {hint}")
    mapping = read_yaml(path)
    try:
        return parse_spec(mapping)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
