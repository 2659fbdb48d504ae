"""Models accept what their rules allow, convert it to its canonical type, and refuse the rest in one line."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from fdsl.primitives.validation import (
    InputError,
    Model,
    Range,
    as_tuple,
    describe,
    matching,
    one_of,
    parse,
    refusal,
    shown,
    suggestion,
)


class Example(Model):
    """A model with each kind of field that specs have."""

    count: int = Field(3, ge=2, le=8_000)
    size: float = Field(0.0, ge=-0.5, le=1)
    option: Annotated[int | float | str, BeforeValidator(one_of(("shuffled", 0, 0.1)))] = 0
    word: Literal["random", "ring"] = "ring"
    whole_ends: Range[Annotated[int, Field(ge=2, le=16)]] = (2, 7)
    real_ends: Range[Annotated[float, Field(ge=0, le=4)]] = (0.0, 4.0)
    words: Annotated[tuple[Literal["vertices", "gap"], ...], BeforeValidator(as_tuple)] = ("vertices",)
    name: Annotated[str, AfterValidator(matching("[a-z]+", "lower-case letters"))] = "abc"


@pytest.mark.parametrize(
    ("field", "value", "canonical"),
    [
        ("count", 2, 2),
        ("count", 8_000, 8_000),
        ("size", -0.5, -0.5),
        ("size", 1, 1.0),
        ("size", np.float64(0.25), 0.25),
        ("size", np.float32(0.25), 0.25),
        ("size", Fraction(1, 4), 0.25),
        ("option", "shuffled", "shuffled"),
        ("option", 0.1, 0.1),
        ("option", 0.0, 0),
        ("option", -0.0, 0),
        ("option", np.float64(0.1), 0.1),
        ("word", "random", "random"),
        ("whole_ends", [2, 16], (2, 16)),
        ("whole_ends", (3, 3), (3, 3)),
        ("real_ends", [0, 4], (0.0, 4.0)),
        ("words", ["gap"], ("gap",)),
        ("words", (), ()),
        ("name", "z", "z"),
    ],
)
def test_good_value_gets_its_canonical_type(field: str, value: object, canonical: object) -> None:
    checked = getattr(parse(Example, {field: value}, "the example"), field)
    assert checked == canonical
    assert type(checked) is type(canonical)
    if isinstance(canonical, tuple):
        assert [type(item) for item in checked] == [type(item) for item in canonical]


BAD_VALUES: list[tuple[str, Any, str]] = [
    ("count", 1, "`count` (=1) must be at least 2"),
    ("count", 8_001, "`count` (=8001) must be at most 8,000"),
    ("count", True, "`count` (=True) must be a whole number"),
    ("count", 3.0, "`count` (=3.0) must be a whole number"),
    ("count", "3", "`count` (='3') must be a whole number; write 3"),
    ("count", "010", "`count` (='010') must be a whole number; write 10"),
    ("count", "1_000", "`count` (='1_000') must be a whole number; write 1000"),
    ("count", "1e3", "`count` (='1e3') must be a whole number; write 1000"),
    ("count", "0.5", "`count` (='0.5') must be a whole number"),
    ("count", "0x10", "`count` (='0x10') must be a whole number"),
    ("count", "1e999", "`count` (='1e999') must be a whole number"),
    ("count", None, "`count` (=None) must be a whole number"),
    ("count", math.nan, "`count` (=nan) must be a whole number"),
    ("count", "two\nlines", r"`count` (='two\nlines') must be a whole number"),
    ("count", np.int64(5), "`count` (=np.int64(5)) must be a whole number"),
    ("count", np.True_, "`count` (=np.True_) must be a whole number"),
    ("count", np.eye(2), "`count` (=array([[1., 0.], [0., 1.]])) must be a whole number"),
    ("size", 1.5, "`size` (=1.5) must be at most 1"),
    ("size", -0.6, "`size` (=-0.6) must be at least -0.5"),
    ("size", -1, "`size` (=-1) must be at least -0.5"),
    ("size", math.nan, "`size` (=nan) must be a finite number"),
    ("size", math.inf, "`size` (=inf) must be a finite number"),
    ("size", False, "`size` (=False) must be a number"),
    ("size", "0.5", "`size` (='0.5') must be a number; write 0.5"),
    ("size", "1e-3", "`size` (='1e-3') must be a number; write 0.001"),
    ("size", "nan", "`size` (='nan') must be a number"),
    ("size", None, "`size` (=None) must be a number"),
    ("size", 1j, "`size` (=1j) must be a number"),
    ("option", "random", "`option` (='random') must be one of shuffled, 0, 0.1"),
    ("option", 0.2, "`option` (=0.2) must be one of shuffled, 0, 0.1"),
    ("option", False, "`option` (=False) must be one of shuffled, 0, 0.1"),
    ("option", None, "`option` (=None) must be one of shuffled, 0, 0.1"),
    ("option", ["shuffled"], "`option` (=['shuffled']) must be one of shuffled, 0, 0.1"),
    ("option", np.zeros(2), "`option` (=array([0., 0.])) must be one of shuffled, 0, 0.1"),
    ("option", np.False_, "`option` (=np.False_) must be one of shuffled, 0, 0.1"),
    ("word", "above", "`word` (='above') must be 'random' or 'ring'"),
    ("whole_ends", [7, 2], "`whole_ends` (=[7, 2]) must have its lowest end first"),
    ("whole_ends", [1, 7], "`whole_ends.0` (=1) must be at least 2"),
    ("whole_ends", [2, 17], "`whole_ends.1` (=17) must be at most 16"),
    ("whole_ends", [2, 7.0], "`whole_ends.1` (=7.0) must be a whole number"),
    ("whole_ends", [2, True], "`whole_ends.1` (=True) must be a whole number"),
    ("whole_ends", [2], "`whole_ends` (=[2]) must be a pair [lowest, highest]"),
    ("whole_ends", [2, 3, 4], "`whole_ends` (=[2, 3, 4]) must be a pair [lowest, highest]"),
    ("whole_ends", 5, "`whole_ends` (=5) must be a pair [lowest, highest]"),
    ("whole_ends", "27", "`whole_ends` (='27') must be a pair [lowest, highest]"),
    ("whole_ends", {2: 0, 7: 0}, "`whole_ends` (={2: 0, 7: 0}) must be a pair [lowest, highest]"),
    ("whole_ends", {2, 7}, "`whole_ends` (={2, 7}) must be a pair [lowest, highest]"),
    ("whole_ends", range(2, 4), "`whole_ends` (=range(2, 4)) must be a pair [lowest, highest]"),
    ("real_ends", [0.0, math.nan], "`real_ends.1` (=nan) must be a finite number"),
    ("real_ends", [4.0, 0.5], "`real_ends` (=[4.0, 0.5]) must have its lowest end first"),
    ("words", "gap", "`words` (='gap') must be a list"),
    ("words", {"gap"}, "`words` (={'gap'}) must be a list"),
    ("words", None, "`words` (=None) must be a list"),
    ("words", ["gap", "hue"], "`words.1` (='hue') must be 'vertices' or 'gap'"),
    ("words", ["gap", ["gap"]], "`words.1` (=['gap']) must be 'vertices' or 'gap'"),
    ("name", "Abc", "`name` (='Abc') must be lower-case letters"),
    ("name", "abc\n", r"`name` (='abc\n') must be lower-case letters"),
    ("name", "", "`name` (='') must be lower-case letters"),
    ("name", 3, "`name` (=3) must be text"),
]


@pytest.mark.parametrize(("field", "value", "message"), BAD_VALUES)
def test_bad_value_is_refused_in_one_line(field: str, value: object, message: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(Example, {field: value}, "the example")
    assert str(refused.value) == message
    with pytest.raises(ValidationError) as in_python:
        Example(**{field: value})
    assert " ".join(describe(in_python.value, "the example").split()) == message


def test_huge_number_is_refused_in_a_short_line() -> None:
    for field in ("count", "size"):
        with pytest.raises(InputError, match=rf"^`{field}` \(=10+\.+\) must be ") as refused:
            parse(Example, {field: 10**400}, "the example")
        assert len(str(refused.value)) < 300


ANYTHING = st.integers(0, 10) | st.integers() | st.floats() | st.booleans() | st.text() | st.none()


@settings(deadline=None)
@given(ANYTHING)
def test_integer_field_holds_only_ints_in_range(value: object) -> None:
    try:
        checked = parse(Example, {"count": value}, "the example").count
    except InputError:
        assert type(value) is not int or not 2 <= value <= 8_000
    else:
        assert type(checked) is int
        assert 2 <= checked <= 8_000
        assert checked == value


class Outer(Model):
    """A model inside a model, and a rule on both."""

    inner: Example
    total: int = 5

    @model_validator(mode="after")
    def _limit_total(self) -> Outer:
        if self.inner.count > self.total:
            raise refusal(f"`inner.count` (={self.inner.count}) must be at most `total` (={self.total})")
        return self


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"inner": {"cuont": 3}}, "`inner.cuont` (=3) is not a key of inner; did you mean `count`?"),
        (
            {"inner": {"zzz": 1}},
            "`inner.zzz` (=1) is not a key of inner;"
            " known keys: count, size, option, word, whole_ends, real_ends, words, name",
        ),
        ({"inner": {}, 7: "x"}, "`7` (='x') is not a key of the example; known keys: inner, total"),
        ({"total": 5}, "`inner` is missing from the example; add it"),
        ({"totl": 5}, "`totl` (=5) is not a key of the example; did you mean `total`?"),
        ({"inner": [3, 5]}, "`inner` (=[3, 5]) must be a mapping of keys to values"),
        ({"inner": None}, "`inner` (=None) must be a mapping of keys to values"),
        ([3, 5], "`the example` (=[3, 5]) must be a mapping of keys to values"),
        ("maps: 3", "`the example` (='maps: 3') must be a mapping of keys to values"),
        (None, "`the example` (=None) must be a mapping of keys to values"),
        ({"inner": {"count": 1}}, "`inner.count` (=1) must be at least 2"),
        ({"inner": {"count": 6}}, "`inner.count` (=6) must be at most `total` (=5)"),
        ({"inner": {}, "two\nlines": 1}, "`two lines` (=1) is not a key of the example; known keys: inner, total"),
    ],
)
def test_bad_mapping_is_refused_in_one_line(mapping: object, message: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(Outer, mapping, "the example")
    assert str(refused.value) == message


def test_model_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Example().count = 5  # type: ignore[misc]


def test_json_gives_the_same_model() -> None:
    example = Example(count=5, option=0.1, real_ends=(1, 2), words=("gap",))
    assert Example.model_validate_json(example.model_dump_json()) == example


HUGE = {
    "text": "x" * 10_000,
    "list": list(range(10**5)),
    "mapping": {k: [k] * 99 for k in range(99)},
    "number": 10**5000,
}


@pytest.mark.parametrize("value", HUGE.values(), ids=HUGE)
def test_shown_value_is_short(value: object) -> None:
    assert 1 <= len(shown(value)) <= 203


def test_shown_value_of_nested_yaml_is_short() -> None:
    nested: list[Any] = ["lol"]
    for _ in range(30):
        nested = [nested] * 9
    assert len(shown(nested)) <= 203


def test_suggestion_is_the_nearest_or_all() -> None:
    assert suggestion("cuont", ["count", "size"], "known: {}") == "did you mean `count`?"
    assert suggestion("zzz", ["count", "size"], "known: {}") == "known: count, size"
