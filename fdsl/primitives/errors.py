"""The error of bad input.

Imports nothing, so that the command starts fast.
"""

from __future__ import annotations

_MAX_CHARACTERS = 2000
"""Limit of a message, which may quote the content of a file."""

PLATFORMS = "fdsl runs on Linux and macOS; on Windows, use the Windows Subsystem for Linux"


class InputError(ValueError):
    """Bad input, in one line.

    The line says what, its value, the rule, and the next step.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message)[:_MAX_CHARACTERS])


def extra_hint(extra: str) -> str:
    """Return how to install what an extra of fdsl needs."""
    return f"install fdsl with its extra `{extra}`, such as pip install '.[{extra}]' in a clone"


def one_line(text: str) -> str:
    """Return a text with its line breaks as spaces, printable."""
    return printable(" ".join(line.strip() for line in text.splitlines() if line.strip()))


def printable(text: str) -> str:
    """Escape what would control a terminal, such as `\\x1b`.

    A file name may hold any byte but `/`.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def encodable(text: str) -> str:
    """Escape bytes of a file name that are not UTF-8, for JSON."""
    return text.encode("utf-8", "backslashreplace").decode()


_ON = "on machine "
"""Start of the note on an error of another machine."""


def note_machine(error: BaseException, name: str) -> None:
    """Add the name of a machine to an error."""
    error.add_note(_ON + name)


def machine_of(error: BaseException) -> str | None:
    """Return the machine that an error was noted with, or None."""
    notes: list[str] = getattr(error, "__notes__", [])
    return next((note.removeprefix(_ON) for note in notes if note.startswith(_ON)), None)
