"""What tests of suites share."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="module")
def rows(report: dict[str, Any]) -> dict[str, Any]:
    """By key the rows of a file's own report."""
    return {row["key"]: row for row in report["rows"]}
