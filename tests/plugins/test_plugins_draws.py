"""Cohorts that a beacon draws, through the plug-ins: who trains, what the others learn, and draws that die."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.beacons import rehearsal
from support.frameworks.plugin_rounds import Nodes

from secure_agg.beacon.source import quicknet
from secure_agg.errors import ConfigError, PulseMissing, RunStopped, TooFewClients
from secure_agg.plugins.core.coordinator import Coordinator
from secure_agg.plugins.core.server.numbering import Numbering
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import Policy
from secure_agg.roles.task import Task

NAMES = tuple(f"site-{i:02}" for i in range(12))
COHORT = 5
CHAIN = rehearsal(range(1, 81))
POLICY = Policy.default(12, cohort_size=COHORT, corruption_rate=0.0, clip=1.0, bits=20, max_weight=16)


def start() -> list[np.ndarray]:
    return [np.linspace(-1, 1, 12, dtype=np.float64)]


def updates(seed: int) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {name: [rng.uniform(-0.5, 0.5, 12)] for name in NAMES}


class World:
    """A federation whose cohorts are drawn."""

    def __init__(self, folder: Path, **rules: Any) -> None:
        federation.make(folder, NAMES, POLICY, task="task", **({"beacon": CHAIN} | rules))
        self.homes = {name: folder / "clients" / name for name in NAMES}
        self.server = ServerHome.open(folder / "server")
        self.coordinator = Coordinator(self.server)

    def nodes(self, model: list[np.ndarray], seed: int, silent: Sequence[str] = (), kind: str = "join") -> Nodes:
        return Nodes(self.homes, updates(seed), model, silent=dict.fromkeys(silent, (kind, 0)))

    def cohort(self, number: int, draw: int = 0) -> set[str]:
        pulse = CHAIN.pulses[1 + 16 * number + draw]
        return set(self.server.trust.cohort("task", pulse.signature))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "federation")
    with contextlib.closing(made.server):
        yield made


def test_the_drawn_train_and_the_others_follow(world: World) -> None:
    """Whoever is drawn after rounds without it has to verify their results before it knows the model."""
    model, heard = start(), set[str]()
    for number in range(4):
        nodes = world.nodes(model, seed=number)
        outcome = world.coordinator.round(model, nodes)
        assert set(outcome.participants) == set(nodes.trained) == world.cohort(number)
        mean = np.mean([updates(number)[name][0] for name in outcome.participants], axis=0)
        np.testing.assert_allclose(outcome.model[0], model[0] + mean, atol=outcome.record.error_bound)
        assert nodes.errors == []
        model, heard = outcome.model, heard | set(outcome.participants)
    assert len(heard) > COHORT
    report = world.server.ledger.audit()
    assert report.verified == 4
    assert "beacon" in report.pinned


def test_a_dead_draw_goes_to_the_next_pulse_and_who_gave_input_sits_out(world: World) -> None:
    model = start()
    first, second = world.cohort(0), world.cohort(0, 1)
    both = sorted(first & second)[:2]
    assert both
    late = dict.fromkeys(first - set(both), ("step", 1))  # they have masked, and too few others
    with pytest.raises(TooFewClients):
        world.coordinator.round(model, Nodes(world.homes, updates(0), model, silent=late))
    nodes = world.nodes(model, 0)
    with contextlib.suppress(TooFewClients):
        world.coordinator.round(model, nodes)
    assert {name for name, error in nodes.errors if type(error).__name__ == "TaskSpent"} == set(both)
    assert set(nodes.trained) == second - set(both)


def test_a_draw_whose_set_was_put_to_the_vote_is_finished_if_it_can_be(world: World) -> None:
    model, first = start(), world.cohort(0)
    silent = dict.fromkeys(first, ("step", 2))
    with pytest.raises(TooFewClients):
        world.coordinator.round(model, Nodes(world.homes, updates(0), model, silent=silent))
    outcome = world.coordinator.round(model, world.nodes(model, 0))
    assert (set(outcome.participants), outcome.record.round) == (first, 0)


def test_a_draw_that_can_neither_be_finished_nor_renounced_gives_way_to_the_next(world: World) -> None:
    model, first = start(), world.cohort(0)
    with pytest.raises(TooFewClients):
        world.coordinator.round(model, Nodes(world.homes, updates(0), model, silent=dict.fromkeys(first, ("step", 2))))
    draw = next(k for k in range(1, 16) if len(world.cohort(0, k) - first) >= 4)
    for number in range(1, draw):  # these hold too many of whom is gone
        assert len(world.cohort(0, number) - first) < 4
    for _ in range(draw - 1):
        with pytest.raises(TooFewClients):
            world.coordinator.round(model, world.nodes(model, 0, silent=sorted(first), kind="hello"))
    outcome = world.coordinator.round(model, world.nodes(model, 0, silent=sorted(first), kind="hello"))
    assert set(outcome.participants) <= world.cohort(0, draw) - first


def test_the_round_is_over_when_all_its_draws_are_dead(world: World) -> None:
    model = start()
    for _ in range(16):
        with pytest.raises(TooFewClients):
            world.coordinator.round(model, world.nodes(model, 0, silent=NAMES))
    with pytest.raises(RunStopped, match="all 16 draws"):
        world.coordinator.round(model, world.nodes(model, 0))
    # In another epoch, with a larger dropout say, it is begun anew.
    trust = world.server.trust
    later = replace(trust.task("task"), epoch=1, epoch_digest=bytes(31) + b"\x01")
    leading = Task("task", replace(trust, tasks={"task": later}))
    assert Numbering(world.server).draw(leading, 0).draw == 0


def test_another_process_goes_on_with_the_draw_that_is_due(world: World) -> None:
    model = start()
    with pytest.raises(TooFewClients):
        world.coordinator.round(model, world.nodes(model, 0, silent=NAMES))
    outcome = Coordinator(world.server).round(model, world.nodes(model, 0))
    assert set(outcome.participants) == world.cohort(0, 1)


def test_a_pulse_that_is_not_there_burns_no_draw(tmp_path: Path) -> None:
    world = World(tmp_path / "federation", beacon=rehearsal([2]), pulses=[str(tmp_path)])
    with contextlib.closing(world.server):
        (tmp_path / "federation" / "server" / "beacon").unlink()
        for _ in range(2):
            with pytest.raises(PulseMissing, match="pulse 2 "):
                world.coordinator.round(start(), world.nodes(start(), 0))
        (tmp_path / "2").write_text(rehearsal([2]).pulses[2].to_json())
        assert world.coordinator.round(start(), world.nodes(start(), 0)).record.round == 0


def test_homes_are_made_before_the_first_pulse_that_draws(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="published"):
        World(tmp_path / "late", beacon=federation.BeaconFile(quicknet(1000)))
    with pytest.raises(ConfigError, match="name the beacon"):
        World(tmp_path / "none", beacon=None)
    with pytest.raises(ConfigError, match="draws no cohort"):
        federation.make(tmp_path / "whole", NAMES, Policy.default(12), beacon=CHAIN)


def test_a_node_makes_no_home_once_the_first_pulse_is_there(tmp_path: Path) -> None:
    """Whoever made the pins could have chosen its id by then."""
    source = quicknet(1 << 40)
    federation.make(tmp_path / "federation", NAMES, POLICY, task="task", beacon=federation.BeaconFile(source))
    with ClientHome.open(tmp_path / "federation" / "clients" / NAMES[0]) as home:
        trust, identity = home.trust, home.identity
    assert trust.tasks["task"].beacon == source
    late = type(trust.tasks["task"])(trust.tasks["task"].roster, POLICY, beacon=quicknet(1000))
    pins = type(trust)({"task": late}, trust.operators, trust.log)
    with pytest.raises(ConfigError, match="published"):
        ClientHome.create(tmp_path / "home", identity, pins, "task")
