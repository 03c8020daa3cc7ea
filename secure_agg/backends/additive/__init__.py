"""Backend ``additive``: k aggregators hold a share each of every update; one honest of them keeps it secret.

Clients speak once. The aggregators check every share on arrival, sign one set, reveal the shares' commitments, and only
then give out one partial sum each, which anyone checks. With ``threshold`` t below k the shares are Shamir's, and a
lost aggregator does not lose the round.

* ``rules``: k, t, and who must sign.
* ``wire``: messages; ``shares``: from a letter to a checked share; ``openings``: from shares' commitments to a
  client's.
* ``client``, ``operator``, ``aggregator``: its part of each role. The aggregators are *operators*; the role Aggregator
  coordinates and holds nothing.
* ``faults``: what can be proved of whom. ``costs``: what a round grows with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mpc.keys import KeyPair
from secure_agg.backends.additive import costs, faults, openings, rules
from secure_agg.backends.additive.aggregator import AdditiveCoordinator
from secure_agg.backends.additive.client import AdditiveClient
from secure_agg.backends.additive.operator import AdditiveOperator
from secure_agg.backends.contract import (
    AggregatorSide,
    ClientSide,
    Once,
    OperatorSide,
    Phase,
    PhaseKind,
    Seats,
    Session,
    SharedBackend,
    TrustStatement,
    session_id,
)
from secure_agg.errors import ConfigError, MalformedMessage, VerificationError
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.config.tree import TOP
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import ADVERTISE, CONSISTENCY
from zk.commitment import Commitment
from zk.transcript import DIGEST_BYTES


class AdditiveBackend(SharedBackend):
    """Additive or Shamir shares among k aggregators."""

    name = "additive"
    trust = TrustStatement(
        summary="k aggregators hold a share each; clients speak once",
        trusted="nobody with an update, unless all k aggregators collude (t of them with a threshold)",
        dropouts="clients at any time; no aggregator may be lost, with a threshold some may",
        post_quantum="not yet: shares are sealed with X25519 (those recorded today open to a quantum computer)",
        limits="a client whose share breaks its equation and an aggregator whose partial sum does are proved to "
        "anybody; one that adds a vector of hash zero stops the round and can't be named",
    )
    agreement = rules.SignedByAggregators()
    options = rules.OPTIONS
    commits_packed = True
    halves = True
    unbuffered = ""
    levels = frozenset({TOP})  # clients that speak once can't be told first what the other edges have fixed

    def check_policy(self, policy: Policy) -> None:
        """The threshold is at most the number of aggregators."""
        super().check_policy(policy)
        rules.scheme(policy)

    def phases(self, config: RoundConfig) -> tuple[Phase, ...]:
        """The clients are asked once."""
        return (
            Phase(rules.BEGIN, PhaseKind.BEGIN),
            Phase(ADVERTISE, PhaseKind.ADVERTISE),
            Phase(rules.COLLECT, PhaseKind.OPERATE),
            Phase(CONSISTENCY, PhaseKind.CONSENT),
            Phase(rules.REVEAL, PhaseKind.OPERATE),
            Phase(rules.PARTIAL_SUM, PhaseKind.OPERATE),
        )

    def seats(self, policy: Policy) -> Seats:
        """The option ``aggregators``; so many are needed as have to sign the set."""
        scheme = rules.scheme(policy)
        return Seats(scheme.parties, needed=rules.signatures(scheme))

    def amounts(self, config: RoundConfig, survivors: int) -> Mapping[str, Mapping[str, float]]:
        """See ``costs``."""
        return costs.amounts(config, survivors)

    def open_commitment(self, session: Session, name: str, commitment: bytes, nonce: bytes) -> Commitment:
        """From the commitments of the shares."""
        found = openings.open_client(session, rules.scheme(session.config.policy), name, commitment, nonce)
        rules.check_base(session.bases, session.config, name, session.parts[name])
        return found

    def base_in(self, config: RoundConfig, part: bytes) -> bytes:
        """It follows the hashes."""
        return rules.base_of_part(config, part)

    def opens(self, phase: str) -> bool:
        """Commitments of shares open nothing; partial sums do."""
        return phase == rules.PARTIAL_SUM

    def check_size(self, config: RoundConfig) -> None:
        """A share is sealed at once."""
        rules.check_size(config)

    def check_advertisement(self, name: str, part: bytes) -> None:
        """Hashes; how many there must be the policy says."""
        if not part or len(part) % DIGEST_BYTES:
            raise MalformedMessage("an advertisement holds hashes", phase=ADVERTISE, culprit=name)

    def client(
        self, config: RoundConfig, name: str, derive: Callable[[str], bytes], setup: bytes, once: Once
    ) -> ClientSide:
        """See ``client.AdditiveClient``."""
        scheme, aggregators = rules.scheme(config.policy), self.share_holders(config, setup)
        return AdditiveClient(config, name, derive, scheme, aggregators, session_id(config, None))

    def operator(
        self, config: RoundConfig, identity: Identity, channel: KeyPair, setup: bytes, cohort: Roster
    ) -> OperatorSide:
        """See ``operator.AdditiveOperator``."""
        scheme, aggregators = rules.scheme(config.policy), self.share_holders(config, setup)
        return AdditiveOperator(
            config, identity.name, scheme, aggregators, channel, session_id(config, None), setup, cohort
        )

    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """See ``aggregator.AdditiveCoordinator``."""
        return AdditiveCoordinator(config, rules.scheme(config.policy), self.share_holders(config, setup), setup)

    def check_fault(self, proof: FaultProof, config: RoundConfig) -> None:
        """See ``faults``."""
        try:
            scheme = rules.scheme(config.policy)
        except ConfigError as error:
            raise VerificationError(f"a proof of fault names an unfit policy: {error.args[0]}") from error
        faults.check(scheme, config, proof)
