"""Arguments of the Python API that have a wrong type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fdsl
from fdsl import (
    BatchSampler,
    Dataset,
    InputError,
    LiveDataset,
    Spec,
    bake,
    estimate,
    load_spec,
    loader_urls,
    open_directory,
    repair,
    search_categories,
    ship,
    verify,
)
from tests.shards.conftest import ONE_FAMILY


@pytest.fixture(scope="module")
def baked(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that no call changes, because each is refused."""
    out = tmp_path_factory.mktemp("arguments") / "out"
    bake(spec, out, shards="0:1")
    return out


@ONE_FAMILY
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("rerender", lambda spec, out: verify(out, rerender="3")),
        ("rerender", lambda spec, out: repair(out, rerender=1.5)),
        ("seed", lambda spec, out: verify(out, seed=None)),
        ("executor", lambda spec, out: verify(out, executor=2)),
        ("executor", lambda spec, out: repair(out, executor="dask")),
        ("executor", lambda spec, out: bake(spec, out, executor=2)),
        ("executor", lambda spec, out: search_categories(spec, 2)),
        ("spec", lambda spec, out: bake("rcdb-1k", out)),
        ("spec", lambda spec, out: estimate("rcdb-1k")),
        ("spec", lambda spec, out: load_spec(None)),
        ("out", lambda spec, out: bake(spec, None)),
        ("out", lambda spec, out: verify("")),
        ("out", lambda spec, out: open_directory(7)),
        ("out", lambda spec, out: ship(None, out)),
        ("executor", lambda spec, out: ship(out, f"{out}-copy", executor=2)),
        ("destination", lambda spec, out: ship(out, "")),
        ("destination", lambda spec, out: loader_urls(7)),
        ("categories", lambda spec, out: bake(spec, out, categories=7)),
        ("categories", lambda spec, out: fdsl.open(spec, categories=7)),
        ("spec", lambda spec, out: fdsl.open(7)),
        ("split", lambda spec, out: fdsl.open(out, [])),
        ("epoch", lambda spec, out: fdsl.open(out, epoch="1")),
        ("views", lambda spec, out: fdsl.open(out, views=None)),
        ("targets", lambda spec, out: fdsl.open(out, targets=None)),
        ("targets", lambda spec, out: fdsl.open(out, targets=[[]])),
        ("key", lambda spec, out: fdsl.open(out).index(7)),
        ("dataset", lambda spec, out: LiveDataset(spec)),
        ("batch", lambda spec, out: BatchSampler(9, batch=2.0)),
        ("category", lambda spec, out: Dataset(spec, search_categories(spec).table).image("0", 0)),
        ("instance", lambda spec, out: Dataset(spec, search_categories(spec).table).image(0, 1.0)),
    ],
)
def test_wrong_type_names_the_argument(name: str, call: Callable[[Any, Any], Any], spec: Spec, baked: Path) -> None:
    with pytest.raises(InputError, match=rf"^`{name}` \(="):
        call(spec, baked)
