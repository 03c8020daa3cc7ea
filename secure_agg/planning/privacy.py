"""What differential privacy costs a task: how much of its budget is spent when, and what noise leaves of a mean."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Final

from secure_agg.errors import ConfigError
from secure_agg.privacy.accounting import DELTA_UNIT, EPSILON_UNIT
from secure_agg.privacy.mechanism import LEAST_PADDED, Mechanism
from secure_agg.protocol.config import MAX_BITS, Policy
from secure_agg.protocol.config.privacy import PrivacyRule

USABLE: Final = 1.0
"""Clips: a mean of updates is never longer."""
USELESS: Final = 3.0
"""Noise of a mean that is longer, in clips, moves the model, whatever clients send."""


def fewest_bits(rule: PrivacyRule, values: int, clients: int, most: int = MAX_BITS) -> int | None:
    """The fewest bits per value that have room for the noise of a model of so many values; None where no number up to
    ``most`` has.

    Args:
        clients: n_max.
    """
    for bits in range(2, most + 1):
        with contextlib.suppress(ConfigError):
            rule.mechanism_of(values, clients, (1 << bits - 1) - 1)
            return bits
    return None


@dataclass(frozen=True)
class PrivacyCost:
    """Of a task whose rounds all have one policy and all clients.

    Attributes:
        rule: of the policy.
        made: numbers of a round.
        norm: c, in the units of updates.
        values: d, of the model.
        clients: n, who are in a sum.
        rounds: that are planned.
        done: that were before.
        bits: per value.
        fewest: bits that would have room for the noise.
    """

    rule: PrivacyRule
    made: Mechanism
    norm: float
    values: int
    clients: int
    rounds: int
    done: int
    bits: int
    fewest: int

    @staticmethod
    def of(policy: Policy, values: int, clients: int, *, rounds: int | None = None, done: int = 0) -> PrivacyCost:
        """What a policy with privacy costs a model of so many values.

        Args:
            clients: who are in a sum.
            rounds: that are planned; by default all that the budget is for.
            done: rounds of this policy so far.

        Raises:
            ConfigError: the policy has no privacy, its bits have no room for the noise, or its budget is for fewer
                rounds; says what would do.
        """
        rule = policy.privacy
        if rule is None:
            raise ConfigError("the policy has no privacy: name epsilon, delta and norm")
        planned = rule.rounds if rounds is None else rounds
        if not 0 <= done <= planned:
            raise ConfigError(f"{done} rounds are done, which is outside [0, {planned}], the rounds that are planned")
        if planned > rule.rounds:
            raise ConfigError(
                f"{planned} rounds are planned, and the budget is for {rule.rounds}: plan for {rule.rounds} rounds, "
                "or name a larger epsilon"
            )
        made = rule.mechanism_of(values, policy.max_clients, policy.top // 2)
        fewest = fewest_bits(rule, values, policy.max_clients, policy.bits)
        return PrivacyCost(
            rule,
            made,
            policy.clip,
            values,
            clients,
            planned,
            done,
            policy.bits,
            policy.bits if fewest is None else fewest,
        )

    def epsilon(self, rounds: int) -> float:
        """ε that so many of the planned rounds spend together."""
        return self.rule.spent(rounds) / EPSILON_UNIT

    @property
    def budget(self) -> tuple[float, float]:
        """ε and δ of the whole task."""
        return self.rule.epsilon / EPSILON_UNIT, self.rule.delta / DELTA_UNIT

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise in each value of a mean, in clips."""
        return self.made.deviation / (math.sqrt(self.clients) * self.made.length)

    @property
    def noise(self) -> float:
        """How long the noise of a mean is, in clips: the mean is 1 at most."""
        return self.made.noise(self.clients)

    @property
    def own(self) -> float:
        """How long the noise of one client's own vector is, in clips."""
        return self.made.noise(1)

    @property
    def use(self) -> str:
        """``usable``, ``costly`` or ``useless``: what training can make of such means."""
        return "usable" if self.noise <= USABLE else "costly" if self.noise <= USELESS else "useless"

    @property
    def enough_values(self) -> int:
        """About how many values a model may have for its noise to be as short as the longest mean; 0 where no model is
        small enough, since no rotated vector has fewer than ``LEAST_PADDED``.
        """
        found = int(self.made.padded * (USABLE / self.noise) ** 2)
        return found - found % LEAST_PADDED

    @property
    def enough_clients(self) -> int:
        """About how many clients would make the noise as short as that, with this model."""
        return math.ceil(self.clients * self.noise / USABLE)

    @property
    def reasons(self) -> tuple[str, ...]:
        """For people: what is spent, how long the noise is, and what that is good for."""
        epsilon, delta = self.budget
        now, soon, end = (self.epsilon(count) for count in (self.done, min(self.done + 1, self.rounds), self.rounds))
        said = [
            f"epsilon = {now:.4g} is spent now, {soon:.4g} after the next round, {end:.4g} after all {self.rounds:,}, "
            f"of {epsilon:g} at delta = {delta:g}; the noise of {self.made.honest:,} honest clients is counted on.",
            f"The noise of a mean of {self.clients:,} updates is {self.noise:.3g} clips long, and the mean itself at "
            f"most 1: in each value it has a standard deviation of {self.deviation:.3g} clips, of {self.norm:g} each. "
            f"One client's own noise is {self.own:.3g} clips long.",
        ]
        smaller = f"a model of about {self.enough_values:,} values, " if self.enough_values else ""
        cure = (
            f"about {self.enough_clients:,} clients, {smaller}a larger epsilon or fewer rounds would do, and a larger "
            "min_clients would help"
        )
        if self.use == "useless":
            said.append(f"Training is useless: it is noise that moves the model, not what clients send; {cure}.")
        elif self.use == "costly":
            said.append(f"Noise is longer than any mean: accuracy will suffer; {cure}.")
        else:
            said.append("Noise is shorter than the longest mean: training is usable.")
        if self.fewest < self.bits:
            said.append(f"{self.fewest} bits a value have room for it; more lose less to rounding.")
        return tuple(said)
