"""Which operators a server of a plug-in can begin a round without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secure_agg import backends
from secure_agg.errors import OperatorLost
from secure_agg.local.rounds import LocalRound
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import Option, Policy
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.client.client import Client
from secure_agg.roles.task import Task

CLIENTS = ("north", "east", "south")


def policy_of(backend: str, **options: int) -> Policy:
    return Policy.default(3, backend=backend, options=tuple(Option(*pair) for pair in sorted(options.items())))


@pytest.mark.parametrize(
    ("backend", "options", "needed"),
    [
        ("masking", {}, 0),
        ("plain", {}, 0),
        ("bfv", {}, 1),
        ("ckks", {}, 1),
        ("paillier", {}, 1),
        ("paillier", {"holders": 5}, 4),
        ("additive", {}, 3),
        ("additive", {"aggregators": 3, "threshold": 2}, 3),
        ("additive", {"aggregators": 4, "threshold": 2}, 3),
    ],
)
def test_a_round_begins_with_as_many_as_can_end_it(backend: str, options: dict[str, int], needed: int) -> None:
    assert backends.load(backend).seats(policy_of(backend, **options)).needed == needed


@pytest.mark.usefixtures("quick_operators")
def test_a_round_begins_without_an_aggregator_that_can_be_missed_and_not_without_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_agg.plugins.homes.server.CONNECT_S", 2.0)
    folder, policy = tmp_path / "all", policy_of("additive", aggregators=4, threshold=2)
    trust = federation.make(folder, CLIENTS, policy)
    task = Task("default", trust)
    config = task.next_round(((9,),))
    with federation.operators(folder) as running, ServerHome.open(folder / "server") as server:
        running["aggregator-2"].kill()
        with server.staff(config) as (staffed, setup, holders):
            aggregator = task.lead(server.identity, staffed, setup)
            clients = {}
            for name in CLIENTS:
                with ClientHome.open(folder / "clients" / name) as own:
                    clients[name] = Client(own.identity, own.trust)
            updates = {name: [np.full(9, 0.5)] for name in CLIENTS}
            evidence = LocalRound(aggregator, clients, updates, holders=holders).run()
        assert np.abs(Auditor(trust).verify(evidence).average[0] - 0.5).max() < 1e-3
        server.ledger.append(evidence)

        running["aggregator-4"].kill()
        with pytest.raises(OperatorLost) as lost, server.staff(config):
            pytest.fail("it has staff")
        assert lost.value.culprit == "aggregator-2"
