"""Messages that an aggregator must refuse: who sends them, and what a refusal leaves as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.federation import Tape, identity, replace

from secure_agg.backends.masking.wire import Edges
from secure_agg.errors import RemoteProtocolError

CHEAT = "c002"
NOBODY = ""
ME = identity("aggregator")


def refused(tape: Tape, message: bytes, error: type[RemoteProtocolError], culprit: str | None = CHEAT) -> None:
    """The aggregator refuses a message, names its sender (nobody for NOBODY), and still takes the honest one."""
    phase, awaited = tape.phase, tape.aggregator.awaited
    with pytest.raises(error) as caught:
        tape.deliver(message)
    assert caught.value.phase is not None
    if culprit is not None:
        assert caught.value.culprit == (culprit or None)
    assert (tape.phase, tape.aggregator.awaited) == (phase, awaited), "a refused message changes nothing"


def without(*peers: int) -> Callable[[Edges], Edges]:
    """A change of a client's edges: those to some peers are missing."""

    def change(body: Edges) -> Edges:
        return replace(body, edges=tuple(edge for edge in body.edges if edge.peer not in peers))

    return change
