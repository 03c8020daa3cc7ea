"""Operators as processes of their own go from epoch to epoch by themselves, and are never led back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.chance.ports import held
from support.changing.homes import audited, submit
from support.frameworks.plugin_rounds import Nodes

from secure_agg import files
from secure_agg.errors import TrustError
from secure_agg.plugins.core.coordinator import Coordinator, Outcome
from secure_agg.plugins.core.training import round_shapes
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.server import Place, ServerHome
from secure_agg.protocol.config import Policy
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import write
from secure_agg.roles.epochs.change import Change
from secure_agg.roles.task import Task
from secure_agg.transport import keyfile
from secure_agg.transport.credentials import OperatorKeys
from secure_agg.transport.processes import Start, operator_processes
from secure_agg.transport.share_holders import share_holder_card

pytestmark = pytest.mark.usefixtures("quick_operators")

NAMES = ("north", "east", "south", "west")


def a_round(home: ServerHome, folder: Path, model: list[np.ndarray]) -> Outcome:
    homes = {name: folder / "clients" / name for name in NAMES}
    updates = {name: [np.full(array.shape, (i + 1) / 16) for array in model] for i, name in enumerate(NAMES)}
    return Coordinator(home).round(model, Nodes(homes, updates, model))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["bfv", pytest.param("additive", marks=pytest.mark.long)])
def test_processes_follow_what_members_have_closed_also_after_a_restart(backend: str, tmp_path: Path) -> None:
    folder = tmp_path / "homes"
    policy = Policy.default(4, backend=backend, clip=1.0, bits=8, min_clients=2)
    federation.make(folder, NAMES, policy, task="task", parameters=5)
    with federation.operators(folder) as processes, ServerHome.open(folder / "server") as home:
        outcome = a_round(home, folder, [np.zeros(5)])
        submit(folder, Change(leave=frozenset({"west"})))
        outcome = a_round(home, folder, outcome.model)
        assert set(outcome.participants) == {"north", "east", "south"}
        clipped = msgspec.structs.replace(home.trust.task("task").policy, clip=0.5)
        submit(folder, Change(policy=clipped))
        some = next(iter(processes.values()))
        some.kill()
        with held(some.endpoint.address):
            some.restart()  # it goes on from the first of two, which lies in its folder
        outcome = a_round(home, folder, outcome.model)
        assert (outcome.record.round, home.trust.task("task").epoch) == (2, 2)
        assert audited(folder) == (2, [{*NAMES}, {*NAMES[:3]}, {*NAMES[:3]}])

        now = Task("task", home.trust, home.ledger.newest("task"), home.ledger.closure("task"))
        config = now.next_round(round_shapes(now.policy, [np.zeros(5)], trains=True))
        steps = home.ledger.steps("task")
        with home.staff(config) as (served, setup, holders):
            name, holder = next(iter(holders.items()))
            assert holder.follow("task").epoch == 2
            assert holder.follow("task", steps.to_bytes()).epoch == 2  # the same again
            with pytest.raises(TrustError, match="not pinned"):
                holder.follow("other")
            forged = msgspec.structs.replace(steps.steps[1], receipt=steps.steps[0].receipt)
            twisted = msgspec.structs.replace(steps, steps=(forged,))
            assert holder.follow("task", twisted.to_bytes()).epoch == 2  # known by its body, which is the same
            if backend == "additive":  # a round of an epoch that is over is nobody's
                old = msgspec.structs.replace(served, epoch=1, generation=0, renounced=bytes(32))
                asked = write(home.identity, old.context, "begin", name, old.to_bytes(), setup)
                with pytest.raises(TrustError, match="of epoch 1, and what is pinned is in force in 2"):
                    holder.receive(asked)


@pytest.mark.long
def test_an_operator_in_the_place_of_another_serves_from_its_epoch_on(tmp_path: Path) -> None:
    """It is started before, and listed beside the one that goes: nothing has to happen at one moment."""
    folder = tmp_path / "homes"
    policy = Policy.default(4, backend="additive", clip=1.0, bits=8, min_clients=2)
    federation.make(folder, NAMES, policy, task="task")
    keys, own = OperatorKeys.generate("aggregator-4", share_holder=True), folder / "operators" / "aggregator-4"
    own.mkdir(mode=0o700)
    keyfile.save(own / "operator.key", keys, "words")
    files.create(own / "passphrase", b"words\n")
    for name in ("trust.json", "coordinator.card"):
        (own / name).write_bytes((folder / "operators" / "aggregator-1" / name).read_bytes())
    start = Start(share_holder_card(keys), own, (*federation.serve_command(own), "--joining"))
    with (
        federation.operators(folder) as processes,
        operator_processes([start]) as joining,
        ServerHome.open(folder / "server") as home,
    ):
        place = Place(joining["aggregator-4"].endpoint.address, share_holder_card(keys).to_bytes())
        home.place({**home.places(), "aggregator-4": place})
        outcome = a_round(home, folder, [np.zeros(5)])
        known = {name: key for name, key in home.trust.operators.items() if name != "aggregator-3"}
        submit(folder, Change(operators=Roster({**known, keys.name: keys.identity.public})), keys.identity)
        processes["aggregator-3"].stop()
        outcome = a_round(home, folder, outcome.model)
        assert (outcome.record.round, set(outcome.participants)) == (1, {*NAMES})
        assert "serves nothing: the identity of 'aggregator-4'" in joining["aggregator-4"].log
        assert "epoch 1 of 'task' is in force here" in joining["aggregator-4"].log
