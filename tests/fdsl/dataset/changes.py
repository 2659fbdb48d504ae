"""Other valid values of each field of a spec.

They are found by trying, so no family is named here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fdsl import InputError, Spec, parse_spec
from fdsl.dataset.families import FAMILIES


def leaves(mapping: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by their dotted path."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        flat |= leaves(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return flat


def changed(spec: Spec, path: str, value: Any) -> Spec:
    """Return a spec with one value changed; another family gets its default params."""
    mapping = spec.to_mapping()
    *folders, key = path.split(".")
    (mapping[folders[0]] if folders else mapping)[key] = value
    if path == "family":
        del mapping["params"]
    return parse_spec(mapping)


def _words(schema: Any) -> Iterator[str]:
    """Yield the options that a JSON schema lists."""
    if isinstance(schema, dict):
        yield from schema.get("enum", ())
        for part in schema.values():
            yield from _words(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _words(part)


def _candidates(value: Any, options: list[str]) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value - 1, value / 2, value + 0.1)
    elif isinstance(value, str):
        yield from (option for option in (*options, f"{value}x") if option != value)
    elif isinstance(value, list):
        yield value[:-1]
        for k, item in enumerate(value):
            yield from ([*value[:k], other, *value[k + 1 :]] for other in _candidates(item, options))


def other_specs(spec: Spec, path: str) -> Iterator[Spec]:
    """Yield specs that differ from `spec` in the value at `path` only."""
    schema = Spec.model_json_schema() if not path.startswith("params.") else type(spec.params).model_json_schema()
    options = list(FAMILIES) if path == "family" else list(_words(schema))
    old = leaves(spec.to_mapping())[path]
    for value in _candidates(old, options):
        try:
            other = changed(spec, path, value)
        except InputError:
            continue
        if leaves(other.to_mapping())[path] != old:
            yield other
