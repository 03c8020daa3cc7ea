"""Backend ``split``, of another distribution: every update is split among holders, who all have to be there.

It stands for what a stranger writes from the contract alone: share holders of its own, an option, messages, and the
rule that they sign the set. The holders are trusted to follow the protocol, and not to collude all together.

* ``sides``: its part of each role. ``vault``: a second backend, with a key holder.
"""

from __future__ import annotations

from collections.abc import Callable

from mpc.keys import KeyPair
from secure_agg.backends.contract import (
    AggregatorSide,
    ClientSide,
    Once,
    OperatorSide,
    OptionRule,
    Phase,
    PhaseKind,
    Seats,
    SharedBackend,
    TrustStatement,
)
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import ADVERTISE, CONSISTENCY
from secure_agg_split.sides import COLLECT, SUM, SplitAggregator, SplitClient, SplitHolder

HOLDERS = OptionRule("holders", 2, 5, "holders of a share of every update", 2)


class SplitBackend(SharedBackend):
    """Shares that sum up to the vector."""

    name = "split"
    trust = TrustStatement(
        summary="holders of another package share every update",
        trusted="the holders, to follow the protocol and not to collude all together",
        dropouts="clients before they have sent their shares; no holder may be lost",
        post_quantum="not yet: shares are sealed with X25519",
        limits="for tests",
    )
    options = (HOLDERS,)

    def seats(self, policy: Policy) -> Seats:
        """The option ``holders``; all are needed."""
        return Seats(HOLDERS.of(policy), needed=HOLDERS.of(policy))

    def phases(self, config: RoundConfig) -> tuple[Phase, ...]:
        """Clients speak once."""
        return (
            Phase("begin", PhaseKind.BEGIN),
            Phase(ADVERTISE, PhaseKind.ADVERTISE),
            Phase(COLLECT, PhaseKind.OPERATE),
            Phase(CONSISTENCY, PhaseKind.CONSENT),
            Phase(SUM, PhaseKind.OPERATE),
        )

    def client(
        self, config: RoundConfig, name: str, derive: Callable[[str], bytes], setup: bytes, once: Once
    ) -> ClientSide:
        """Splits its vector."""
        return SplitClient(config, name, derive, self.share_holders(config, setup))

    def operator(
        self, config: RoundConfig, identity: Identity, channel: KeyPair, setup: bytes, cohort: Roster
    ) -> OperatorSide:
        """Adds up its shares."""
        return SplitHolder(config, identity.name, channel)

    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """Adds up the holders' sums."""
        return SplitAggregator(config, self.share_holders(config, setup).names)
