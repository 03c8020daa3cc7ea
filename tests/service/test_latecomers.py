"""Members that were away, and come back when the next round asks already."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.frameworks.plugin_rounds import Nodes, a_world, model, updates

from secure_agg.errors import AnotherModel
from secure_agg.plugins.core import parcels
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.codec import model_digest
from secure_agg.service.link import Arrived
from secure_agg.service.session import Session, _Work


class Late(Nodes):
    """Of these nodes west takes part by a session, which is given payloads as a service hands them out."""

    other = False
    """Whether the model that is announced is another."""

    def answer(self, name: str, kind: str, payload: bytes) -> bytes:
        if name != "west":
            return super().answer(name, kind, payload)
        at, answers = [array + self.other for array in self.model], list[bytes]()
        link: Any = SimpleNamespace(
            answer=lambda _, data: answers.append(data),
            refuse=lambda *_: None,
            model=lambda _: pytest.fail("what a member has come to, or refuses, is not fetched"),
        )
        with ClientHome.open(self.homes[name]) as home:
            work = _Work(lambda _: updates(0)[name], 1, {}, None)
            digest = model_digest(at) if kind == parcels.JOIN else None
            Session(home, link, lambda: None)._take(Arrived("item", payload, digest), work)
        return answers[0]


def test_who_missed_a_round_verifies_its_result_before_it_looks_at_the_next_model() -> None:
    """Where it comes back once members were caught up with, the request to join is the first that shows it."""
    with a_world() as world:
        at = world.coordinator.round(model(), Nodes(world.homes, updates(0), model())).model
        at = world.coordinator.round(at, Nodes(world.homes, updates(0), at, silent={"west": ("hello", 0)})).model
        late = Late(world.homes, updates(0), at)
        outcome = world.coordinator.round(at, late)
        assert late.errors == []
        assert "west" in outcome.participants
        lied_to = Late(world.homes, updates(0), outcome.model)
        lied_to.other = True
        assert "west" not in world.coordinator.round(outcome.model, lied_to).participants
        ((_, error),) = lied_to.errors
        assert isinstance(error, AnotherModel)
