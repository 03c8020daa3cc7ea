"""Backend ``masking``: one aggregator, dropouts in every phase, a malicious aggregator learns nothing but the sum.

Double masking (Bonawitz et al. 2017) with signed agreement on the survivors and key confirmation on every edge;
above 128 clients on a sparse graph whose edges the clients choose (Bell et al. 2020, malicious variant).

* ``rules``: graph, thresholds, and the conditions under which a client goes on.
* ``wire``: the backend's messages.
* ``client``, ``aggregator``: its part of each role. ``costs``: what a round grows with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from secure_agg.backends.contract import (
    AggregatorSide,
    Backend,
    ClientSide,
    Once,
    Phase,
    PhaseKind,
    TrustStatement,
)
from secure_agg.backends.masking import costs
from secure_agg.backends.masking.aggregator import MaskingAggregator
from secure_agg.backends.masking.client import MaskingClient
from secure_agg.backends.masking.rules import (
    CHOOSE_PEERS,
    COMPLETE,
    MASKED_INPUT,
    SHARE_KEYS,
    UNMASK,
    chooses_peers,
)
from secure_agg.backends.masking.wire import split_part
from secure_agg.backends.packed import carrier
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import ADVERTISE, CONSISTENCY


class MaskingBackend(Backend):
    """Pairwise and self masks that cancel in the sum."""

    name = "masking"
    trust = TrustStatement(
        summary="one aggregator; pairwise masks cancel in the sum",
        trusted="nobody with an update: more than 2/3 of the clients are honest; the rest may collude with the "
        "aggregator",
        dropouts="tolerated in every phase, down to the policy's thresholds",
        post_quantum="not yet: X25519 key agreement (masks recorded today open to a quantum computer)",
        limits="a client that commits to a malformed vector stops the round and can't be named",
    )

    options = (COMPLETE,)

    def phases(self, config: RoundConfig) -> tuple[Phase, ...]:
        """Five phases; six where the clients choose their peers first."""
        choice = (Phase(CHOOSE_PEERS, PhaseKind.EXCHANGE),) if chooses_peers(config) else ()
        return (
            Phase(ADVERTISE, PhaseKind.ADVERTISE),
            *choice,
            Phase(SHARE_KEYS, PhaseKind.EXCHANGE),
            Phase(MASKED_INPUT, PhaseKind.INPUT),
            Phase(CONSISTENCY, PhaseKind.AGREE),
            Phase(UNMASK, PhaseKind.RELEASE),
        )

    def check_advertisement(self, name: str, part: bytes) -> None:
        """Two X25519 public keys, neither of low order nor the other again."""
        split_part(name, part)

    def hidden_sizes(self, config: RoundConfig) -> range:
        """One size, of the packed vector."""
        size = carrier(config).size
        return range(size, size + 1)

    def amounts(self, config: RoundConfig, survivors: int) -> Mapping[str, Mapping[str, float]]:
        """See ``costs``."""
        return costs.amounts(config, survivors)

    def client(
        self, config: RoundConfig, name: str, derive: Callable[[str], bytes], setup: bytes, once: Once
    ) -> ClientSide:
        """See ``client.MaskingClient``."""
        return MaskingClient(config, name, derive)

    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """See ``aggregator.MaskingAggregator``."""
        return MaskingAggregator(config)
