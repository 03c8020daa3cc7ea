"""What a round with differential privacy says of itself, as numbers and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from secure_agg.errors import LocalProtocolError, VerificationError
from secure_agg.privacy import accounting
from secure_agg.privacy.accounting import BEYOND, DELTA_UNIT, EPSILON_UNIT
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.privacy import terms_digest


@dataclass(frozen=True)
class PrivacyClaim:
    """Of one round.

    Attributes:
        mechanism: its name.
        epsilon, delta: the task's budget, in millionths and in 10^−12.
        spent: ε of this round and all before it together, in millionths, for a client that has signed once in each.
        terms: digest of the round's numbers, D("privacy", terms).
    """

    mechanism: str
    epsilon: int
    delta: int
    spent: int
    terms: bytes

    @staticmethod
    def of(config: RoundConfig) -> PrivacyClaim | None:
        """Of a round; None where there is none."""
        rule = config.policy.privacy
        if rule is None:
            return None
        made = config.mechanism
        if made is None:
            raise LocalProtocolError("a round with a privacy rule has numbers")
        terms = terms_digest(rule, made, config.policy.clip)
        return PrivacyClaim(rule.name, rule.epsilon, rule.delta, rule.spent(config.round + 1), terms)

    @property
    def text(self) -> str:
        """For people."""
        return (
            f"epsilon = {in_words(self.spent)} of {in_words(self.epsilon)} spent at delta = "
            f"{self.delta / DELTA_UNIT:g} ({self.mechanism}), if as many add their noise as the policy counts on"
        )


def in_words(epsilon: int) -> str:
    """ε of so many millionths."""
    return "more than can be said" if epsilon >= BEYOND else f"{epsilon / EPSILON_UNIT:.4g}"


@dataclass
class Spending:
    """What rounds of one task in a log have spent, for whoever goes through it: of each client what the records that it
    is in add up to. It is a lower bound of what the client has spent: sets that were signed, and of which no record
    tells, count for the client too.

    Attributes:
        rounds: of the task, with privacy.
        epsilon, delta: the budget that was in force in the last of them.
        clients: of each client how many rounds, by their noise ratio in 1024ths.
    """

    rounds: int = 0
    epsilon: int = 0
    delta: int = 0
    clients: dict[str, Counter[int]] = field(default_factory=dict)

    def add(self, config: RoundConfig, participants: Iterable[str]) -> None:
        """Count a round that was verified.

        Raises:
            VerificationError: a client's budget would be exceeded, which no client that follows the rules signs.
        """
        rule = config.policy.privacy
        if rule is None:
            return
        self.rounds, self.epsilon, self.delta = self.rounds + 1, rule.epsilon, rule.delta
        for name in participants:
            self.clients.setdefault(name, Counter())[rule.ratio] += 1
        if self.spent > rule.epsilon:
            raise VerificationError(
                f"rounds of task {config.task!r} have spent epsilon = {in_words(self.spent)} of some client, above its "
                f"budget of {in_words(rule.epsilon)}"
            )

    @property
    def spent(self) -> int:
        """ε in millionths, of whoever has spent most."""
        kinds = {tuple(sorted(found.items())) for found in self.clients.values()}
        return max((accounting.spent(dict(kind), self.delta, self.epsilon) for kind in kinds), default=0)

    @property
    def text(self) -> str:
        """For people."""
        return (
            f"epsilon = {in_words(self.spent)} of {in_words(self.epsilon)} at delta = {self.delta / DELTA_UNIT:g} "
            f"over {self.rounds} rounds, at least"
        )
