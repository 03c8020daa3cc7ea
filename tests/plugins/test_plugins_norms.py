"""Norm bounds under a framework: marks and metrics are outside of them, evaluations have none, nodes are told."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from support.frameworks.plugin_rounds import METRICS, NAMES, WEIGHTS, a_world, introduce, model, updates, weighted_mean

from secure_agg import FaultProof
from secure_agg.errors import TooFewClients
from secure_agg.plugins.core.training import OUTSIDE
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.client import joined
from secure_agg.roles.client.proving import prove_norm


@pytest.mark.parametrize("backend", ["masking", "plain"])
def test_updates_are_bounded_and_metrics_are_exact(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    with (
        a_world(backend=backend, norm_bound=0.9, norm_outside=OUTSIDE, max_weight=10) as made,
        caplog.at_level(logging.INFO, "secure_agg"),
    ):
        start = model()
        nodes = made.nodes(start, seed=3)
        introduce(made.coordinator, made.homes)
        outcome = made.coordinator.round(start, nodes)
        assert nodes.errors == []
        assert outcome.participants == tuple(sorted(NAMES))
        given = updates(3)
        bounded = {}
        for name, arrays in given.items():
            norm = np.sqrt(sum(float((array**2).sum()) for array in arrays))
            bounded[name] = [array * min(1.0, 0.9 / norm) for array in arrays]
        expected = weighted_mean(bounded, WEIGHTS, NAMES)
        for mean, exact in zip(outcome.average, expected, strict=True):
            assert np.abs(mean - exact).max() < 2e-3
        total = sum(WEIGHTS.values())
        for metric in ("accuracy", "loss"):
            mean = sum(WEIGHTS[name] * METRICS[name][metric] for name in NAMES) / total
            assert outcome.metrics[metric] == pytest.approx(mean, abs=1e-6)
        assert 0.89 < outcome.record.norm_bound <= 0.9
        nodes.model = outcome.model
        evaluation = made.coordinator.evaluate(outcome.model, nodes.evaluating())
        assert evaluation.metrics["loss"] == pytest.approx(outcome.metrics["loss"], abs=1e-6)
        assert made.server.ledger.audit().norm_proofs == 2 * len(NAMES)
    assert any("above its share of" in text for text in caplog.messages), "a node is told that it was scaled"
    assert any("together reach at most" in text for text in caplog.messages), (
        "the server says how far norms are bounded"
    )


def test_a_node_whose_sketch_is_of_another_vector_is_named_and_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of four nodes may be corrupt, so the round ends; what it has proved is kept, and the next is without it."""

    def prove(session: Any, own: Any, commitment: bytes, vector: Any, derive: Any) -> Any:
        told = vector.copy()
        told[0] += own.name == "south"
        return prove_norm(session, own, commitment, told, derive)

    with a_world(norm_bound=0.9, norm_outside=OUTSIDE, max_weight=10) as made:
        start, nodes = model(), made.nodes(model(), seed=3)
        introduce(made.coordinator, made.homes)
        with monkeypatch.context() as patch:
            patch.setattr(joined, "prove_norm", prove)
            with pytest.raises(TooFewClients, match="1 clients are proved to cheat"):
                made.coordinator.round(start, nodes)
        (kept,) = made.server.path.glob("*.fault")
        proof = FaultProof.from_bytes(kept.read_bytes())
        assert Auditor(made.server.trust).verify_fault(proof) == "south"
        assert made.coordinator.aborts.faults.convicted(made.server.trust, "task") == {"south": kept}
        again = made.nodes(start, seed=3)
        with pytest.raises(TooFewClients):  # from this model all have signed
            made.coordinator.round(start, again)
        assert "south" not in {name for kind, _, name in again.log if kind == "join"}
