"""The suite of the service measures real rounds between processes."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import SUITES
from benchmarks.service.world import measure
from secure_agg.service.post import IN_MEMORY


@pytest.mark.long
def test_the_suite_measures_rounds_of_members_in_processes() -> None:
    assert "service" in SUITES
    found = measure(3, 400_000, 2, 2)
    assert len(found.round_s.seconds) == 2
    assert found.service_s > 0
    assert IN_MEMORY < found.received < 4 * IN_MEMORY  # answers that lie on disk, and models that come in pieces
