"""Rounds of a federation whose policy has groups."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from support.frameworks.plugin_rounds import (
    METRICS,
    NAMES,
    WEIGHTS,
    Nodes,
    a_world,
    introduce,
    model,
    updates,
    weighted_mean,
)

from secure_agg.cli.federation.groups import groups_of
from secure_agg.errors import ConfigError, PolicyViolation, TooFewClients
from secure_agg.plugins.core.metrics import metrics_group
from secure_agg.plugins.homes import proposals
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import Group, Policy, RoundConfig
from secure_agg.protocol.config.layout import first_clips
from secure_agg.roles.epochs.change import Change
from secure_agg.roles.task import Task

GROUPS = groups_of(["model:bits=12,clip=0.6,adaptive"])
SPARSE = groups_of(["model:bits=16,clip=2,support=1/3"])


def test_model_and_metrics_each_have_their_group_and_clips_follow_from_round_to_round() -> None:
    with a_world(groups=GROUPS, bits=None) as made:
        introduce(made.coordinator, made.homes)
        at, clips = model(), []
        for number in range(2):
            nodes = made.nodes(at, seed=number)
            outcome = made.coordinator.round(at, nodes)
            mean = weighted_mean(updates(number), WEIGHTS, NAMES)
            error = {group.name: group.error_bound for group in outcome.record.groups}["model"]
            for found, start, wanted in zip(outcome.model, at, mean, strict=True):
                assert np.abs(found - start - wanted).max() < error + 1e-6
            total = sum(WEIGHTS.values())
            loss = sum(WEIGHTS[name] * METRICS[name]["loss"] for name in NAMES) / total
            assert outcome.metrics["loss"] == pytest.approx(loss, abs=1e-6)
            at, clips = outcome.model, [*clips, made.server.ledger.last("task").next_clips]
        assert clips[0] != clips[1]


def test_a_node_refuses_clips_that_do_not_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_world(groups=GROUPS, bits=None) as made:
        introduce(made.coordinator, made.homes)
        at = made.coordinator.round(model(), made.nodes(model())).model
        nodes = made.nodes(at)
        with monkeypatch.context() as patch:
            patch.setattr("secure_agg.roles.memory.results.clips_after", lambda *_: (6001, 6000))
            with pytest.raises(TooFewClients):
                made.coordinator.round(at, nodes)
        assert any(isinstance(error, PolicyViolation) for _, error in nodes.errors)


def test_a_node_goes_on_from_no_result_that_it_has_not_verified_to_other_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a home takes any model nothing else says which result a round follows from; an invented one would lead
    back to the first clips, as often as a server likes.
    """
    with a_world(groups=GROUPS, bits=None, checks_model=False, weight_scale=0) as made:
        introduce(made.coordinator, made.homes)
        at = made.coordinator.round(model(), made.nodes(model())).model
        following = Task.next_round

        def invented(self: Task, *given: Any, **named: Any) -> RoundConfig:
            config = following(self, *given, **named)
            first = first_clips(config.policy.groups, config.grouping)
            return msgspec.structs.replace(config, previous_record=bytes([1]) * 32, clips=first)

        monkeypatch.setattr(Task, "next_round", invented)
        nodes = made.nodes(at)
        with pytest.raises(TooFewClients):
            made.coordinator.round(at, nodes)
        said = [str(error) for _, error in nodes.errors]
        assert said
        assert all("a result that this node has not verified" in text for text in said)


def test_what_a_round_did_not_take_stays_on_the_node_until_a_result_contains_it() -> None:
    with a_world(groups=SPARSE, bits=None) as made:
        introduce(made.coordinator, made.homes)
        at = model()
        made.coordinator.round(at, made.nodes(at, silent={"south": ("step", 0)}))
        kept = {}
        for name in NAMES:
            with ClientHome.open(made.homes[name]) as home:
                kept[name] = home.residual.arrays()
        assert kept["south"] == []
        residual, whole = np.concatenate([a.ravel() for a in kept["north"]][:2]), updates(0)["north"]
        flat = np.concatenate([array.ravel() for array in whole])
        sent = residual == 0
        assert sent.sum() == 6  # a third of 17, rounded up
        assert np.allclose(residual[~sent], flat[~sent], atol=1e-6)


def test_groups_of_a_federation_hold_one_for_metrics() -> None:
    assert [group.name for group in GROUPS] == ["model", "metrics"]
    with pytest.raises(ConfigError, match="of the name 'metrics'"):
        metrics_group(Policy.default(4, groups=[Group(name="model")]))
    for text in ("model:bits=x", "model:other", "model:support=1", "model:clip=nan", ":bits=8"):
        with pytest.raises(ConfigError):
            groups_of([text])


def test_what_the_training_before_has_left_is_no_part_of_a_new_one() -> None:
    """Its residuals have the shapes of the new model's updates: added to them they would move it to the old one."""
    with a_world(groups=SPARSE, bits=None, min_clients=2) as world:
        introduce(world.coordinator, world.homes)
        world.coordinator.round(model(), world.nodes(model()))
        fresh = [np.full_like(array, 0.125) for array in model()]
        proposal = proposals.propose(world.server.trust, "task", Change(restart=("second", model_digest(fresh))))
        signed = []
        for path in world.homes.values():
            with ClientHome.open(path) as home:
                assert any(array.any() for array in home.residual.arrays())
                signed.append(proposals.approve(home, proposal).proposal)
        proposals.submit(world.server, signed)
        world.coordinator.check_model(fresh)
        still = {name: [np.zeros_like(array) for array in fresh] for name in NAMES}
        nodes = Nodes(world.homes, still, fresh, WEIGHTS, METRICS)
        outcome = world.coordinator.round(fresh, nodes)
        assert nodes.errors == []
        assert outcome.record.round == 1
        assert set(outcome.participants) == set(NAMES)
        for new, old in zip(outcome.model, fresh, strict=True):
            assert np.array_equal(new, old), "nobody's update moves it"
