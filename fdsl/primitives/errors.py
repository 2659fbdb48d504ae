"""The error of bad input.

Imports nothing, so that the command starts fast.
"""

from __future__ import annotations


class InputError(ValueError):
    """Bad input, in one line.

    The line says what, its value, the rule, and the next step.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """Return a text with its line breaks as spaces."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip())
