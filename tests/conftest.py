"""Settings and fixtures that many test files share."""

from __future__ import annotations

import sys
from typing import Final

import pytest
from hypothesis import settings

from mpc import parallel

# A failure prints the blob that replays it; kernels compile on first use, so no deadline.
settings.register_profile("secure-agg", print_blob=True, deadline=None, derandomize=False)
settings.load_profile("secure-agg")


_RECURSION: Final = sys.getrecursionlimit()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Some packages of Ethereum's raise Python's recursion limit beyond what the stack holds; not for our tests."""
    sys.setrecursionlimit(_RECURSION)


@pytest.fixture(params=[1, 2, 3])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs a test with work split over one, two and three threads."""
    count: int = request.param
    monkeypatch.setattr(parallel, "cores", lambda: count)
    return count
