"""The suite of the service measures real rounds between processes."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import SUITES
from benchmarks.service.world import measure


@pytest.mark.long
def test_the_suite_measures_rounds_of_members_in_processes() -> None:
    assert "service" in SUITES
    found = measure(3, 50, 2, 2)
    assert len(found.round_s.seconds) == 2
    assert found.service_s > 0
    assert 10_000 < found.received < 1_000_000
