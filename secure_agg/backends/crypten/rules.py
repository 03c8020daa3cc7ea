"""What is computed, with which bounds, and by how many parties: from the policy alone."""

from __future__ import annotations

import math
from typing import Final

from secure_agg.agreement import Session
from secure_agg.backends.additive.rules import AGGREGATORS, BEGIN, COLLECT, PARTIAL_SUM, SHARE, SignedByAggregators
from secure_agg.config import Policy, RoundConfig
from secure_agg.errors import ConfigError

__all__ = ["AGGREGATORS", "BEGIN", "COLLECT", "PARTIAL_SUM", "SHARE"]

FUNCTION: Final = "function"
NORM_BOUND: Final = "norm_bound_milli"
TRIM: Final = "trim"

NORM_BOUNDED_SUM: Final = 0
TRIMMED_MEAN: Final = 1
MEDIAN: Final = 2
FUNCTIONS: Final = {NORM_BOUNDED_SUM: "norm-bounded sum", TRIMMED_MEAN: "trimmed mean", MEDIAN: "median"}

FILTER: Final = "filter"
COMPUTE: Final = "compute"
MAX_PARTIES: Final = 5
DEFAULT_PARTIES: Final = 3
MAX_CLIENTS: Final = 64
"""Most clients of a round: what is computed on them together grows with their square."""


def parties(policy: Policy) -> int:
    """k, the option ``aggregators``."""
    return policy.option(AGGREGATORS, DEFAULT_PARTIES)


def function(policy: Policy) -> int:
    """What is computed."""
    return policy.option(FUNCTION, NORM_BOUNDED_SUM)


def check(policy: Policy) -> None:
    """Refuse settings that can't be computed exactly.

    Raises:
        ConfigError: an unknown option, one out of range or missing, or weights where there can be none.
    """
    known = {AGGREGATORS, FUNCTION, NORM_BOUND, TRIM}
    for option in policy.options:
        if option.name not in known:
            raise ConfigError(f"backend {policy.backend!r} has no option {option.name!r}")
    if not 2 <= parties(policy) <= MAX_PARTIES:
        raise ConfigError(f"{AGGREGATORS} is {parties(policy)}, outside [2, {MAX_PARTIES}]")
    if function(policy) not in FUNCTIONS:
        raise ConfigError(f"{FUNCTION} is {function(policy)}, none of {FUNCTIONS}")
    if policy.max_clients > MAX_CLIENTS:
        raise ConfigError(f"max_clients is {policy.max_clients}, above {MAX_CLIENTS} for backend {policy.backend!r}")
    bound, trim = policy.option(NORM_BOUND, 0), policy.option(TRIM, 0)
    if function(policy) == NORM_BOUNDED_SUM:
        if not bound or trim:
            raise ConfigError(f"the norm-bounded sum takes {NORM_BOUND} (in thousandths, above 0) and no {TRIM}")
        return
    if bound:
        raise ConfigError(f"{NORM_BOUND} is for the norm-bounded sum")
    if policy.max_weight != 1:
        raise ConfigError(f"a {FUNCTIONS[function(policy)]} has no weights: max_weight is {policy.max_weight}, not 1")
    if function(policy) == TRIMMED_MEAN and not 1 <= 2 * trim < policy.min_clients:
        raise ConfigError(f"{TRIM} is {trim}: at least 1, and less than half of min_clients = {policy.min_clients}")
    if function(policy) == MEDIAN and trim:
        raise ConfigError(f"{TRIM} is for the trimmed mean")


def addends(policy: Policy, participants: int) -> int:
    """Of how many values each coordinate of the result is the sum."""
    if function(policy) == TRIMMED_MEAN:
        return participants - 2 * policy.option(TRIM, 0)
    if function(policy) == MEDIAN:
        return 2 - participants % 2
    return participants


def centre(config: RoundConfig) -> int:
    """The integer that stands for 0."""
    return 1 << (config.policy.bits - 1)


def squared_bound(config: RoundConfig) -> int:
    """Largest squared L2 norm, around ``centre``, of an accepted client's values: the bound in steps of the codec.

    A value's distance from 0 is known to half a step, so an update of norm b may be refused if the bound is below
    b + sqrt(d) · step / 2.
    """
    policy = config.policy
    step = 2 * policy.clip / ((1 << policy.bits) - 1)
    return math.floor((policy.option(NORM_BOUND, 0) / 1000 / step) ** 2)


class SignedByParties(SignedByAggregators):
    """All parties sign the set: one honest of them is enough."""

    def quorum(self, session: Session) -> int:
        """All."""
        return parties(session.config.policy)
