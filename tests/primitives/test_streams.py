"""Streams are Philox4x32-10, and no two of them share their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primitives.kernels import philox4x32
from primitives.streams import CATEGORY, PLAN, TRAIN, VALIDATION, Stream, below, domain, uniforms, words_of_each
from tests import misfit

MASK = 0xFFFFFFFF
WORD = st.integers(0, MASK)
SEED = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**32, 2**63, 2**64 - 1])
STREAM = st.builds(Stream, SEED, st.integers(0, 0xFFFF), WORD, WORD)
LANE = st.integers(0, 0xFFFF)


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> list[int]:
    """Return one block of Philox4x32-10, in Python's whole numbers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high_0, low_0 = divmod(0xD2511F53 * c0, 2**32)
        high_1, low_1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return [c0, c1, c2, c3]


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_the_reference_gives_the_known_answers(counter: str, key: str, words: str) -> None:
    """Source: kat_vectors of Random123, by the authors of the SC 2011 paper."""
    c, k, w = (tuple(int(word, 16) for word in text.split()) for text in (counter, key, words))
    assert tuple(philox(c, k)) == w


def test_the_first_stream_begins_with_the_known_answer() -> None:
    assert Stream(0, 0, 0, 0).words(0, 4).tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@settings(deadline=None)
@given(st.tuples(WORD, WORD), st.tuples(WORD, WORD, WORD), st.integers(0, 9))
def test_the_kernel_gives_the_references_blocks(key: tuple[int, int], counter: tuple[int, int, int], n: int) -> None:
    out = np.zeros(4 * n, dtype=np.uint32)
    philox4x32(*key, *counter, out)
    assert out.tolist() == [word for block in range(n) for word in philox((block, *counter), key)]


@settings(deadline=None)
@given(STREAM, LANE, st.lists(WORD, max_size=5), st.integers(0, 9))
def test_many_streams_at_once_are_each_one(stream: Stream, lane: int, instances: list[int], n: int) -> None:
    found = words_of_each(stream, instances, lane, n)
    assert found.shape == (len(instances), n)
    assert found.tolist() == [stream._replace(instance=k).words(lane, n).tolist() for k in instances]


@settings(deadline=None)
@given(STREAM, LANE)
def test_all_of_a_streams_name_goes_into_key_and_counter(stream: Stream, lane: int) -> None:
    key = (stream.seed % 2**32, stream.seed // 2**32)
    counter = (0, stream.instance, stream.category, stream.domain * 2**16 + lane)
    assert stream.words(lane, 4).tolist() == philox(counter, key)


@settings(deadline=None)
@given(STREAM, LANE, st.integers(0, 300), st.integers(0, 300))
def test_a_longer_read_of_a_lane_begins_with_the_shorter(stream: Stream, lane: int, n: int, more: int) -> None:
    short, long = stream.words(lane, n), stream.words(lane, n + more)
    assert short.shape == (n,)
    assert short.dtype == np.uint32
    assert np.array_equal(long[:n], short)


@settings(deadline=None)
@given(st.data(), STREAM, LANE)
def test_streams_that_differ_in_one_part_of_their_name_differ(data: st.DataObject, stream: Stream, lane: int) -> None:
    ranges = {"seed": SEED, "domain": LANE, "category": WORD, "instance": WORD, "lane": LANE}
    field = data.draw(st.sampled_from(sorted(ranges)))
    old = lane if field == "lane" else getattr(stream, field)
    new = data.draw(ranges[field].filter(lambda value: value != old))
    words = stream.words(new, 8) if field == "lane" else stream._replace(**{field: new}).words(lane, 8)
    assert not np.array_equal(words, stream.words(lane, 8))


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_the_first_and_the_last_seed_give_uniform_numbers(seed: int) -> None:
    numbers = Stream(seed, 1, 2, 3).uniforms(4, 10_000)
    assert abs(misfit(np.histogram(numbers, bins=50, range=(0, 1))[0], [1.0] * 50)) < 4


def test_the_roles_of_all_families_are_different_domains_of_16_bits() -> None:
    domains = {domain(family, role) for family in range(1, 256) for role in (CATEGORY, TRAIN, VALIDATION, PLAN)}
    assert len(domains) == 255 * 4
    assert min(domains) >= 0
    assert max(domains) < 2**16


def test_uniforms_lie_in_the_open_interval_a_step_apart() -> None:
    first, second, last = uniforms(np.array([0, 1, MASK], dtype=np.uint32))
    assert 0.0 < first < second < last < 1.0
    assert second - first == 2.0**-32
    assert first == 1.0 - last


@settings(deadline=None)
@given(WORD, st.integers(1, 2**20))
def test_below_is_the_share_of_n_that_the_word_is_of_all_words(word: int, n: int) -> None:
    assert below(word, n) == word * n // 2**32
    assert (below(0, n), below(MASK, n)) == (0, n - 1)


@pytest.mark.parametrize("n", [1, 2, 7, 145, 257])
def test_below_covers_its_range_and_is_uniform(n: int) -> None:
    counts = np.bincount([below(word, n) for word in Stream(3, 0, n, 0).words(0, 60 * n)], minlength=n)
    assert len(counts) == n
    assert counts.min() > 0
    assert n == 1 or abs(misfit(counts, [1.0] * n)) < 4
