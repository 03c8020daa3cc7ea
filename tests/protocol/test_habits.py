"""A policy's defaults are its backend's own, asked for by name."""

from __future__ import annotations

from importlib import metadata

import pytest

from secure_agg import backends, installed
from secure_agg.errors import ConfigError
from secure_agg.protocol.config import Policy
from secure_agg.protocol.habits import Habits, habits


class Frugal(Habits):
    """A backend of another package, as far as a policy is concerned."""

    commits_packed = True

    def usual_bits(self, clients: int) -> int:
        return 5


@pytest.mark.parametrize("name", backends.names())
def test_defaults_are_what_the_backend_says(name: str) -> None:
    policy = Policy.default(10, backend=name)
    assert policy.bits == backends.load(name).usual_bits(10)
    assert policy.commit_packed == backends.load(name).commits_packed


def test_a_backend_of_another_package_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = metadata.EntryPoint("frugal", f"{__name__}:Frugal", installed.BACKENDS)
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda _: Frugal)
    monkeypatch.setattr(installed, "entry_points", lambda **_: (entry,))
    installed._registered.cache_clear()
    try:
        policy = Policy.default(10, backend="frugal")
        assert (policy.bits, policy.commit_packed) == (5, True)
        with pytest.raises(ConfigError, match=r"no subclass of secure_agg\.backends\.contract\.backend\.Backend"):
            backends.load("frugal")
    finally:
        installed._registered.cache_clear()


def test_nobody_of_that_name_is_a_config_error_that_says_who_there_is() -> None:
    with pytest.raises(ConfigError, match=r"no backend 'nobody': installed are .*masking"):
        habits("nobody")
    with pytest.raises(ConfigError, match="no backend 'nobody'"):
        Policy.default(10, backend="nobody")
