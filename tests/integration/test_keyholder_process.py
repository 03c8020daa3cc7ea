"""A key holder as a process of its own: it opens one sum for each round, whatever is asked and however it ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from support.chance.ports import held

from secure_agg.errors import AlreadyReleased, OperatorLost
from secure_agg.local.rounds import LocalRound
from secure_agg.plugins.core.training import round_shapes
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import Policy
from secure_agg.protocol.evidence import Evidence
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.client.client import Client
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.task import Task
from secure_agg.transport.processes import OperatorProcess

CLIENTS = ("north", "east", "south", "west")
PARAMETERS = 23


class World:
    """A federation with a running key holder."""

    def __init__(self, folder: Path, holder: OperatorProcess, stack: ExitStack) -> None:
        self.holder = holder
        self.server = stack.enter_context(ServerHome.open(folder / "server"))
        self.homes = {name: stack.enter_context(ClientHome.open(folder / "clients" / name)) for name in CLIENTS}

    def round(self, number: int, clients: Sequence[str] = CLIENTS, *, attempt: int = 0, killed: str = "") -> Evidence:
        """One round over these clients, who forget it: in the worst case all of them collude with the aggregator.

        ``killed``: the phase in which the key holder is.
        """
        server = self.server
        task = Task("default", server.trust)
        shapes = round_shapes(task.policy, [np.zeros(PARAMETERS)], trains=True)
        config = task.next_round(shapes, number=number, attempt=attempt)
        updates = {name: [np.full(shape, 0.25 * i) for shape in config.shapes] for i, name in enumerate(CLIENTS)}
        with server.staff(config) as (staffed, setup, holders):
            assert list(holders) == ["keyholder-1"]
            aggregator = task.lead(server.identity, staffed, setup)
            taking_part = {
                name: Client(self.homes[name].identity, self.homes[name].trust, store=AttemptStore())
                for name in clients
            }
            local = LocalRound(aggregator, taking_part, updates, holders=holders)
            requests = aggregator.start()
            while requests:
                if aggregator.state == killed:
                    self.holder.kill()
                local.exchange(requests)
                requests = aggregator.advance()
            assert aggregator.evidence is not None
            return aggregator.evidence


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        folder = tmp_path / "federation"
        policy = Policy.default(len(CLIENTS), backend="bfv", clip=1.0, bits=8)
        federation.make(folder, CLIENTS, policy, parameters=PARAMETERS)
        running = stack.enter_context(federation.operators(folder))
        yield World(folder, running["keyholder-1"], stack)


def test_it_opens_a_sum_once_and_is_missed_when_it_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = world.round(0)
    verified = Auditor(world.server.trust).verify(evidence)
    assert evidence.participants == tuple(sorted(CLIENTS))
    assert np.abs(verified.average[0] - 0.375).max() < 1 / 127
    world.server.ledger.append(evidence)

    # Over one client fewer: the difference of the two sums would be that client's update.
    with pytest.raises(AlreadyReleased, match="was given out before"):
        world.round(0, CLIENTS[:3], attempt=1)

    with pytest.raises(OperatorLost) as lost:
        world.round(1, killed="decrypt")
    assert (lost.value.culprit, lost.value.phase) == ("keyholder-1", "decrypt")

    with held(world.holder.endpoint.address):
        monkeypatch.setattr("secure_agg.plugins.homes.server.CONNECT_S", 0.5)
        with pytest.raises(OperatorLost) as absent:
            world.round(1, attempt=1)
        assert absent.value.culprit == "keyholder-1"

        world.holder.restart()
    monkeypatch.undo()
    with pytest.raises(AlreadyReleased, match="was given out before"):
        world.round(0, CLIENTS[:3], attempt=2)
    assert world.round(1, attempt=2).participants == tuple(sorted(CLIENTS))
    assert "decrypt" in world.holder.log
    assert world.holder.stop() == 0
