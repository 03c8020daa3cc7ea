"""Differential privacy under a framework: the model alone is summed, with noise, and no node goes over its budget."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from support.frameworks.plugin_rounds import METRICS, NAMES, Nodes, a_world, introduce, model

from secure_agg import Privacy
from secure_agg.errors import ConfigError
from secure_agg.protocol.evidence import PrivateRecord

BUDGET: dict[str, Any] = {
    "privacy": Privacy(epsilon=8.0, delta=1e-5, norm=1.0, rounds=2),
    "max_weight": 1,
    "clip": 1.0,
    "bits": 20,
}


def test_two_rounds_train_on_what_nodes_follow_and_the_third_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with a_world(**BUDGET) as made, caplog.at_level(logging.INFO, "secure_agg"):
        start, rng = [np.zeros((30, 30), np.float32), np.arange(100.0)], np.random.default_rng(3)
        given = {name: [rng.uniform(-0.5, 0.5, array.shape) for array in start] for name in NAMES}
        nodes = Nodes(made.homes, given, start, metrics=METRICS)
        introduce(made.coordinator, made.homes)
        first = made.coordinator.round(start, nodes)
        assert nodes.errors == []
        assert first.participants == tuple(sorted(NAMES))
        assert first.metrics == {}
        assert isinstance(first.record, PrivateRecord)
        assert first.weight == len(NAMES)
        expected = [np.zeros_like(array, dtype=np.float64) for array in start]
        for arrays in given.values():
            norm = np.sqrt(sum(float((array**2).sum()) for array in arrays))
            for total, array in zip(expected, arrays, strict=True):
                total += array * min(1.0, 1.0 / norm) / len(NAMES)
        errors = np.concatenate([(mean - exact).ravel() for mean, exact in zip(first.average, expected, strict=True)])
        config = made.server.ledger.evidence(first.record).config
        assert config.mechanism is not None
        deviation = config.mechanism.deviation / config.mechanism.length / np.sqrt(len(NAMES))
        assert 0.83 < np.sqrt(np.mean(errors**2)) / deviation < 1.17
        nodes.model = first.model
        second = made.coordinator.round(first.model, nodes)
        assert nodes.errors == [], "nodes have come to the same model as the server, from the noisy mean"
        nodes.model = second.model
        with pytest.raises(ConfigError, match="is for 2 rounds, and this would be number 3"):
            made.coordinator.round(second.model, nodes)
        with pytest.raises(ConfigError, match="evaluation sums metrics without noise"):
            made.coordinator.evaluate(second.model, nodes.evaluating())
        report = made.server.ledger.audit()
        assert report.privacy[made.server.task].spent == second.record.spent  # type: ignore[attr-defined]
    left_out = [text for text in caplog.messages if "summed without noise: accuracy, loss" in text]
    assert left_out, "whoever wrote the app is told that metrics do not travel"


def test_a_node_that_was_away_in_the_first_round_comes_to_the_same_model(caplog: pytest.LogCaptureFixture) -> None:
    """It is sent the model that the task began with, whose arrays are all of a round's: no marks, no metrics."""
    with a_world(**BUDGET) as made:
        introduce(made.coordinator, made.homes)
        first = made.coordinator.round(model(), made.nodes(model(), silent={"south": ("hello", 0)}))
        assert "south" not in first.participants
        nodes = made.nodes(first.model, seed=1)
        second = made.coordinator.round(first.model, nodes)
        assert nodes.errors == []
        assert second.participants == tuple(sorted(NAMES))
