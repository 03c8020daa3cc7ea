"""Backend ``masking``: one aggregator, dropouts in every phase, a malicious aggregator learns nothing but the sum.

Double masking (Bonawitz et al. 2017) with signed agreement on the survivors and key confirmation on every edge;
above 128 clients on a sparse graph whose edges the clients choose (Bell et al. 2020, malicious variant).

* ``rules``: graph, thresholds, and the conditions under which a client goes on.
* ``wire``: the backend's messages.
* ``client``, ``aggregator``: its part of each role. ``costs``: what a round grows with.
* ``screening``: what everybody computes alike where inputs are tested before anything is opened. ``judge``: who is
  left out then. ``screened``: the aggregator's state of it, and how cheats leave a signed set. ``inputs``: what was
  accepted, on disk.
* ``faults``: what can be proved of a client to anybody. ``claims``: and of an aggregator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from secure_agg.backends.contract import (
    AggregatorSide,
    Backend,
    ClientSide,
    Once,
    Phase,
    PhaseKind,
    TrustStatement,
)
from secure_agg.backends.masking import claims, costs
from secure_agg.backends.masking.aggregator import MaskingAggregator
from secure_agg.backends.masking.client import MaskingClient
from secure_agg.backends.masking.faults import check_proof
from secure_agg.backends.masking.rules import (
    CHOOSE_PEERS,
    COMPLETE,
    CONFIRM_EDGES,
    DISPUTE,
    DISPUTE_SKETCHES,
    EXCISE_SKETCHES,
    MASKED_INPUT,
    SCREEN,
    SCREEN_SKETCHES,
    SCREENING,
    SHARE_KEYS,
    TRANSPORT,
    UNMASK,
    check_screening,
    chooses_peers,
    excisions,
    form,
    renounced_by,
    request_limit,
    screens,
    tests_sketches,
)
from secure_agg.backends.masking.wire import split_part
from secure_agg.errors import ConfigError
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.config.tree import EDGE, TOP, level
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import ADVERTISE, CONSISTENCY
from secure_agg.protocol.renunciation import Renouncers


class MaskingBackend(Backend):
    """Pairwise and self masks that cancel in the sum."""

    name = "masking"
    trust = TrustStatement(
        summary="one aggregator; pairwise masks cancel in the sum",
        trusted="nobody with an update: more than 2/3 of the clients are honest; the rest may collude with the "
        "aggregator",
        dropouts="tolerated in every phase, down to the policy's thresholds",
        post_quantum="not yet: X25519 key agreement (masks recorded today open to a quantum computer)",
        limits="a client that commits to a malformed vector stops the round and can't be named, nor without option "
        "screening can one that sends another vector than it has committed to",
    )

    options = (COMPLETE, SCREENING, TRANSPORT)
    when_bounded: ClassVar[Mapping[str, int]] = {SCREENING.name: 1}
    levels = frozenset({EDGE, TOP})
    halves = True

    def check_policy(self, policy: Policy) -> None:
        """Declared options, and sketches that can be tested. What screening proves is of a session that follows from
        its advertisements alone, as an edge's does not.
        """
        super().check_policy(policy)
        if level(policy) == EDGE and SCREENING.of(policy):
            raise ConfigError("an edge's inputs are not screened: screen those of the top")
        check_screening(policy)

    def phases(self, config: RoundConfig) -> tuple[Phase, ...]:
        """Five phases; one more where the clients choose their peers first, and those of screening."""
        choice = (Phase(CHOOSE_PEERS, PhaseKind.EXCHANGE),) if chooses_peers(config) else ()
        screened = screens(config)
        return (
            Phase(ADVERTISE, PhaseKind.ADVERTISE),
            *choice,
            Phase(SHARE_KEYS, PhaseKind.EXCHANGE),
            *((Phase(CONFIRM_EDGES, PhaseKind.EXCHANGE),) if screened else ()),
            Phase(MASKED_INPUT, PhaseKind.INPUT),
            *((Phase(SCREEN, PhaseKind.EXCHANGE), Phase(DISPUTE, PhaseKind.EXCHANGE, True)) if screened else ()),
            Phase(CONSISTENCY, PhaseKind.AGREE),
            Phase(UNMASK, PhaseKind.RELEASE),
            *(Phase(name, PhaseKind.EXCISE, True) for name in (excisions(config) if screened else ())),
            *self._of_sketches(config),
        )

    @staticmethod
    def _of_sketches(config: RoundConfig) -> tuple[Phase, ...]:
        """Those of a sum whose sketch has failed."""
        if not tests_sketches(config):
            return ()
        asked = (Phase(name, PhaseKind.EXCHANGE, True) for name in (SCREEN_SKETCHES, DISPUTE_SKETCHES))
        return *asked, *(Phase(name, PhaseKind.EXCISE, True) for name in excisions(config, EXCISE_SKETCHES))

    def is_sparse(self, config: RoundConfig) -> bool:
        """Where clients choose their peers."""
        return chooses_peers(config)

    def request_limit(self, config: RoundConfig) -> int:
        """See ``rules``."""
        return request_limit(config)

    def check_advertisement(self, name: str, part: bytes) -> None:
        """Two X25519 public keys, neither of low order nor the other again."""
        split_part(name, part)

    def hidden_sizes(self, config: RoundConfig) -> range:
        """One size, of the packed vector."""
        size = form(config).size
        return range(size, size + 1)

    def amounts(self, config: RoundConfig, survivors: int) -> Mapping[str, Mapping[str, float]]:
        """See ``costs``."""
        return costs.amounts(config, survivors)

    def renouncers(
        self, config: RoundConfig, cohort: Roster, setup: bytes | memoryview, operators: Mapping[str, bytes]
    ) -> Renouncers:
        """The cohort: as many as the graph asks for."""
        return Renouncers(cohort, renounced_by(config))

    def check_fault(self, proof: FaultProof, config: RoundConfig) -> None:
        """See ``faults`` and ``claims``."""
        check = claims.check_proof if proof.kind in claims.KINDS else check_proof
        check(config, proof)

    def client(
        self, config: RoundConfig, name: str, derive: Callable[[str], bytes], setup: bytes, once: Once
    ) -> ClientSide:
        """See ``client.MaskingClient``."""
        return MaskingClient(config, name, derive)

    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """See ``aggregator.MaskingAggregator``."""
        return MaskingAggregator(config)
