"""The trainer's tests have an environment of their own. Hypothesis has no time limits: machines may be busy."""

from __future__ import annotations

from importlib.util import find_spec

from hypothesis import HealthCheck, settings

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

collect_ignore = [] if find_spec("torch") else ["trainer"]


def pytest_report_header() -> str:
    """Name the tests that are left out, and why."""
    return "tests/trainer is left out, for torch is not here: make test-train runs it" if collect_ignore else ""
