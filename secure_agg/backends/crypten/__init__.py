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

from collections.abc import Callable, Mapping

from mpc.keys import KeyPair
from secure_agg.backends.contract import (
    AggregatorSide,
    ClientSide,
    Once,
    OperatorSide,
    Phase,
    PhaseKind,
    ResultRule,
    Seats,
    SharedBackend,
    TrustStatement,
    session_id,
)
from secure_agg.backends.crypten import costs, rules
from secure_agg.backends.crypten.aggregator import CryptenCoordinator
from secure_agg.backends.crypten.client import CryptenClient
from secure_agg.backends.crypten.engine import loader
from secure_agg.backends.crypten.operator import CryptenOperator
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import ADVERTISE, CONSISTENCY


class CryptenBackend(SharedBackend):
    """Multi-party computation on shared updates."""

    name = "crypten"
    unbuffered = (
        "its parties judge updates against each other, which those from different models don't allow; one that "
        "only adds up would do"
    )
    trust = TrustStatement(
        summary="k parties compute on shared updates: norm-bounded sum, trimmed mean, median",
        trusted="the parties to follow the protocol (semi-honest), not all of them to collude, and the provider of "
        "multiplication triples not to collude with any of them",
        dropouts="clients before they have sent their shares; no party may be lost",
        post_quantum="not yet: shares are sealed with X25519",
        limits="a party that computes wrongly stops a sum (it is verified) but not a trimmed mean or median, which "
        "are attested by the parties' signatures only; all parties of a round have to be in one process",
        judges=True,
    )
    agreement = rules.SignedByParties()
    noiseless = "its parties judge vectors by what noise hides, and a median or trimmed mean is no sum of noise"
    unbounded = "its parties check norms on the shares themselves, by its options function and norm_bound_milli"
    options = rules.OPTIONS

    def check_policy(self, policy: Policy) -> None:
        """Each function has settings of its own."""
        super().check_policy(policy)
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

    def usual_bits(self, clients: int) -> int:
        """Squares of values are summed in 63 bits, so more bits leave less room for parameters, and take longer."""
        return min(rules.USUAL_BITS, super().usual_bits(clients))

    def result(self, policy: Policy) -> ResultRule:
        """A sum is proved; what is no sum is attested, and is of what the trimmed mean or median leaves."""
        return rules.result(policy)

    def seats(self, policy: Policy) -> Seats:
        """The option ``aggregators``; all are needed."""
        parties = rules.parties(policy)
        return Seats(parties, needed=parties, together=True)

    def amounts(self, config: RoundConfig, survivors: int) -> Mapping[str, Mapping[str, float]]:
        """See ``costs``."""
        return costs.amounts(config, survivors)

    def check_size(self, config: RoundConfig) -> None:
        """What is computed has to fit into words, and into memory."""
        rules.check_size(config)

    def client(
        self, config: RoundConfig, name: str, derive: Callable[[str], bytes], setup: bytes, once: Once
    ) -> ClientSide:
        """See ``client.CryptenClient``."""
        return CryptenClient(config, name, derive, self.share_holders(config, setup), session_id(config, None))

    def operator(
        self, config: RoundConfig, identity: Identity, channel: KeyPair, setup: bytes, cohort: Roster
    ) -> OperatorSide:
        """See ``operator.CryptenOperator``."""
        loader.require()  # clients speak once: none should be asked for what can't be computed
        return CryptenOperator(config, identity, self.share_holders(config, setup), channel, session_id(config, None))

    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """See ``aggregator.CryptenCoordinator``."""
        return CryptenCoordinator(config, self.share_holders(config, setup))
