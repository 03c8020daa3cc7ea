"""Who may renounce a generation of a round, and how many have to, by backend."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from support.federation import Federation

from secure_agg import backends
from secure_agg.protocol.renunciation import Renouncers


def _renouncers(federation: Federation) -> Renouncers:
    config, trust = federation.config(), federation.trust
    backend = backends.load(config.policy.backend)
    return backend.renouncers(config, trust.cohort(config.task, config.beacon), federation.setup, trust.operators)


@pytest.mark.parametrize(
    ("backend", "n", "options", "enough"),
    [
        ("plain", 10, {}, 6),
        ("masking", 10, {}, 6),
        ("masking", 20, {}, 13),
        ("masking", 130, {"complete_up_to": 128}, 92),
        ("additive", 4, {}, 3),
        ("additive", 4, {"aggregators": 4, "threshold": 3}, 4),
        ("paillier", 4, {"modulus": 2048}, 1),
        ("paillier", 4, {"modulus": 2048, "holders": 5, "threshold": 4}, 4),
    ],
)
def test_so_many_have_to_renounce(backend: str, n: int, options: Mapping[str, int], enough: int) -> None:
    found = _renouncers(Federation(n, backend=backend, options=options))
    assert (found.threshold, found.possible) == (enough, True)
    assert found.operators == (backend not in ("plain", "masking"))


def test_operators_are_known_by_their_seats_and_cohorts_by_their_configuration() -> None:
    some, others = (_renouncers(Federation(4, backend="additive", options={"aggregators": k})) for k in (3, 4))
    assert some.seats != others.seats
    assert _renouncers(Federation(4)).seats == _renouncers(Federation(5)).seats == bytes(32)
