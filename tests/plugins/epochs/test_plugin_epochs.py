"""A federation that changes between rounds of a framework's runs, without new homes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from support.epochs import newer
from support.federation import identity
from support.frameworks.plugin_rounds import METRICS, NAMES, Nodes, World, a_world, introduce, model

from secure_agg.errors import ConfigError, SecureAggError, VerificationError
from secure_agg.fl.algorithms.named import create
from secure_agg.plugins.core.coordinator import Coordinator
from secure_agg.plugins.core.epochs import server
from secure_agg.plugins.core.participant import Participant
from secure_agg.plugins.homes import proposals
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.epoch import EpochEvidence
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import encode
from secure_agg.roles.epochs.change import Change
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.service import bounds

NEW = identity("centre")


@pytest.fixture
def world() -> Iterator[World]:
    with a_world(min_clients=2) as made:
        yield made


class Run:
    """Rounds one after the other, each from the model of the last, by whoever has a home."""

    def __init__(self, world: World) -> None:
        self.world, self.at = world, model()
        self.number = 0

    def round(self, **more: Any) -> Any:
        rng = np.random.default_rng(self.number)
        homes = {name: path for name, path in self.world.homes.items() if name in self.members}
        updates = {name: [rng.uniform(-0.5, 0.5, array.shape) for array in self.at] for name in homes}
        metrics = dict.fromkeys(homes, METRICS["north"])
        self.nodes = Nodes(homes, updates, self.at, {}, metrics, **more)
        outcome = self.world.coordinator.round(self.at, self.nodes)
        expected = np.mean([updates[name][0] for name in outcome.participants], axis=0)
        assert np.abs(outcome.average[0] - expected).max() <= outcome.record.error_bound
        self.at = outcome.model
        self.number += 1
        return outcome

    @property
    def members(self) -> list[str]:
        return list(self.world.server.trust.task("task").roster)

    def approved(self, change: Change, *new: Identity, away: str = "") -> EpochEvidence:
        proposal = proposals.propose(self.world.server.trust, "task", change)
        found = []
        for name in self.members:
            if name == away:
                continue
            with ClientHome.open(self.world.homes[name]) as home:
                found.append(proposals.approve(home, proposal).proposal)
        found += [proposals.sign(AttemptStore(), [key], self.world.server.trust, proposal).proposal for key in new]
        return proposals.submit(self.world.server, found)

    def join(self, key: Identity, **more: Any) -> None:
        """Whoever joins makes a home of what was pinned at first, and of all epochs since."""
        path = self.world.folder / "clients" / key.name
        steps = self.world.server.ledger.steps("task")
        ClientHome.create(path, key, self.world.server.ledger.trust, "task", epochs=steps, **more).close()
        self.world.homes[key.name] = path

    def restart(self) -> None:
        """The next run or job over the same homes: the server's process is another."""
        self.world.coordinator = Coordinator(self.world.server)
        introduce(self.world.coordinator, {name: self.world.homes[name] for name in self.members})


def test_members_join_leave_and_rotate_and_the_clip_changes_without_a_new_home(world: World) -> None:
    run = Run(world)
    introduce(world.coordinator, world.homes)
    for _ in range(2):
        assert len(run.round().participants) == 4
    run.approved(Change(join={NEW.name: NEW.public}), NEW)
    outcome = run.round()  # the epoch begins before it; who joins has no home yet
    assert outcome.record.round == 2
    assert world.server.trust.task("task").epoch == 1
    assert set(outcome.participants) == set(NAMES)
    run.join(NEW)
    run.restart()
    assert set(run.round().participants) == {*NAMES, NEW.name}
    run.approved(Change(leave=frozenset({"south"})))
    assert set(run.round().participants) == {"north", "east", "west", NEW.name}
    with ClientHome.open(world.homes["south"]) as home:
        home.follow(world.server.ledger.steps("task", home.epochs.number, home.epochs.where.seen))
    with pytest.raises(ConfigError, match="it has left"):
        ClientHome.open(world.homes["south"])
    with ClientHome.open(world.homes["east"]) as home:
        home.await_key(newer("east"))
    run.approved(Change(rotate={"east": newer("east").public}))
    assert "east" in run.round().participants
    with ClientHome.open(world.homes["east"]) as home:
        assert home.identity.public == newer("east").public
    clipped = msgspec.structs.replace(world.server.trust.task("task").policy, clip=0.75)
    run.approved(Change(policy=clipped))
    run.round()
    run.restart()
    run.round()
    assert world.server.trust.task("task").epoch == 4
    with ClientHome.open(world.homes["north"]) as home:
        report = world.server.ledger.audit(home.epochs.first)
        assert home.epochs.number == 4
    assert (report.epochs, report.verified) == (4, 8)


