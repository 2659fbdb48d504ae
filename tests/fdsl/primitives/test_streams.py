"""Streams are addressed blocks of Philox, and no two share a number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsl.primitives.streams import (
    CATEGORY,
    PLAN,
    TRAIN,
    VALIDATION,
    Stream,
    below,
    domain,
    uniforms,
    words_of_instances,
)
from tests import misfit, philox

MASK = 0xFFFFFFFF
WORD = st.integers(0, MASK)
SEED = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**32, 2**63, 2**64 - 1])
STREAM = st.builds(Stream, SEED, st.integers(0, 0xFFFF), WORD, WORD)
LANE = st.integers(0, 0xFFFF)


def test_first_stream_begins_with_the_known_answer() -> None:
    assert Stream(0, 0, 0, 0).words(0, 4).tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@settings(deadline=None)
@given(STREAM, LANE, st.lists(WORD, max_size=5), st.integers(0, 9))
def test_words_of_instances_are_single_streams(stream: Stream, lane: int, instances: list[int], n: int) -> None:
    words = words_of_instances(stream, instances, lane, n)
    assert words.shape == (len(instances), n)
    assert words.tolist() == [stream._replace(instance=k).words(lane, n).tolist() for k in instances]


@settings(deadline=None)
@given(STREAM, LANE)
def test_address_is_key_and_counter(stream: Stream, lane: int) -> None:
    key = (stream.seed % 2**32, stream.seed // 2**32)
    counter = (0, stream.instance, stream.category, stream.domain * 2**16 + lane)
    assert stream.words(lane, 4).tolist() == philox(counter, key)
    assert stream.plain_words(lane, 7).tolist() == stream.words(lane, 7).tolist()


@settings(deadline=None)
@given(STREAM, LANE, st.integers(0, 300), st.integers(0, 300))
def test_longer_read_begins_with_the_shorter(stream: Stream, lane: int, n: int, more: int) -> None:
    short, long = stream.words(lane, n), stream.words(lane, n + more)
    assert short.shape == (n,)
    assert short.dtype == np.uint32
    assert np.array_equal(long[:n], short)


@settings(deadline=None)
@given(st.data(), STREAM, LANE)
def test_each_part_of_the_address_matters(data: st.DataObject, stream: Stream, lane: int) -> None:
    ranges = {"seed": SEED, "domain": LANE, "category": WORD, "instance": WORD, "lane": LANE}
    field = data.draw(st.sampled_from(sorted(ranges)))
    old = lane if field == "lane" else getattr(stream, field)
    new = data.draw(ranges[field].filter(lambda value: value != old))
    words = stream.words(new, 8) if field == "lane" else stream._replace(**{field: new}).words(lane, 8)
    assert not np.array_equal(words, stream.words(lane, 8))


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_extreme_seeds_give_uniform_numbers(seed: int) -> None:
    numbers = Stream(seed, 1, 2, 3).uniforms(4, 10_000)
    assert abs(misfit(np.histogram(numbers, bins=50, range=(0, 1))[0], [1.0] * 50)) < 4


def test_domains_are_distinct_16_bit_numbers() -> None:
    domains = {domain(family, role) for family in range(1, 256) for role in (CATEGORY, TRAIN, VALIDATION, PLAN)}
    assert len(domains) == 255 * 4
    assert min(domains) >= 0
    assert max(domains) < 2**16


def test_uniforms_lie_in_the_open_interval() -> None:
    first, second, last = uniforms(np.array([0, 1, MASK], dtype=np.uint32))
    assert 0.0 < first < second < last < 1.0
    assert second - first == 2.0**-32
    assert first == 1.0 - last


@settings(deadline=None)
@given(WORD, st.integers(1, 2**20))
def test_below_scales_the_word(word: int, n: int) -> None:
    assert below(word, n) == word * n // 2**32
    assert (below(0, n), below(MASK, n)) == (0, n - 1)


@pytest.mark.parametrize("n", [1, 2, 7, 145, 257])
def test_below_is_uniform(n: int) -> None:
    counts = np.bincount([below(word, n) for word in Stream(3, 0, n, 0).words(0, 60 * n)], minlength=n)
    assert len(counts) == n
    assert counts.min() > 0
    assert n == 1 or abs(misfit(counts, [1.0] * n)) < 4
