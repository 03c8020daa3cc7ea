"""What a pinned server may try, to read something of one node off refusals and off sums that differ by that node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from support.frameworks.plugin_rounds import METRICS, NAMES, WEIGHTS, Nodes, World, a_world, model, updates

from secure_agg.errors import PolicyViolation, TooFewClients, UpdateError
from secure_agg.plugins.core.coordinator import Coordinator
from secure_agg.plugins.core.server.numbering import Numbering
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import RoundConfig


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


# --- the weight, by halves ----------------------------------------------------------------------------------------


def limited(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """A server that limits the weights of its next attempts as it likes."""
    honest = Numbering.configure

    def configure(*args: Any, **options: Any) -> RoundConfig:
        return msgspec.structs.replace(honest(*args, **options), weight_limit=limit)

    monkeypatch.setattr(Numbering, "configure", configure)


def by_halves(most: int, refuses: Callable[[int], bool]) -> int:
    """What a weight is, of one who refuses where it is above a limit."""
    low, high = 1, most
    while low < high:
        limit = (low + high) // 2
        low, high = (limit + 1, high) if refuses(limit) else (low, limit)
    return low


def test_a_weight_is_not_read_off_refusals(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def naive(limit: int) -> bool:
        try:
            FixedPoint(world.policy, limit).check_weight(WEIGHTS["north"])
        except UpdateError:
            return True
        return False

    assert by_halves(world.policy.max_weight, naive) == WEIGHTS["north"]

    said: list[type[Exception] | None] = []
    for limit in (1, 6, 7, 15):
        nodes = Nodes({"north": world.homes["north"]}, updates(0), model(), WEIGHTS, METRICS)
        with monkeypatch.context() as patch:
            limited(patch, limit)
            with pytest.raises(TooFewClients):
                world.coordinator.round(model(), nodes)
        said += [type(error) for _, error in nodes.errors] or [None]
        assert nodes.trained == [], "whether it trains says nothing either"
    assert said == [PolicyViolation] * 4
    assert world.coordinator.round(model(), world.nodes(model())).participants == tuple(sorted(NAMES))


def test_where_weights_are_limited_the_limit_follows_from_the_last_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count of those above a limit that the server chooses would show a weight in a few rounds."""
    policy = {"weight_scale": 2, "weight_span": 16, "first_weight": 8}
    with a_world(**policy) as world:
        outcome = world.coordinator.round(model(), world.nodes(model()))
        for limit in (1, outcome.record.next_weight_limit - 1):
            nodes = world.nodes(outcome.model, seed=1)
            with monkeypatch.context() as patch:
                limited(patch, limit)
                with pytest.raises(TooFewClients):
                    world.coordinator.round(outcome.model, nodes)
            assert {type(error) for _, error in nodes.errors} == {PolicyViolation}
            assert nodes.trained == []
        for _ in range(2):  # a new server process tells its nodes the last result again
            nodes = world.nodes(outcome.model, seed=1)
            outcome = Coordinator(world.server).round(outcome.model, nodes)
            assert nodes.errors == []
        for _ in range(2):
            nodes = world.nodes(outcome.model)
            world.coordinator.evaluate(outcome.model, nodes.evaluating())
            assert nodes.errors == []
            outcome = world.coordinator.round(outcome.model, nodes)


# --- the same work in two sums ------------------------------------------------------------------------------------


def test_training_is_not_summed_a_second_time_as_an_evaluation(world: World) -> None:
    """A round over all that train, then an "evaluation" of the same training by all but one: their metrics and weights
    differ by that one's, exactly.
    """
    without = {name: path for name, path in world.homes.items() if name != "west"}
    nodes = Nodes(without, updates(0), model(), WEIGHTS, METRICS)  # the framework's message asks for training
    with pytest.raises(TooFewClients):
        world.coordinator.evaluate(model(), nodes)
    assert {(name, type(error)) for name, error in nodes.errors} == {(name, PolicyViolation) for name in without}
    nodes = world.nodes(model())
    assert world.coordinator.evaluate(model(), nodes.evaluating()).participants == tuple(sorted(NAMES))
    assert nodes.errors == []


def test_an_evaluation_is_not_summed_as_training(world: World) -> None:
    nodes = world.nodes(model())
    with pytest.raises(TooFewClients):
        world.coordinator.round(model(), nodes.evaluating())
    assert {type(error) for _, error in nodes.errors} == {PolicyViolation}
