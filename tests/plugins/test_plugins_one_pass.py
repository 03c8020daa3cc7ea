"""Inside a framework, too, whoever a message comes to parses it once, and evidence is encoded once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.frameworks.plugin_rounds import NAMES, Nodes, World, a_world, model, updates

from secure_agg.plugins.core.parcels import JOIN
from secure_agg.plugins.core.participant import Participant
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol import messages
from secure_agg.protocol.evidence import bundle
from secure_agg.protocol.messages import Header


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


@dataclass
class Lasting(Nodes):
    """Nodes whose processes live as long as the round: none has to go through what it has answered before."""

    participants: dict[str, Participant] = field(default_factory=dict)

    def answer(self, name: str, kind: str, payload: bytes) -> bytes:
        participant = self.participants[name]
        if kind != JOIN:
            return participant.handle(payload)
        return participant.handle(payload, model(), lambda: self._train(name, model()))


def test_a_round_inside_a_framework_parses_each_message_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    done: Counter[str] = Counter()
    decode, pack, encode = messages.decode, messages.pack, bundle.encode

    def decoding(kind: Any, *given: Any, **named: Any) -> Any:
        done["parsed"] += kind is Header
        return decode(kind, *given, **named)

    def packing(*given: Any) -> bytes:
        done["sent"] += 1
        return pack(*given)

    def encoding(value: Any) -> bytes:
        done["evidence encoded"] += type(value).__name__ == "_EvidenceHeader"
        return encode(value)

    with ExitStack() as stack:
        homes = {name: stack.enter_context(ClientHome.open(path)) for name, path in world.homes.items()}
        nodes = Lasting(
            world.homes, updates(0), model(), participants={name: Participant(home) for name, home in homes.items()}
        )
        monkeypatch.setattr(messages, "decode", decoding)
        monkeypatch.setattr(messages, "pack", packing)
        monkeypatch.setattr(bundle, "encode", encoding)
        outcome = world.coordinator.round(model(), nodes)
    assert outcome.participants == tuple(sorted(NAMES))
    again = 2 * len(NAMES)  # a node's receipt is in each of the three payloads that it gets from then on
    assert done["parsed"] == done["sent"] + again
    assert done["evidence encoded"] == 1
