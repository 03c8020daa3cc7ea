"""SCAFFOLD and FedNova inside frameworks: every node computes the step, and keeps its own of rounds that count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fl.algorithms.quadratics import Quadratic, some
from support.frameworks.plugin_rounds import NAMES, Nodes, World, a_world

from secure_agg.errors import AnotherModel, StoreError, TooFewClients, UpdateError
from secure_agg.fl.algorithms.algorithm import Algorithm
from secure_agg.fl.algorithms.named import create
from secure_agg.fl.algorithms.replay import METRICS, replay
from secure_agg.fl.algorithms.training import Client, train
from secure_agg.plugins.core.server.history import entry
from secure_agg.plugins.core.training import Trained
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.journal import Journal
from secure_agg.plugins.homes.own import Own
from secure_agg.protocol.codec import model_digest

RATE = 0.2
STEPS = {"north": 2, "east": 4, "south": 6, "west": 3}
WEIGHTS = {"north": 7, "east": 3, "south": 1, "west": 10}
PARTS: Mapping[str, Quadratic] = dict(zip(NAMES, some(4, seed=21), strict=True))
MODEL = [np.array([0.6, -0.4, 0.2])]
ALGORITHMS = {
    "SCAFFOLD": create("SCAFFOLD", rate=RATE, scale=0.5, server_learning_rate=0.8),
    "FedNova": create("FedNova", rate=RATE, usual_steps=6.0, server_learning_rate=0.9),
}


@dataclass
class Descending(Nodes):
    """Nodes whose apps run an algorithm."""

    algorithm: Algorithm = field(kw_only=True)

    def _train(self, name: str, model: Any) -> Trained:
        self.trained.append(name)
        own = Own(self.homes[name])
        done = self.algorithm.local(model, own.arrays(), PARTS[name].gradient, STEPS[name])
        own.propose(done.own)
        return Trained(done.moved(model), WEIGHTS[name] if self.algorithm.weighted else 1, {"loss": 0.5})


def nodes(world: World, algorithm: Algorithm, at: list[np.ndarray], **more: Any) -> Descending:
    return Descending(world.homes, {}, at, algorithm=algorithm, **more)


def members() -> dict[str, Client]:
    return {name: part.client(STEPS[name], WEIGHTS[name]) for name, part in PARTS.items()}


@pytest.fixture(params=sorted(ALGORITHMS))
def algorithm(request: pytest.FixtureRequest) -> Algorithm:
    return ALGORITHMS[request.param]


def a_federation(algorithm: Algorithm) -> Any:
    start = algorithm.begin(MODEL)
    limit = {} if algorithm.weighted else {"max_weight": 1}
    return a_world(clip=4.0, bits=22, optimizer=algorithm.server, start_model=model_digest(start.shared), **limit)


def test_rounds_go_where_plain_ones_do_and_an_auditor_comes_to_the_same_bits(algorithm: Algorithm) -> None:
    away = {"silent": {"west": ("join", 0)}}
    with a_federation(algorithm) as world:
        at = [array.copy() for array in algorithm.begin(MODEL).shared]
        for number in range(4):
            asked = nodes(world, algorithm, at, **(away if number == 1 else {}))
            outcome = world.coordinator.round(at, asked)
            assert asked.errors == []
            at = outcome.model
        chosen = [sorted(set(NAMES) - {"west"}) if number == 1 else sorted(NAMES) for number in range(4)]
        wanted = train(algorithm, MODEL, members(), 4, take_part=chosen.__getitem__)
        assert algorithm.model(at)[0] == pytest.approx(algorithm.model(wanted.shared)[0], abs=2e-4)
        for beside, plain in zip(at[1:], wanted.shared[1:], strict=True):
            assert beside == pytest.approx(plain, abs=2e-4)
        for name in NAMES:
            with ClientHome.open(world.homes[name]) as home:
                assert home.chain.link is not None
                assert (home.chain.link.rounds, home.chain.link.model) == (4, model_digest(at))

        ledger = world.server.ledger
        rounds = [entry(ledger, index).evidence for index in ledger.indexes("task")]
        states = list(replay(algorithm.begin(MODEL), rounds, ledger.trust, algorithm.server, outside=METRICS))
        assert [state.rounds for state in states] == [1, 2, 3, 4]
        assert states[-1].digest == model_digest(at)
        for wrong in (create("FedAvg", rate=RATE).server, create("SCAFFOLD", rate=RATE).server):
            with pytest.raises((AnotherModel, UpdateError)):
                list(replay(algorithm.begin(MODEL), rounds, ledger.trust, wrong, outside=METRICS))


def test_what_a_node_keeps_is_of_rounds_that_count() -> None:
    algorithm = ALGORITHMS["SCAFFOLD"]
    with a_federation(algorithm) as world:
        at = list(algorithm.begin(MODEL).shared)
        at = world.coordinator.round(at, nodes(world, algorithm, at)).model
        first = {name: Own(path).arrays() for name, path in world.homes.items()}
        assert all(first.values())
        assert at[1] == pytest.approx(np.mean([kept[0] for kept in first.values()], axis=0), abs=1e-4)
        # Trained, and out of the round before its update was hidden.
        asked = nodes(world, algorithm, at, silent={"south": ("step", 0)})
        at = world.coordinator.round(at, asked).model
        assert "south" in asked.trained
        kept = {name: Own(path).arrays() for name, path in world.homes.items()}
        assert np.array_equal(kept["south"][0], first["south"][0])
        assert not np.array_equal(kept["north"][0], first["north"][0])
        assert at[1] == pytest.approx(np.mean([each[0] for each in kept.values()], axis=0), abs=2e-4)
        # In the round, and gone before it heard of the result: it is told before its next one.
        asked = nodes(world, algorithm, at, silent={"south": ("result", 0)})
        at = world.coordinator.round(at, asked).model
        assert np.array_equal(Own(world.homes["south"]).arrays()[0], first["south"][0])
        at = world.coordinator.round(at, nodes(world, algorithm, at)).model
        kept = {name: Own(path).arrays() for name, path in world.homes.items()}
        assert at[1] == pytest.approx(np.mean([each[0] for each in kept.values()], axis=0), abs=4e-4)


def test_a_crafted_variate_is_refused_by_every_node() -> None:
    """It would be added to every client's gradients: the model itself is as it should be."""
    algorithm = ALGORITHMS["SCAFFOLD"]
    with a_federation(algorithm) as world:
        at = list(algorithm.begin(MODEL).shared)
        at = world.coordinator.round(at, nodes(world, algorithm, at)).model
        asked = nodes(world, algorithm, [at[0], at[1] + 0.25])
        with pytest.raises(TooFewClients):
            world.coordinator.round(list(asked.model), asked)
        assert {type(error) for _, error in asked.errors} == {AnotherModel}
        assert asked.trained == []


