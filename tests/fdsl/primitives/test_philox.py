"""The generator is Philox4x32-10."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsl.primitives.philox import philox4x32, philox4x32_rows
from tests import philox

WORD = st.integers(0, 0xFFFFFFFF)
KEY = st.tuples(WORD, WORD)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_reference_gives_the_known_answers(counter: str, key: str, words: str) -> None:
    """Source: kat_vectors of Random123, by the authors of the SC 2011 paper."""
    c, k, w = (tuple(int(word, 16) for word in text.split()) for text in (counter, key, words))
    assert tuple(philox(c, k)) == w


@settings(deadline=None)
@given(KEY, st.tuples(WORD, WORD, WORD), st.integers(0, 9))
def test_kernel_matches_reference(key: tuple[int, int], counter: tuple[int, int, int], n: int) -> None:
    out = np.zeros(4 * n, dtype=np.uint32)
    philox4x32(*key, *counter, out)
    assert out.tolist() == [word for block in range(n) for word in philox((block, *counter), key)]


@settings(deadline=None)
@given(KEY, st.lists(WORD, max_size=5), WORD, WORD, st.integers(0, 9))
def test_rows_are_single_streams(key: tuple[int, int], counters: list[int], c2: int, c3: int, n: int) -> None:
    rows, row = np.zeros((len(counters), 4 * n), dtype=np.uint32), np.zeros(4 * n, dtype=np.uint32)
    philox4x32_rows(*key, np.array(counters, dtype=np.int64), c2, c3, rows)
    for k, counter in enumerate(counters):
        philox4x32(*key, counter, c2, c3, row)
        assert np.array_equal(rows[k], row)
