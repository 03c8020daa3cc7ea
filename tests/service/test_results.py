"""What a member's session makes of payloads, without a service between."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.frameworks.plugin_rounds import METRICS, NAMES, WEIGHTS, Nodes, a_world, model, updates

from secure_agg.plugins.core import parcels
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.codec import model_digest
from secure_agg.service.link import Arrived
from secure_agg.service.session import RoundResult, Session, _Work


class Sessions(Nodes):
    """Nodes of which west is a session's process, a new one for each payload."""

    result: RoundResult | None = None

    def answer(self, name: str, kind: str, payload: bytes) -> bytes:
        if name != "west":
            return super().answer(name, kind, payload)
        answers = list[bytes]()
        link: Any = SimpleNamespace(answer=lambda _, data: answers.append(data), model=lambda _: b"")
        with ClientHome.open(self.homes[name]) as home:
            session = Session(home, link, lambda: None)
            session._model = lambda _: list(self.model)  # type: ignore[method-assign]
            work = _Work(updates(0)[name], WEIGHTS[name], METRICS[name], None)
            digest = model_digest(list(self.model)) if kind == parcels.JOIN else None
            self.result = session._take(Arrived("item", payload, digest), work) or self.result
        return answers[0]


def test_a_member_is_told_the_means_of_the_metrics_it_has_given() -> None:
    """They were in the sum, and nobody could read them."""
    with a_world() as world:
        nodes = Sessions(world.homes, updates(0), model(), WEIGHTS, METRICS)
        outcome = world.coordinator.round(model(), nodes)
        assert nodes.errors == []
        assert nodes.result is not None
        assert nodes.result.metrics == outcome.metrics
        total = sum(WEIGHTS.values())
        for metric in ("accuracy", "loss"):
            mean = sum(WEIGHTS[name] * METRICS[name][metric] for name in NAMES) / total
            assert nodes.result.metrics[metric] == pytest.approx(mean, abs=1e-6)