def test_a_step_by_the_share_of_members_is_by_those_of_the_rounds_own_epoch() -> None:
    """SCAFFOLD's variate moves by n/N. Whoever joins later, or was away, computes the same for rounds before."""
    scaffold = create("SCAFFOLD", rate=0.2).server
    at = [*model(), *(np.zeros_like(array) for array in model())]
    with a_world(min_clients=2, optimizer=scaffold, start_model=model_digest(at)) as world:
        run = Run(world)
        run.at = at
        run.round()
        run.round(silent={"west": ("result", 0)})  # it hears of this one in the next epoch
        run.approved(Change(join={NEW.name: NEW.public}), NEW)
        assert set(run.round().participants) == set(NAMES)
        run.join(NEW, optimizer=scaffold, start_model=model_digest(at))
        run.restart()
        assert set(run.round().participants) == {*NAMES, NEW.name}
        assert run.nodes.errors == []


def test_a_new_training_begins_from_a_named_model_in_the_same_homes(world: World) -> None:
    run = Run(world)
    for _ in range(2):
        run.round()
    with pytest.raises(SecureAggError):  # a model that nobody has named
        world.coordinator.check_model([array + 1 for array in run.at])
    fresh = [np.full_like(array, 0.125) for array in model()]
    run.approved(Change(restart=("second", model_digest(fresh))))
    world.coordinator.check_model(fresh)
    run.at = fresh
    assert run.round(silent={"west": ("join", 0)}).record.round == 2
    run.restart()
    assert len(run.round().participants) == 4  # who was away is shown the model that it began with
    assert run.round().record.round == 4
    with ClientHome.open(world.homes["west"]) as home:
        report = world.server.ledger.audit(home.epochs.first)
    assert (report.epochs, report.verified) == (1, 5)


def test_a_node_that_was_away_follows_every_epoch_that_it_has_missed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what it has missed does not fit into one payload."""
    monkeypatch.setattr(server, "MAX_STEP_ANSWER", 1)
    run = Run(world)
    run.round()
    run.approved(Change(policy=msgspec.structs.replace(world.policy, clip=0.75)))
    run.round(silent={"west": ("epoch", 0)})
    run.approved(Change(policy=msgspec.structs.replace(world.policy, clip=0.5)), away="west")
    run.round(silent={"west": ("epoch", 0)})
    with ClientHome.open(world.homes["west"]) as home:
        assert home.epochs.number == 0
    assert "west" in run.round().participants
    with ClientHome.open(world.homes["west"]) as home:
        assert home.epochs.number == 2
    whole = world.server.ledger.steps("task")
    most = sum(len(encode(step)) for step in whole.steps)  # what frames them has to fit too
    assert len(world.server.ledger.steps("task", most=most).to_bytes()) <= most < len(whole.to_bytes())


def test_a_round_that_was_left_in_an_earlier_epoch_keeps_nobody_from_what_comes(world: World) -> None:
    """Its request is of another roster by now; a session asks how long what comes can be before it hears of it."""
    run = Run(world)
    run.round(silent={"west": ("step", 0)})
    run.approved(Change(policy=msgspec.structs.replace(world.policy, clip=0.75)), away="west")
    run.round(silent={"west": ("learn", 0)})
    with ClientHome.open(world.homes["west"]) as home:
        assert (home.epochs.number, home.journal.key) == (1, ("task", 0, 0))
        assert bounds.payload_bytes(home, Participant(home)) > 1 << 20


def test_an_epoch_below_the_floor_is_closed_and_followed_by_those_only_whose_owners_approve(world: World) -> None:
    run = Run(world)
    run.round()
    weak = msgspec.structs.replace(world.policy, backend="plain")
    proposal = proposals.propose(world.server.trust, "task", Change(policy=weak))
    found = []
    for name in ("north", "east", "south"):
        with ClientHome.open(world.homes[name]) as home:
            found.append(proposals.approve(home, proposal).proposal)
    proposals.submit(world.server, found)
    run.round()
    with ClientHome.open(world.homes["west"]) as home:
        assert home.epochs.number == 0
        with pytest.raises(SecureAggError, match="'plain' is not among"):
            home.follow(world.server.ledger.steps("task", 0, home.epochs.where.seen))
    assert {name for name, _ in run.nodes.errors} == {"west"}


def test_two_successors_leave_proofs_of_fault_in_a_home(world: World) -> None:
    run = Run(world)
    run.round()
    first = run.approved(Change(policy=msgspec.structs.replace(world.policy, clip=0.75)))
    run.round()
    with ClientHome.open(world.homes["north"]) as home:
        steps = world.server.ledger.steps("task").steps
        trust = home.epochs.first
        other = Change(leave=frozenset({"west"})).body(trust, "task")
        signed = []
        for name in NAMES[:3]:
            with ClientHome.open(world.homes[name]) as owner:
                from secure_agg.protocol.epoch import authorise_bytes
                from secure_agg.protocol.messages import Signature

                message = authorise_bytes("task", other.previous_epoch, other.digest)
                signed.append(Signature(name, owner.identity.sign(message)))
        forged = EpochEvidence(
            body=other.to_bytes(), authorisations=tuple(sorted(signed, key=lambda item: item.name.encode()))
        )
        with pytest.raises(VerificationError, match="authorised both"):
            home.follow(
                msgspec.structs.replace(
                    world.server.ledger.steps("task"),
                    steps=(msgspec.structs.replace(steps[0], evidence=forged.to_bytes()),),
                )
            )
        assert len(list((home.path / "epochs").glob("*.fault"))) == 3
    assert first.says.epoch == 1
