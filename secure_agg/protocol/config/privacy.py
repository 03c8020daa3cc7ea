"""A task's differential privacy, as its policy holds it: options, integers, that every backend of committed sums has.

Rounds without it have none of these options, and are what they were before there were any, byte for byte.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from secure_agg.errors import ConfigError
from secure_agg.privacy import accounting
from secure_agg.privacy.accounting import DELTA_UNIT, EPSILON_UNIT, calibrated, rounds_within
from secure_agg.privacy.asked import MECHANISMS, MOST_DELTA, MOST_EPSILON, Privacy
from secure_agg.privacy.mechanism import RATIO_UNIT, Mechanism, mechanism
from secure_agg.protocol.config.blocks import least_block, padded
from secure_agg.protocol.config.settings import MAX_CLIENTS, MAX_OPTION
from zk.transcript import digest

DELTA: Final = "privacy_delta"
"""δ in 10^−12."""
EPSILON: Final = "privacy_epsilon"
"""ε, the task's budget, in millionths."""
HONEST: Final = "privacy_honest"
"""h: clients of every sum whose noise is counted on."""
MECHANISM: Final = "privacy_mechanism"
"""1: Skellam noise of every client's own."""
RATIO: Final = "privacy_ratio"
"""ρ, the variance of h clients' noise over the squared sensitivity, in 1024ths."""
PRIVACY_OPTIONS: Final = (DELTA, EPSILON, HONEST, MECHANISM, RATIO)


@dataclass(frozen=True)
class PrivacyRule:
    """What a policy says of privacy; see the options.

    Attributes:
        delta, epsilon: the budget, in 10^−12 and millionths.
        honest: h.
        mechanism: its number.
        ratio: ρ in 1024ths.
    """

    delta: int
    epsilon: int
    honest: int
    mechanism: int
    ratio: int

    @property
    def name(self) -> str:
        """Of the mechanism."""
        return MECHANISMS[self.mechanism - 1]

    @property
    def rounds(self) -> int:
        """T: rounds that the budget is for."""
        return rounds_within(self.ratio, self.delta, self.epsilon)

    def spent(self, rounds: int) -> int:
        """ε of so many rounds of this policy, in millionths."""
        return accounting.spent({self.ratio: rounds}, self.delta, self.epsilon)

    def spent_if(self, share: Fraction, rounds: int) -> int:
        """The same if only this share of the h clients add their noise."""
        less = int(self.ratio * share)
        return accounting.spent({less: rounds}, self.delta, self.epsilon) if less else accounting.BEYOND

    def local_noise(self, values: int) -> float:
        """About how long one client's noise is beside the longest update, for a model of so many values."""
        return float((values * self.ratio / RATIO_UNIT / self.honest) ** 0.5)

    def check(self, clients: int) -> None:
        """Refuse settings that protect nobody, or allow no round.

        Args:
            clients: n_max.

        Raises:
            ConfigError: says why, and what would do.
        """
        if not 1 <= self.mechanism <= len(MECHANISMS):
            raise ConfigError(f"{MECHANISM} is {self.mechanism}: there is 1, {MECHANISMS[0]}")
        if not 1 <= self.epsilon <= MOST_EPSILON * EPSILON_UNIT:
            raise ConfigError(f"{EPSILON} is {self.epsilon} millionths, outside (0, {MOST_EPSILON}]")
        if not 1 <= self.delta <= MOST_DELTA * DELTA_UNIT:
            raise ConfigError(f"{DELTA} is {self.delta} · 10^-12, outside (0, {MOST_DELTA}]")
        if self.delta * clients >= DELTA_UNIT:
            raise ConfigError(
                f"delta = {self.delta / DELTA_UNIT:g} is no less than one in {clients} clients: publishing the whole "
                f"update of one would be as private; take {0.1 / clients:.2g} or less"
            )
        if not 1 <= self.honest <= MAX_CLIENTS:
            raise ConfigError(f"{HONEST} is {self.honest}: noise has to come from somebody")
        if not self.ratio:
            raise ConfigError(f"{RATIO} is 0: the noise would be lost in rounding; take a smaller epsilon")
        if not self.rounds:
            one = self.spent(1)
            raise ConfigError(
                f"one round spends epsilon = {one / EPSILON_UNIT:.6g} with {RATIO} = {self.ratio}, above the budget of "
                f"{self.epsilon / EPSILON_UNIT:g}: {RATIO} = {calibrated(1, self.delta, self.epsilon)} would do"
            )

    def mechanism_of(self, values: int, clients: int, half: int) -> Mechanism:
        """The numbers of a round over a model of so many values.

        Args:
            clients: n_max.
            half: H.

        Raises:
            ConfigError: there is no room for them.
        """
        return mechanism(
            padded=padded(values),
            least_block=least_block(values),
            clients=clients,
            honest=self.honest,
            ratio=self.ratio,
            half=half,
        )


def rule_of(options: Mapping[str, int]) -> PrivacyRule | None:
    """What these options say of privacy; None where they say nothing.

    Raises:
        ConfigError: some of them are there, and others are not.
    """
    found = [name for name in PRIVACY_OPTIONS if name in options]
    if not found:
        return None
    if missing := [name for name in PRIVACY_OPTIONS if name not in options]:
        raise ConfigError(f"{found[0]} goes with {missing[0]}: without all of {', '.join(PRIVACY_OPTIONS)} nothing is")
    return PrivacyRule(*(options[name] for name in PRIVACY_OPTIONS))


def most_honest(min_clients: int, quorum: int, max_corrupt: int) -> int:
    """h: of every set that is summed so many are honest, at least.

    Args:
        quorum: t_sig; 0 where it is no clients who sign the set.
    """
    return max(min_clients, quorum) - max_corrupt


def options_of(privacy: Privacy, most: int, min_clients: int, max_corrupt: int) -> dict[str, int]:
    """The options of a policy that is to have this.

    Args:
        most: see ``most_honest``.
        min_clients, max_corrupt: of the policy, for what is said.

    Raises:
        ConfigError: nobody's noise can be counted on, or there is no such noise.
    """
    if most < 1:
        raise ConfigError(
            f"with min_clients = {min_clients} and {max_corrupt} corrupt clients a sum may hold nobody's noise: "
            f"min_clients = {max_corrupt + 1} would do, and more clients need less noise each"
        )
    delta, epsilon = round(privacy.delta * DELTA_UNIT), round(privacy.epsilon * EPSILON_UNIT)
    ratio = calibrated(privacy.rounds, delta, epsilon)
    if ratio > MAX_OPTION:
        raise ConfigError(f"a noise ratio of {ratio / RATIO_UNIT:g} is above what a policy holds")
    honest = max(1, int(most * Fraction(privacy.honest)))
    return {
        DELTA: delta,
        EPSILON: epsilon,
        HONEST: honest,
        MECHANISM: MECHANISMS.index(privacy.mechanism) + 1,
        RATIO: ratio,
    }


def terms_digest(rule: PrivacyRule, made: Mechanism, clip: float) -> bytes:
    """D("privacy", terms): what a record says of the noise in its round."""
    numbers = (
        rule.mechanism, rule.delta, rule.epsilon, rule.ratio, made.honest, made.padded, made.length, made.squared,
        made.variance, made.value_limit, made.noise_limit,
    )  # fmt: skip
    return digest("privacy", struct.pack("<d", clip), *(number.to_bytes(8, "little") for number in numbers))
