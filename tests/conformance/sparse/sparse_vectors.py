"""A small round whose session is sparse, for ``make_vectors``: what one client is sent of it, and what is refused."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from conformance.vector_files import constant, round_files, write_round
from support.federation import header_of, identity

from secure_agg.backends.masking.wire import Choosers
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.config import Option, Policy, RoundConfig
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import Envelope, decode
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.client.client import Client
from secure_agg.roles.trust import TaskTrust, Trust

EVIDENCE: Final = "sparse.evidence"
TRUST: Final = "sparse.trust.json"
VECTORS: Final = "sparse.json"
NAMES: Final = tuple(f"m{i:02d}" for i in range(13))
ABSENT: Final = "m04"
LOST: Final = "m09"
TOLD: Final = "m06"
"""Who never advertises, who falls silent before its input, and whose requests are shown."""
PHASES: Final = ("choose-peers", "share-keys", "consistency", "unmask")


class _Recorded(LocalRound):
    """Keeps what one client is asked."""

    asked: dict[str, bytes]

    def answer(self, request: Envelope, phase: str) -> bytes | memoryview | None:
        if request.recipient == TOLD and phase in PHASES:
            self.asked[phase] = header_of(request.data).body
        return super().answer(request, phase)


def play() -> tuple[Evidence, Trust, dict[str, bytes]]:
    """The round, the same bytes every time; and the bodies of one client's requests."""
    policy = Policy.default(13, bits=8, clip=4.0, options=Option.list({"complete_up_to": 0}))
    roster = Roster({name: identity(name).public for name in NAMES})
    operator = identity("aggregator")
    trust = Trust({"vectors": TaskTrust(roster, policy)}, Roster({operator.name: operator.public}))
    config = RoundConfig.create(
        task="vectors", round=7, policy=policy, cohort=roster, shapes=((3,),), operators=trust.operators
    )
    clients = {name: Client(identity(name), trust, entropy=constant(name)) for name in NAMES if name != ABSENT}
    updates = {name: [np.arange(3.0) / (i + 1)] for i, name in enumerate(NAMES)}
    played = _Recorded(Aggregator(operator, config, roster), clients, updates, silent={LOST: "masked-input"})
    played.asked = {}
    return played.run(), trust, played.asked


def vectors(evidence: Evidence, asked: dict[str, bytes]) -> dict[str, Any]:
    """Requests as they were, and what of them is checked."""
    shown = decode(Choosers, asked["share-keys"], 1 << 20).shown
    return {
        **round_files(evidence, (EVIDENCE, TRUST)),
        "told": TOLD,
        "requests": {phase: asked[phase].hex() for phase in PHASES},
        "shown": [item.position for item in shown.advertisements],
        "path": shown.path.hex(),
    }


def write() -> None:
    """Write the files."""
    evidence, trust, asked = play()
    write_round(evidence, trust, (EVIDENCE, TRUST, VECTORS), vectors(evidence, asked))


if __name__ == "__main__":
    write()
