"""Selections: the first ones, or those of a list."""

from __future__ import annotations

import pytest

from fdsl import InputError
from fdsl.reports.selection import select_numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1", [0]),
        ("4", [0, 1, 2, 3]),
        ("100", list(range(30))),
        ("5:6", [5]),
        ("5,17", [5, 17]),
        ("17,5,20:23", [17, 5, 20, 21, 22]),
        ("0:30", list(range(30))),
    ],
)
def test_texts_select(text: str, numbers: list[int]) -> None:
    assert select_numbers("categories", text, 30) == numbers


@pytest.mark.parametrize(
    "text", ["", "0", "101", "0000", "5,", ",5", "5:", ":5", "-1", "1-3", "a", "1:2:3", "1.5", "\u0663", "5 ,6"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(
        InputError, match=r"^`instances` \(=.*\) must be a number of 1 to 100 for the first ones, or a list"
    ):
        select_numbers("instances", text, 30)


@pytest.mark.parametrize("text", ["5,30", "29:31", "3:3", "4:3", "9999999,1", "0:9999999"])
def test_numbers_that_are_not_there_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"must be below 30, and each A:B with A < B <= 30$"):
        select_numbers("categories", text, 30)


def test_too_many_are_refused() -> None:
    assert len(select_numbers("categories", "50:150", 1000)) == 100
    with pytest.raises(InputError, match=r"must be at most 100 numbers$"):
        select_numbers("categories", "7,50:150", 1000)
