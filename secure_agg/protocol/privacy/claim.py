"""What a round with differential privacy says of itself, as numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

from secure_agg.errors import LocalProtocolError
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
