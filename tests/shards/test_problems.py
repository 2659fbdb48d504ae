"""Problems as values, and the lines that a person reads."""

from __future__ import annotations

import pickle

import pytest

from shards.problems import TO_BAKE, Kind, Problem, summary


def unbaked(n: int) -> list[Problem]:
    return [Problem(Kind.UNBAKED, f"train-{k:06}.tar", "is not baked") for k in range(n)]


BROKEN = Problem(Kind.SHARD, "samples/validation-000002.parquet", "missing")


def test_problem_is_path_and_detail() -> None:
    assert str(BROKEN) == "samples/validation-000002.parquet: missing"


@pytest.mark.parametrize("path", ["train-000007.tar", "samples/train-000007.parquet", "receipts/train-000007.json"])
def test_every_file_of_a_shard_names_it(path: str) -> None:
    assert Problem(Kind.SHARD, path, "missing").shard == "train-000007"


def test_problem_can_be_sent_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(BROKEN)) == BROKEN


def test_kind_is_a_plain_word() -> None:
    assert [str(kind) for kind in Kind] == [kind.value for kind in Kind]
    assert all(kind.value.isalpha() and kind.value.islower() for kind in Kind)


def test_own_problems_bake_a_shard_again() -> None:
    assert {*TO_BAKE} == {Kind.UNBAKED, Kind.SHARD, Kind.PIXELS}


@pytest.mark.parametrize(
    ("n_unbaked", "line"),
    [
        (1, "train-000000 is not baked"),
        (2, "2 shards are not baked: train-000000, train-000001"),
        (5, "5 shards are not baked: train-000000, train-000001, train-000002, train-000003, train-000004"),
        (6, "6 shards are not baked: train-000000, train-000001, train-000002, train-000003, train-000004, ..."),
        (1200, "1,200 shards are not baked: train-000000, train-000001, train-000002, train-000003, train-000004, ..."),
    ],
)
def test_unbaked_shards_share_a_line(n_unbaked: int, line: str) -> None:
    first, *others = unbaked(n_unbaked)
    assert summary([first, BROKEN, *others]) == [line, str(BROKEN)]


def test_other_problems_have_a_line_each() -> None:
    assert summary([]) == []
    assert summary([BROKEN, BROKEN]) == [str(BROKEN)] * 2