def test_a_round_that_comes_to_nothing_changes_nothing_that_was_kept() -> None:
    algorithm = ALGORITHMS["SCAFFOLD"]
    with a_federation(algorithm) as world:
        at = list(algorithm.begin(MODEL).shared)
        silent = dict.fromkeys(NAMES[:3], ("step", 0))
        with pytest.raises(TooFewClients):
            world.coordinator.round(at, nodes(world, algorithm, at, silent=silent))
        assert [Own(path).arrays() for path in world.homes.values()] == [[], [], [], []]


def test_a_model_without_what_rides_beside_it_is_refused_before_anything_is_sent(algorithm: Algorithm) -> None:
    with a_world(optimizer=algorithm.server) as world:
        at = [np.ones(3), np.ones(2), np.ones(4)]
        asked = nodes(world, algorithm, at)
        with pytest.raises(UpdateError, match="moves a model and"):
            world.coordinator.round(at, asked)
        assert asked.trained == []


def test_a_disk_that_is_full_while_an_own_is_kept_loses_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one goes before the new one is written: a node that then had neither would begin anew, by zeros."""
    own = Own(tmp_path)
    for number in range(2):
        own.propose([np.full(2, float(number))])
        own.bind(("task", number, 0))
        if number:

            def fails(*_: Any) -> None:
                raise OSError(28, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr(Journal, "_write_arrays", fails)
                with pytest.raises(StoreError):
                    own.settle(("task", number, 0), counted=True)
        else:
            own.settle(("task", number, 0), counted=True)
    for again in (own, Own(tmp_path)):
        assert [array.tolist() for array in again.arrays()] == [[1.0, 1.0]]
    own.bind(("task", 2, 0))
    assert [array.tolist() for array in own.arrays()] == [[1.0, 1.0]]


def test_an_own_that_is_another_attempts_is_not_settled(tmp_path: Path) -> None:
    own = Own(tmp_path)
    own.propose([np.ones(2)])
    own.bind(("task", 1, 0))
    own.settle(("task", 0, 0), counted=True)
    assert own.arrays() == []
    own.settle(("task", 1, 0), counted=True)
    assert np.array_equal(own.arrays()[0], np.ones(2))
    own.bind(("task", 2, 0))  # an app that proposes nothing
    own.settle(("task", 2, 0), counted=True)
    assert np.array_equal(own.arrays()[0], np.ones(2))
