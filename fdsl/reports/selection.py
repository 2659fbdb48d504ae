"""Selections of categories and instances, as a person writes them."""

from __future__ import annotations

import re

from fdsl.primitives.errors import InputError
from fdsl.primitives.validation import shown

_MOST = 100
"""Numbers of a selection: a sheet has at most so many rows or columns."""

_PART = re.compile(r"(\d{1,7})(?::(\d{1,7}))?", re.ASCII)


def select_numbers(name: str, text: str, n: int) -> list[int]:
    """Return the numbers that a text selects, in its order.

    A whole number selects the first ones, as far as there are so many. A list selects those that it names.

    Parameters
    ----------
    name : of the argument in messages
    text : such as 8, or 5,17,900:905, or 5:6 for number 5 alone
    n : the numbers are 0 .. n - 1

    Raises
    ------
    InputError
        The text is neither, or selects none, too many, or one that is not there.
    """
    if re.fullmatch(r"\d{1,3}", text, re.ASCII) and 1 <= int(text) <= _MOST:
        return list(range(min(int(text), n)))
    matches = [_PART.fullmatch(part) for part in text.split(",")]
    if text.isdecimal() or not all(matches):
        raise InputError(
            f"`{name}` (={shown(text)}) must be a number of 1 to {_MOST} for the first ones, or a list such as 5,17,900:905,"
            " in which 900:905 is 900 to 904; 5:6 is number 5 alone"
        )
    ends = [(int(match[1]), int(match[2] or int(match[1]) + 1)) for match in matches if match]
    numbers = [number for first, stop in ends for number in range(first, min(stop, first + _MOST + 1))]
    if any(first >= stop or stop > n for first, stop in ends):
        raise InputError(f"`{name}` (={shown(text)}) must be below {n:,}, and each A:B with A < B <= {n:,}")
    if len(numbers) > _MOST:
        raise InputError(f"`{name}` (={shown(text)}) must be at most {_MOST} numbers")
    return numbers
