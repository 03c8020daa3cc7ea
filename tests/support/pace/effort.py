"""How many examples hypothesis makes where each is dear."""

from __future__ import annotations

import pytest


def examples(few: int, many: int) -> pytest.MarkDecorator:
    """Gives a test the argument ``examples``: few in every run, many in the long one."""
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.long)])
