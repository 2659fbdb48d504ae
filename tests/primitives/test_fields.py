"""Fields accept what their rule allows, in its canonical type, and refuse the rest in one line that says why."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primitives.fields import (
    Checked,
    Choice,
    InputError,
    Integer,
    Interval,
    Number,
    Rule,
    Subset,
    Text,
    from_mapping,
    is_finite,
    ruled,
)

INTEGER, NUMBER, CHOICE = Integer(2, 8), Number(-0.5, 1.0), Choice(("shuffled", 0, 0.1))
PAIR, REAL_PAIR = Interval(Integer(2, 16)), Interval(Number(0.0, 4.0))
SUBSET, TEXT = Subset(("vertices", "contours", "gap")), Text("[a-z]+", "lower-case letters")


@pytest.mark.parametrize(
    ("rule", "value", "canonical"),
    [
        (INTEGER, 2, 2),
        (INTEGER, 8, 8),
        (INTEGER, np.int64(5), 5),
        (INTEGER, np.uint8(5), 5),
        (NUMBER, -0.5, -0.5),
        (NUMBER, 1, 1.0),
        (NUMBER, np.float32(0.25), 0.25),
        (NUMBER, np.int16(1), 1.0),
        (NUMBER, Fraction(1, 4), 0.25),
        (CHOICE, "shuffled", "shuffled"),
        (CHOICE, 0.1, 0.1),
        (CHOICE, 0.0, 0),
        (CHOICE, np.float64(0.1), 0.1),
        (PAIR, [2, 16], (2, 16)),
        (PAIR, (3, 3), (3, 3)),
        (PAIR, [np.int32(2), 7], (2, 7)),
        (REAL_PAIR, [0, 4], (0.0, 4.0)),
        (SUBSET, ["gap"], ("gap",)),
        (SUBSET, ["gap", "vertices"], ("vertices", "gap")),
        (TEXT, "abc", "abc"),
    ],
)
def test_a_value_that_obeys_is_returned_in_its_canonical_type(rule: Rule, value: object, canonical: object) -> None:
    checked = rule.check("maps", value)
    assert checked == canonical
    assert type(checked) is type(canonical)
    if isinstance(canonical, tuple):
        assert isinstance(checked, tuple)
        assert [type(item) for item in checked] == [type(item) for item in canonical]


@pytest.mark.parametrize(
    ("rule", "value", "told"),
    [
        (INTEGER, 1, "`maps` (=1) must be in 2..8"),
        (INTEGER, 9, "`maps` (=9) must be in 2..8"),
        (INTEGER, np.int64(9), "`maps` (=9) must be in 2..8"),
        (INTEGER, True, "`maps` (=True) must be a whole number in 2..8"),
        (INTEGER, np.True_, "(=np.True_) must be a whole number in 2..8"),
        (INTEGER, 3.0, "`maps` (=3.0) must be a whole number in 2..8"),
        (INTEGER, "3", "`maps` (='3') must be a whole number in 2..8"),
        (INTEGER, None, "`maps` (=None) must be a whole number in 2..8"),
        (INTEGER, math.nan, "`maps` (=nan) must be a whole number in 2..8"),
        (INTEGER, "two\nlines", r"`maps` (='two\nlines') must be a whole number in 2..8"),
        (INTEGER, np.eye(2), "must be a whole number in 2..8"),
        (NUMBER, 1.5, "`maps` (=1.5) must be in -0.5..1"),
        (NUMBER, -0.6, "`maps` (=-0.6) must be in -0.5..1"),
        (NUMBER, -1, "`maps` (=-1) must be in -0.5..1"),
        (NUMBER, math.nan, "`maps` (=nan) must be in -0.5..1"),
        (NUMBER, math.inf, "`maps` (=inf) must be in -0.5..1"),
        (NUMBER, -math.inf, "`maps` (=-inf) must be in -0.5..1"),
        (NUMBER, False, "`maps` (=False) must be a number in -0.5..1"),
        (NUMBER, "0.5", "`maps` (='0.5') must be a number in -0.5..1"),
        (NUMBER, None, "`maps` (=None) must be a number in -0.5..1"),
        (NUMBER, 1j, "`maps` (=1j) must be a number in -0.5..1"),
        pytest.param(NUMBER, 10**400, "must be in -0.5..1", id="10**400"),
        (CHOICE, "random", "`maps` (='random') must be one of shuffled, 0, 0.1"),
        (CHOICE, 0.2, "`maps` (=0.2) must be one of shuffled, 0, 0.1"),
        (CHOICE, False, "`maps` (=False) must be one of shuffled, 0, 0.1"),
        (CHOICE, None, "`maps` (=None) must be one of shuffled, 0, 0.1"),
        (CHOICE, ["shuffled"], "`maps` (=['shuffled']) must be one of shuffled, 0, 0.1"),
        (CHOICE, np.zeros(2), "must be one of shuffled, 0, 0.1"),
        (CHOICE, np.False_, "`maps` (=np.False_) must be one of shuffled, 0, 0.1"),
        (PAIR, [7, 2], "`maps` (=[7, 2]) must have its lowest end first"),
        (PAIR, [1, 7], "`maps` (=1) must be in 2..16"),
        (PAIR, [2, 17], "`maps` (=17) must be in 2..16"),
        (PAIR, [2, 7.0], "`maps` (=7.0) must be a whole number in 2..16"),
        (PAIR, [2, True], "`maps` (=True) must be a whole number in 2..16"),
        (PAIR, [2], "`maps` (=[2]) must be a pair [lowest, highest] in 2..16"),
        (PAIR, [2, 3, 4], "`maps` (=[2, 3, 4]) must be a pair [lowest, highest] in 2..16"),
        (PAIR, 5, "`maps` (=5) must be a pair [lowest, highest] in 2..16"),
        (PAIR, "27", "`maps` (='27') must be a pair [lowest, highest] in 2..16"),
        (PAIR, {2: 0, 7: 0}, "`maps` (={2: 0, 7: 0}) must be a pair [lowest, highest] in 2..16"),
        (REAL_PAIR, [0.0, math.nan], "`maps` (=nan) must be in 0..4"),
        (REAL_PAIR, [4.0, 0.5], "`maps` (=[4.0, 0.5]) must have its lowest end first"),
        (SUBSET, [], "`maps` (=[]) must be a list of one or more of vertices, contours, gap, each once"),
        (
            SUBSET,
            ["gap", "gap"],
            "(=['gap', 'gap']) must be a list of one or more of vertices, contours, gap, each once",
        ),
        (
            SUBSET,
            ["gap", "hue"],
            "(=['gap', 'hue']) must be a list of one or more of vertices, contours, gap, each once",
        ),
        (SUBSET, "gap", "`maps` (='gap') must be a list of one or more of vertices, contours, gap, each once"),
        (SUBSET, ["gap", ["gap"]], "must be a list of one or more of vertices, contours, gap, each once"),
        (SUBSET, [1], "`maps` (=[1]) must be a list of one or more of vertices, contours, gap, each once"),
        (SUBSET, None, "`maps` (=None) must be a list of one or more of vertices, contours, gap, each once"),
        (TEXT, "Abc", "`maps` (='Abc') must be lower-case letters"),
        (TEXT, "abc\n", r"`maps` (='abc\n') must be lower-case letters"),
        (TEXT, "", "`maps` (='') must be lower-case letters"),
        (TEXT, 3, "`maps` (=3) must be lower-case letters"),
    ],
)
def test_a_value_that_does_not_obey_is_refused_with_its_name_value_and_rule(
    rule: Rule, value: object, told: str
) -> None:
    with pytest.raises(InputError) as refusal:
        rule.check("maps", value)
    message = str(refusal.value)
    assert message.startswith("`maps` (=")
    assert told in message
    assert len(message.splitlines()) == 1


def test_a_subset_says_which_item_is_not_an_option() -> None:
    with pytest.raises(InputError, match=r"'hue' is not$"):
        SUBSET.check("label", ["gap", "hue"])


@settings(deadline=None)
@given(st.integers(0, 10) | st.integers() | st.floats() | st.booleans() | st.text() | st.none())
def test_what_an_integer_rule_lets_through_is_a_plain_int_in_range(value: object) -> None:
    try:
        checked = INTEGER.check("maps", value)
    except InputError:
        assert type(value) is not int or not 2 <= value <= 8
    else:
        assert type(checked) is int
        assert 2 <= checked <= 8
        assert checked == value


@dataclass(frozen=True)
class Example(Checked):
    """A dataclass as the families have it."""

    PATH: ClassVar[str] = "params."
    maps: int = ruled(INTEGER)
    points: int = ruled(Integer(100, 1000), 500)
    free: object = None


def test_a_mapping_becomes_the_dataclass_and_its_defaults() -> None:
    assert from_mapping(Example, {"maps": np.int64(3)}) == Example(maps=3, points=500)
    assert type(from_mapping(Example, {"maps": np.int64(3)}).maps) is int


def test_a_field_without_a_rule_takes_anything() -> None:
    anything = object()
    assert Example(maps=3, free=anything).free is anything


@pytest.mark.parametrize("make", [lambda: Example(maps=1), lambda: from_mapping(Example, {"maps": 1}, "params.")])
def test_python_and_a_mapping_give_the_same_error_with_the_keys_path(make: Callable[[], Example]) -> None:
    with pytest.raises(InputError, match=r"^`params\.maps` \(=1\) must be in 2\.\.8$"):
        make()


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"maps": 3, "point": 500}, "`params.point` (=500) is not a key of params; did you mean `points`?"),
        ({"maps": 3, "zzz": 1}, "`params.zzz` (=1) is not a key of params; known keys: maps, points, free"),
        ({"maps": 3, 7: "x"}, "`params.7` (='x') is not a key of params; known keys: maps, points, free"),
        ({"points": 500}, "`params.maps` is missing from params; add it"),
        ([3, 500], "`params` (=[3, 500]) must be a mapping of keys to values"),
        ("maps: 3", "`params` (='maps: 3') must be a mapping of keys to values"),
        (None, "`params` (=None) must be a mapping of keys to values"),
    ],
)
def test_a_mapping_with_wrong_keys_is_refused(mapping: object, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        from_mapping(Example, mapping, "params.")
    assert str(refusal.value) == message


def test_the_root_of_a_spec_is_called_the_spec() -> None:
    with pytest.raises(InputError, match=r"^`maps` is missing from the spec; add it$"):
        from_mapping(Example, {})


def test_an_unknown_key_of_two_lines_is_told_in_one() -> None:
    with pytest.raises(InputError) as refusal:
        from_mapping(Example, {"two\nlines": 1})
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("values", "finite"),
    [
        (1.5, True),
        ([1, [2.0, (3,)]], True),
        ([], True),
        (math.nan, False),
        ([1.0, [math.inf]], False),
        ([1.0, None], False),
        ("1", False),
    ],
)
def test_finite_means_every_number_of_a_nested_list(values: object, finite: bool) -> None:
    assert is_finite(values) is finite
