"""Dataclass fields that carry their own rule: the same one-line errors from YAML and from Python."""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, cast

_SHOWN = 200
"""Characters of a value that a message shows."""

_REPR = reprlib.Repr()
_REPR.maxlevel = 3
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 16
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 2 * _SHOWN


class InputError(ValueError):
    """Bad input, told in one line: what, its value, the rule and, where it helps, the next step."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def shown(value: object) -> str:
    """Return a value as it stands in a message: its repr, cut where it is long, many times nested, or both.

    A few lines of YAML can name a value whose whole repr would not fit into memory.
    """
    try:
        text = _REPR.repr(value)
    except ValueError:
        return "a number too long to print"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class Rule(Protocol):
    """What a value must be."""

    def check(self, name: str, value: object) -> object:
        """Return `value` in its canonical type, or raise InputError naming `name`, the value and the rule."""


@dataclass(frozen=True)
class Integer:
    """A whole number in low..high."""

    low: int
    high: int

    def check(self, name: str, value: object) -> int:
        """See Rule."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise InputError(f"`{name}` (={shown(value)}) must be a whole number in {self}")
        number = int(value)
        if not self.low <= number <= self.high:
            raise InputError(f"`{name}` (={shown(number)}) must be in {self}")
        return number

    def __str__(self) -> str:
        return f"{self.low}..{self.high}"


@dataclass(frozen=True)
class Number:
    """A finite real number in low..high."""

    low: float
    high: float

    def check(self, name: str, value: object) -> float:
        """See Rule."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise InputError(f"`{name}` (={shown(value)}) must be a number in {self}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not self.low <= number <= self.high:
            raise InputError(f"`{name}` (={shown(value)}) must be in {self}")
        return number

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Choice:
    """One of a few words or numbers."""

    options: tuple[str | float, ...]

    def check(self, name: str, value: object) -> str | float:
        """See Rule."""
        if isinstance(value, str | numbers.Real) and not isinstance(value, bool):
            for option in self.options:
                if value == option:
                    return option
        raise InputError(f"`{name}` (={shown(value)}) must be one of {', '.join(map(str, self.options))}")


@dataclass(frozen=True)
class Interval:
    """A pair [lowest, highest]; equal ends hold the quantity fixed."""

    ends: Integer | Number

    def check(self, name: str, value: object) -> tuple[float, float]:
        """See Rule."""
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise InputError(f"`{name}` (={shown(value)}) must be a pair [lowest, highest] in {self.ends}")
        low, high = (self.ends.check(name, end) for end in value)
        if low > high:
            raise InputError(f"`{name}` (={[low, high]}) must have its lowest end first")
        return low, high


@dataclass(frozen=True)
class Subset:
    """At least one of the options, each once; kept in the options' order."""

    options: tuple[str, ...]

    def check(self, name: str, value: object) -> tuple[str, ...]:
        """See Rule."""
        rule = f"must be a list of one or more of {', '.join(self.options)}, each once"
        if not isinstance(value, list | tuple) or not value or len({str(item) for item in value}) != len(value):
            raise InputError(f"`{name}` (={shown(value)}) {rule}")
        for item in value:
            if item not in self.options:
                raise InputError(f"`{name}` (={shown(value)}) {rule}; {shown(item)} is not")
        return tuple(option for option in self.options if option in value)


@dataclass(frozen=True)
class Text:
    """A string that matches a regular expression as a whole."""

    pattern: str
    meaning: str

    def check(self, name: str, value: object) -> str:
        """See Rule."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise InputError(f"`{name}` (={shown(value)}) must be {self.meaning}")
        return value


def ruled(rule: Rule, default: Any = dataclasses.MISSING) -> Any:
    """Return a dataclass field whose values obey `rule`."""
    return dataclasses.field(default=default, metadata={"rule": rule})


class Checked:
    """Base of frozen dataclasses whose `ruled` fields are checked when one is made.

    PATH is put before a field's name in messages, as it stands in a spec: "params.".
    """

    PATH: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(cast(Any, self)):
            if rule := cast("Rule | None", field.metadata.get("rule")):
                value = rule.check(self.PATH + field.name, getattr(self, field.name))
                object.__setattr__(self, field.name, value)


T = TypeVar("T")


def from_mapping(cls: type[T], mapping: object, path: str = "") -> T:
    """Build the dataclass `cls` from a mapping; unknown and missing keys are InputErrors that name the key."""
    where = path.rstrip(".") or "the spec"
    if not isinstance(mapping, Mapping):
        raise InputError(f"`{where}` (={shown(mapping)}) must be a mapping of keys to values")
    fields = {field.name: field for field in dataclasses.fields(cast(Any, cls))}
    for key in mapping:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(fields)}"
            raise InputError(f"`{path}{key}` (={shown(mapping[key])}) is not a key of {where}; {hint}")
    for name, field in fields.items():
        if name not in mapping and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"`{path}{name}` is missing from {where}; add it")
    return cls(**mapping)


def is_finite(values: object) -> bool:
    """Return whether every number in the nested lists `values` is a finite number."""
    if isinstance(values, list | tuple):
        return all(map(is_finite, values))
    return isinstance(values, numbers.Real) and math.isfinite(values)
