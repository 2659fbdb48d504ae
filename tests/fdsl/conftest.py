"""A small spec of each family, and its categories."""

from __future__ import annotations

import pyarrow as pa
import pytest

from fdsl import Spec, search_categories
from fdsl.dataset.families import FAMILIES
from tests.shards.conftest import small_spec


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def spec(family: str) -> Spec:
    return small_spec(family)


@pytest.fixture(scope="session")
def table(spec: Spec) -> pa.Table:
    """The categories of `spec`."""
    return search_categories(spec).table
