"""What every test of the command line has at hand."""

from __future__ import annotations

import pytest
from support.commands import Run, running


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``secure-agg`` in this process."""
    return running(capsys)
