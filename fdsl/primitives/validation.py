"""Validated models, and their errors in one line.

pydantic checks types, ranges and keys. `describe` turns its error into one line: what, its value, the rule, the next step.
"""

from __future__ import annotations

import difflib
import math
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from fdsl.primitives.errors import InputError

_SHOWN_CHARACTERS = 200

_REPR = reprlib.Repr()
_REPR.maxlevel = 3
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 16
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 2 * _SHOWN_CHARACTERS

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)


def shown(value: object) -> str:
    """Return the repr of a value, cut to 200 characters.

    A nested value may be too large to print.
    """
    try:
        text = _REPR.repr(value)
    except ValueError:
        return "a number too long to print"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def check_whole_number(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise InputError unless an argument is a whole number in range.

    Parameters
    ----------
    name : the argument's name in messages
    low, high : ends of the range, both included; no upper end if None
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not low <= value <= (value if high is None else high):  # type: ignore[operator]
        rule = f"of at least {low:,}" if high is None else f"in {low:,}..{high:,}"
        raise InputError(f"`{name}` (={shown(value)}) must be a whole number {rule}")


class Model(BaseModel):
    """Base of all validated models: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        """Report an unknown key before a missing one.

        A mistyped key is both; its name helps more.
        """
        for key in data if isinstance(data, Mapping) else ():
            if key not in cls.model_fields:
                hint = suggestion(str(key), cls.model_fields, "known keys: {}")
                raise PydanticCustomError("unknown_key", "{hint}", {"key": key, "value": data[key], "hint": hint})
        return data


class FamilyParams(Model):
    """Base of a family's parameters."""

    @property
    def max_categories(self) -> int | None:
        """Number of different categories that are possible; None if unlimited."""
        return None

    @property
    def instances_step(self) -> int:
        """Instances of a split must be a multiple of this."""
        return 1


def suggestion(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return "did you mean X?", or else the known names."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean `{close[0]}`?" if close else otherwise.format(", ".join(names))


def parse(model: type[ModelT], data: object, where: str) -> ModelT:
    """Return the model that plain data describes.

    Parameters
    ----------
    data : a mapping, as YAML or JSON holds it
    where : the name of the whole in messages, such as "the spec"

    Raises
    ------
    InputError
        The first key or value that is wrong.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InputError(describe(error, where)) from None


def describe(error: ValidationError, where: str) -> str:
    """Return one line on the first problem of a validation error."""
    details = [item for item in error.errors() if item["type"] != "default_factory_not_called"]
    return _line(details[0], where)


def _line(item: ErrorDetails, where: str) -> str:
    """Return one line on one problem."""
    kind, path, value, context = item["type"], item["loc"], item["input"], item.get("ctx", {})
    name = ".".join(str(part) for part in path)
    if kind == "line":
        return item["msg"]
    if kind == "unknown_key":
        key = ".".join(str(part) for part in (*path, context["key"]))
        return f"`{key}` (={shown(context['value'])}) is not a key of {name or where}; {context['hint']}"
    if kind == "missing":
        return f"`{name}` is missing from {'.'.join(map(str, path[:-1])) or where}; add it"
    if kind == "model_type":
        return f"`{name or where}` (={shown(value)}) must be a mapping of keys to values"
    if kind == "invalid_key":
        return f"`{name}` is not a key of {where}: keys are words"
    hint = _number_hint(value, kind == "int_type") if kind in ("int_type", "float_type") else ""
    return f"`{name or where}` (={shown(value)}) {_rule(item)}{hint}"


def _number_hint(text: object, is_whole: bool) -> str:
    """Return a hint on a text like 1e3 or 010."""
    try:
        number = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return ""
    if number.is_integer():
        return f"; write {number:.0f}"
    return "" if is_whole or not math.isfinite(number) else f"; write {number:.15f}".rstrip("0")


def _plain(limit: float) -> str:
    """Format a limit: 1,000; 15, not 15.0."""
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"


_RULES: dict[str, Callable[[dict[str, Any]], str]] = {
    "int_type": lambda context: "must be a whole number",
    "float_type": lambda context: "must be a number",
    "finite_number": lambda context: "must be a finite number",
    "string_type": lambda context: "must be text",
    "tuple_type": lambda context: "must be a list",
    "greater_than_equal": lambda context: f"must be at least {_plain(context['ge'])}",
    "less_than_equal": lambda context: f"must be at most {_plain(context['le'])}",
    "too_short": lambda context: f"must have {_plain(context['min_length'])} or more entries",
    "too_long": lambda context: f"must have at most {_plain(context['max_length'])} entries",
    "literal_error": lambda context: f"must be {context['expected']}",
}


def _rule(item: ErrorDetails) -> str:
    """Return the rule that a value breaks, as "must be ..."."""
    if item["type"] in _RULES:
        return _RULES[item["type"]](item.get("ctx", {}))
    message = item["msg"].removeprefix("Value error, ")
    for subject in ("Input", "String", "Tuple", "List"):
        message = message.removeprefix(f"{subject} should").strip()
    return message if message.startswith("must ") else f"must {message}"


def refusal(line: str) -> PydanticCustomError:
    """Return the error of a rule on several fields.

    `line` names the fields and is shown as it is.
    """
    return PydanticCustomError("line", "{line}", {"line": line})


def as_tuple(value: object) -> object:
    """Convert a list to a tuple; keep any other value."""
    return tuple(value) if isinstance(value, list) else value


def _pair(value: object) -> object:
    """Refuse what is not a list or tuple of two."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise PydanticCustomError("pair", "must be a pair [lowest, highest]")
    return tuple(value)


def _ascending(ends: tuple[T, T]) -> tuple[T, T]:
    """Raise if the first end is greater than the second."""
    low, high = ends
    if low > high:  # type: ignore[operator]
        raise PydanticCustomError("order", "must have its lowest end first")
    return ends


Range = Annotated[tuple[T, T], BeforeValidator(_pair), AfterValidator(_ascending)]
"""A pair [lowest, highest]; equal ends hold the quantity fixed."""


def one_of(options: tuple[T, ...]) -> Callable[[Any], T]:
    """Return a check that converts a value to the equal option."""

    def check(value: Any) -> T:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            for option in options:
                if value == option:
                    return option
        raise PydanticCustomError("option", "must be one of {options}", {"options": ", ".join(map(str, options))})

    return check


def matching(pattern: str, meaning: str) -> Callable[[str], str]:
    """Return a check that a whole text matches a pattern.

    `meaning` describes the pattern in messages.
    """

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise PydanticCustomError("text", "must be {meaning}", {"meaning": meaning})
        return text

    return check
