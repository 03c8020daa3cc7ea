"""What one client was sent in a real round, so that its part can be repeated without the rest of the round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from benchmarks.federation import Federation, client
from benchmarks.measure.round import Measured, measure
from secure_agg.backends.masking.rules import CONFIRM_EDGES, MASKED_INPUT, SCREEN, SHARE_KEYS
from secure_agg.protocol.messages import ADVERTISE
from secure_agg.roles.client.client import Client
from secure_agg.roles.trust import Trust


@dataclass(frozen=True)
class Recording:
    """What one client was sent until its input was in, and screened if inputs are; for another process to replay.

    Attributes:
        name: of the client.
        trust: what it has pinned.
        requests: by phase.
    """

    name: str
    trust: Trust
    requests: Mapping[str, bytes]

    def replay(self, values: npt.NDArray[Any]) -> Client:
        """Take a new client of that name from joining to its masked input, and its report on that.

        Args:
            values: the update; the same as in the recorded round.
        """
        replayed = client(self.name, self.trust)
        replayed.join(self.requests[ADVERTISE], [values])
        for phase in (SHARE_KEYS, CONFIRM_EDGES, MASKED_INPUT, SCREEN):
            if phase not in self.requests:
                continue
            replayed.receive(self.requests[phase])
        return replayed


def record(federation: Federation, values: npt.NDArray[Any]) -> tuple[Recording, Measured]:
    """A whole round in which everybody has the same update, and what its first client was sent."""
    requests: dict[str, bytes] = {}

    def tapped(role: str, party: str, phase: str, message: bytes) -> None:
        if party == federation.names[0]:
            requests.setdefault(phase, message)  # a phase's first message is its request, a second one the receipt

    measured = measure(federation, [values for _ in federation.names], beside=tapped)
    return Recording(federation.names[0], federation.trust, requests), measured
