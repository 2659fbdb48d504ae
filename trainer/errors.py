"""Errors that the user can fix, in one line."""

import reprlib
import sys

from pydantic import ValidationError


class InputError(ValueError):
    """Mistake of the user, in one line."""


def report(error: BaseException) -> None:
    """Print an error's last line.

    An error of a loader worker starts with a traceback.
    """
    line = (str(error).strip() or type(error).__name__).splitlines()[-1]
    print(f"trainer: {line.removeprefix(f'{__name__}.{InputError.__name__}: ')}", file=sys.stderr, flush=True)


def one_line(value: object) -> str:
    """Return a short text without control characters."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(value).split()))[:300]


def explain(error: ValidationError) -> str:
    """Return the first problem: key, value and rule."""
    problem = error.errors()[0]
    key, rule = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
    return one_line(f"`{key}` (={reprlib.repr(problem['input'])}): {rule}" if key else rule)
