"""Backend ``crypten``: k parties compute on shared updates what a sum can't.

* the *norm-bounded sum*: accept only clients whose values are in range and whose squared L2 norm is within a bound, and
  sum those; what is revealed is who is accepted, and the sum. It is verified like every sum.
* the *trimmed mean* and the *median*, coordinate by coordinate, for small cohorts. These are no sums of what was
  committed to, so nothing but the parties' signatures vouches for them, and the record says so.

The parties are the share holders of ``additive``, with shares modulo 2^64, and compute with CrypTen (Knott et al. 2021,
arXiv:2109.00984), each in a process of its own, multiplication triples coming from one more process.

* ``rules``: what is computed, with which bounds. ``costs``: what a round grows with.
* ``wire``; ``client``, ``operator``, ``aggregator``: messages, and the backend's part of each role.
* ``compute``: from a party's shares to the common result; ``engine``: the processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mpc.keys import KeyPair
from secure_agg.backends.additive.faults import session_id
from secure_agg.backends.additive.setup import AggregatorSet, read_setup
from secure_agg.backends.contract import (
    AggregatorSide,
    Backend,
    ClientSide,
    Once,
    OperatorSide,
    Phase,
    PhaseKind,
    TrustStatement,
)
from secure_agg.backends.crypten import costs, rules
from secure_agg.backends.crypten.aggregator import CryptenCoordinator
from secure_agg.backends.crypten.client import CryptenClient
from secure_agg.backends.crypten.engine import loader
from secure_agg.backends.crypten.operator import CryptenOperator
from secure_agg.errors import BadKey, MalformedMessage
from secure_agg.protocol.claims import ATTESTED, SUM
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import ADVERTISE, CONSISTENCY, SignedAdvertisement


class CryptenBackend(Backend):
    """Multi-party computation on shared updates."""

    name = "crypten"
    trust = TrustStatement(
        summary="k parties compute on shared updates: norm-bounded sum, trimmed mean, median",
        trusted="the parties to follow the protocol (semi-honest), not all of them to collude, and the provider of "
        "multiplication triples not to collude with any of them",
        dropouts="clients before they have sent their shares; no party may be lost",
        post_quantum="not yet: shares are sealed with X25519",
        limits="a party that computes wrongly stops a sum (it is verified) but not a trimmed mean or median, which "
        "are attested by the parties' signatures only; all parties of a round have to be in one process",
    )
    agreement = rules.SignedByParties()
    operated = True
    together = True
    judges = True

    def check_policy(self, policy: Policy) -> None:
        """Options: ``aggregators`` k (2 to 5, default 3); ``function`` 0 norm-bounded sum, 1 trimmed mean, 2 median;
        ``norm_bound_milli`` for the first (thousandths of a unit), ``trim`` for the second (clients at each end).
        """
        rules.check(policy)

    def phases(self, config: RoundConfig) -> tuple[Phase, ...]:
        """The set is signed once it is known who is accepted, and before anything of a result is computed."""
        last = rules.PARTIAL_SUM if rules.function(config.policy) == rules.NORM_BOUNDED_SUM else rules.COMPUTE
        return (
            Phase(rules.BEGIN, PhaseKind.BEGIN),
            Phase(ADVERTISE, PhaseKind.ADVERTISE),
            Phase(rules.COLLECT, PhaseKind.OPERATE),
            Phase(rules.FILTER, PhaseKind.OPERATE),
            Phase(CONSISTENCY, PhaseKind.CONSENT),
            Phase(last, PhaseKind.OPERATE),
        )

    def claim(self, policy: Policy) -> str:
        """A sum is proved; what is no sum is attested."""
        return SUM if rules.function(policy) == rules.NORM_BOUNDED_SUM else ATTESTED

    def usual_bits(self, clients: int) -> int:
        """Squares of values are summed in 63 bits, so more bits leave less room for parameters, and take longer."""
        return min(rules.USUAL_BITS, super().usual_bits(clients))

    def largest(self, policy: Policy) -> int:
        """The parties test bits: one more than an honest client sends passes."""
        return (1 << policy.bits) - 1

    def addends(self, policy: Policy, participants: int) -> int:
        """What the trimmed mean or median leaves of the participants."""
        return rules.addends(policy, participants)

    def aggregators(self, policy: Policy) -> int:
        """The option ``aggregators``."""
        return rules.parties(policy)

    def amounts(self, config: RoundConfig, survivors: int) -> Mapping[str, Mapping[str, float]]:
        """See ``costs``."""
        return costs.amounts(config, survivors)

    def session_id(self, config: RoundConfig, advertisements: Sequence[SignedAdvertisement]) -> bytes:
        """sid = H(ctx)."""
        return session_id(config)

    def check_setup(self, config: RoundConfig, setup: bytes | memoryview, operators: Roster) -> None:
        """The parties have to be pinned, all of them."""
        rules.check_size(config)
        for member in self._parties(config, setup).members:
            if operators.get(member.name) != member.identity:
                raise BadKey(f"{member.name!r}, a party that is not pinned", phase=ADVERTISE)

    def signers(self, config: RoundConfig, setup: bytes) -> Roster:
        """The parties."""
        return self._parties(config, setup).identities

    def _parties(self, config: RoundConfig, setup: bytes | memoryview) -> AggregatorSet:
        return read_setup(config, setup, rules.parties(config.policy))

    def check_advertisement(self, name: str, part: bytes) -> None:
        """There is no public part."""
        if part:
            raise MalformedMessage("an advertisement with a part of its own", phase=ADVERTISE, culprit=name)

    def client(
        self, config: RoundConfig, name: str, derive: Callable[[str], bytes], setup: bytes, once: Once
    ) -> ClientSide:
        """See ``client.CryptenClient``."""
        return CryptenClient(config, name, derive, self._parties(config, setup), session_id(config))

    def operator(
        self, config: RoundConfig, identity: Identity, channel: KeyPair, setup: bytes, cohort: Roster
    ) -> OperatorSide:
        """See ``operator.CryptenOperator``."""
        loader.require()  # clients speak once: none should be asked for what can't be computed
        return CryptenOperator(config, identity, self._parties(config, setup), channel, session_id(config))

    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """See ``aggregator.CryptenCoordinator``."""
        return CryptenCoordinator(config, self._parties(config, setup), self.open_commitment)
