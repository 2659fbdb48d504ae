"""Errors that the user can fix, each in one line."""

import sys

from pydantic import ValidationError


class InputError(ValueError):
    """Mistake of the user, in one line."""


def report(error: BaseException) -> None:
    """Print an error's last line; a worker's starts with a traceback."""
    line = str(error).strip().splitlines()[-1]
    print(f"trainer: {line.removeprefix(f'{__name__}.{InputError.__name__}: ')}", file=sys.stderr, flush=True)


def one_line(error: BaseException) -> str:
    """Return an error's text without line breaks, shortened."""
    return " ".join(str(error).split())[:300]


def explain(error: ValidationError) -> str:
    """Return a schema's first problem: key, value, and pydantic's rule."""
    problem = error.errors()[0]
    key, rule = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
    return f"`{key}` (={problem['input']!r:.80}): {rule}" if key else rule
