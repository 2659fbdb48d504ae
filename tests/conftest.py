"""The trainer's tests have an environment of their own. Hypothesis has no time limits: machines may be busy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

collect_ignore = [] if find_spec("torch") else ["trainer"]


@pytest.fixture(scope="session", autouse=True)
def pandas_hidden_from_commands() -> Iterator[None]:
    """Hide pandas from the processes that tests start, as in an installation without it.

    pyarrow would import it in each, which takes a third of the time of a short command.
    """
    with pytest.MonkeyPatch.context() as patch:
        if collect_ignore:
            patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "benchmarks" / "without"), prepend=os.pathsep)
        yield


def pytest_report_header() -> str:
    """Name the tests that are left out, and why."""
    return "tests/trainer is left out, for torch is not here: make test-train runs it" if collect_ignore else ""


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Keep bytes out of the names of tests: a gzip file holds the time, and workers must agree on names."""
    return argname if isinstance(val, bytes) else None
