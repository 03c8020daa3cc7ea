"""``Privacy``: what somebody who makes a policy asks for, in the units of people."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from secure_agg.errors import ConfigError
from secure_agg.privacy.accounting import DELTA_UNIT, EPSILON_UNIT, MOST_ROUNDS

SKELLAM: Final = "skellam"
MECHANISMS: Final = (SKELLAM,)
"""By name; their numbers in policies begin at 1."""
MOST_EPSILON: Final = 32
"""Above it nothing is protected that anybody would call private."""
MOST_DELTA: Final = 0.004
_USUAL: Final = {
    "epsilon": "take 1 to 4, 8 at most",
    "delta": "take 1e-05, or a tenth of one in the clients where they are more than 10,000",
    "norm": "take about the L2 norm that honest updates have",
    "honest": "take 1, which relies on all who are held to be honest, or less",
}


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """Differential privacy of every client's whole contribution to a task.

    Attributes:
        epsilon: ε, above 0 and at most 32: how much all results of the task together may tell of one client's data.
        delta: δ, below 1/n: with this probability they may tell more.
        norm: c; every update's L2 norm is brought to at most this before anything else, in the units of the update.
        rounds: T, that the budget is to last for: the more the more noise in each.
        mechanism: ``skellam``, the only one.
        honest: the share of the clients that the protocol counts as honest who are relied on to add their noise, above
            0 and at most 1. Nobody can prove that they do: with less than 1 each adds more.
    """

    epsilon: float
    delta: float
    norm: float
    rounds: int = 1
    mechanism: str = SKELLAM
    honest: float = 1.0

    def __post_init__(self) -> None:
        for name in ("epsilon", "delta", "norm", "honest"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                raise ConfigError(f"privacy: {name} is {value!r}, not a number above 0: {_USUAL[name]}")
        if self.epsilon > MOST_EPSILON or round(self.epsilon * EPSILON_UNIT) < 1:
            raise ConfigError(
                f"privacy: epsilon is {self.epsilon:g}, outside [1e-06, {MOST_EPSILON}]: above that nothing is "
                "protected; take 8 at most, better 1 to 4"
            )
        if self.delta > MOST_DELTA or round(self.delta * DELTA_UNIT) < 1:
            raise ConfigError(
                f"privacy: delta is {self.delta:g}, outside [1e-12, {MOST_DELTA}]: it is a chance of losing all "
                "privacy, far below one in the number of clients"
            )
        if self.honest > 1:
            raise ConfigError(f"privacy: honest is {self.honest:g}, a share of clients above 1")
        if isinstance(self.rounds, bool) or not isinstance(self.rounds, int) or not 1 <= self.rounds <= MOST_ROUNDS:
            raise ConfigError(f"privacy: rounds is {self.rounds!r}, not a number of rounds from 1 to {MOST_ROUNDS}")
        if self.mechanism not in MECHANISMS:
            raise ConfigError(f"privacy: mechanism is {self.mechanism!r}; there is {', '.join(MECHANISMS)}")
