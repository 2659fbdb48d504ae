"""A small spec of each family, and its categories."""

from __future__ import annotations

import pyarrow as pa
import pytest

from fdsl import Spec, search_categories
from tests.daemons import s3_server
from tests.shards.conftest import baked, family, spec

__all__ = ["baked", "family", "s3_server", "spec", "table"]


@pytest.fixture(scope="session")
def table(spec: Spec) -> pa.Table:
    """The categories of `spec`."""
    return search_categories(spec).table
