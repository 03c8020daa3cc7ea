"""Settings and fixtures that many test files share."""

from __future__ import annotations

import pytest
from hypothesis import settings

from mpc import parallel

# A failure prints the blob that replays it; kernels compile on first use, so no deadline.
settings.register_profile("secure-agg", print_blob=True, deadline=None, derandomize=False)
settings.load_profile("secure-agg")


@pytest.fixture(params=[1, 2, 3])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs a test with work split over one, two and three threads."""
    count: int = request.param
    monkeypatch.setattr(parallel, "cores", lambda: count)
    return count
