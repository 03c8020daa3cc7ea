"""What is computed, with which bounds, and by how many parties: from the policy alone."""

from __future__ import annotations

import math
from typing import Final

from secure_agg.backends.additive.rules import (
    AGGREGATORS,
    BEGIN,
    COLLECT,
    MAX_SHARE_BYTES,
    PARTIAL_SUM,
    SHARE,
)
from secure_agg.backends.contract import OptionRule, ResultRule
from secure_agg.backends.contract.options import check_options
from secure_agg.backends.crypten.engine.jobs import MAX_WORDS
from secure_agg.errors import ConfigError
from secure_agg.protocol.agreement import SignedByOperators
from secure_agg.protocol.claims import ATTESTED, SUM
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.config.groups import check_one_grid
from secure_agg.protocol.session import Session

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
WEIGHT_MARGINS: Final = 2
"""Coordinates that the parties add to a vector: how far its weight is from both ends of its range."""
USUAL_BITS: Final = 16
MAX_BOUND: Final = (1 << 32) - 1
MAX_PARTIES: Final = 5
DEFAULT_PARTIES: Final = 3
MAX_CLIENTS: Final = 64
"""Most clients of a round: what is computed on them together grows with their square."""


PARTIES: Final = OptionRule(
    AGGREGATORS, 2, MAX_PARTIES, "parties that compute on shares of every update", DEFAULT_PARTIES
)
CHOICE: Final = OptionRule(FUNCTION, NORM_BOUNDED_SUM, MEDIAN, "what is computed", NORM_BOUNDED_SUM, meanings=FUNCTIONS)
BOUND: Final = OptionRule(
    NORM_BOUND, 0, MAX_BOUND, "largest L2 norm of an accepted update, in thousandths", 0, meanings={0: "none"}
)
TRIMMED: Final = OptionRule(TRIM, 0, MAX_CLIENTS, "clients left out at each end, by the trimmed mean", 0)
OPTIONS: Final = (PARTIES, CHOICE, BOUND, TRIMMED)
_ITS_OPTION: Final = {NORM_BOUND: NORM_BOUNDED_SUM, TRIM: TRIMMED_MEAN}
"""The one function that each of these options is for; it has to be given there."""


def parties(policy: Policy) -> int:
    """k, the option ``aggregators``."""
    return PARTIES.of(policy)


def function(policy: Policy) -> int:
    """What is computed."""
    return CHOICE.of(policy)


def check(policy: Policy) -> None:
    """Refuse settings that can't be computed exactly.

    Raises:
        ConfigError: an unknown option, one out of range or missing, or weights where there can be none.
    """
    check_options(policy, OPTIONS)
    if policy.weight_scale:
        raise ConfigError(f"backend {policy.backend!r} keeps weights: a weight_scale saves it no bytes")
    if any(group.adaptive for group in policy.groups):
        raise ConfigError(f"backend {policy.backend!r} judges vectors by ranges that stay: clips have to be pinned")
    if policy.max_clients > MAX_CLIENTS:
        raise ConfigError(f"max_clients is {policy.max_clients}, above {MAX_CLIENTS} for backend {policy.backend!r}")
    chosen, given = function(policy), {option.name for option in policy.options if option.value}
    if not given - {AGGREGATORS}:
        raise ConfigError(
            f"backend {policy.backend!r} has to be told what to compute, by options: {{{NORM_BOUND!r}: 5000}} sums "
            f"updates of L2 norm up to 5.0, {{{FUNCTION!r}: {TRIMMED_MEAN}, {TRIM!r}: 1}} is the trimmed mean, "
            f"{{{FUNCTION!r}: {MEDIAN}}} the median"
        )
    for name, its in _ITS_OPTION.items():
        if name in given and chosen != its:
            raise ConfigError(f"{name} is for the {FUNCTIONS[its]}, not the {FUNCTIONS[chosen]}")
        if name not in given and chosen == its:
            raise ConfigError(f"the {FUNCTIONS[chosen]} needs a {name} above 0")
    if chosen == NORM_BOUNDED_SUM:
        if not squared_bound(policy):
            raise ConfigError(
                f"{NORM_BOUND} is {BOUND.of(policy)}, below one step of the codec: nobody but 0 could pass"
            )
        check_one_grid(policy.vectors)
        return
    if policy.max_weight != 1:
        raise ConfigError(f"a {FUNCTIONS[chosen]} has no weights: max_weight is {policy.max_weight}, not 1")
    trim = TRIMMED.of(policy)
    if 2 * trim >= policy.min_clients:
        raise ConfigError(f"{TRIM} is {trim}: less than half of min_clients = {policy.min_clients} has to be left")


def result(policy: Policy) -> ResultRule:
    """What a result is: the sum of accepted vectors, or what the trimmed mean or median leaves of them, which is no
    sum. The parties test bits: one more than an honest client sends passes.
    """
    claim = SUM if function(policy) == NORM_BOUNDED_SUM else ATTESTED
    return ResultRule((1 << policy.bits) - 1, claim, lambda participants: addends(policy, participants), True)


def addends(policy: Policy, participants: int) -> int:
    """Of how many values each coordinate of the result is the sum."""
    if function(policy) == TRIMMED_MEAN:
        return participants - 2 * TRIMMED.of(policy)
    if function(policy) == MEDIAN:
        return 2 - participants % 2
    return participants


def centre(policy: Policy) -> int:
    """The integer that 0 is encoded as, and that decodes to 0."""
    return policy.half


def squared_bound(policy: Policy) -> int:
    """Largest squared L2 norm, around ``centre``, of an accepted client's values: the bound in steps of the codec.

    What is bounded is what a client sends: its clipped update times weight / weight limit. An encoded value stands less
    than a step from it. So with d values an update of norm b passes surely only if the bound is at least
    b + sqrt(d) · step; and one that passes decodes to a norm of at most the bound.

    Vectors in range have squared norms below 2^63 (``check_size``), so a larger bound says no more than 2^63 − 1.
    """
    return min(math.floor((BOUND.of(policy) / 1000 / policy.step) ** 2), (1 << 63) - 1)


def check_size(config: RoundConfig) -> None:
    """Refuse a model that can't be computed on, before any client sends its share.

    Raises:
        ConfigError: it is too long.
    """
    policy, layout = config.policy, config.layout
    if 8 * layout.total > MAX_SHARE_BYTES - 16:
        raise ConfigError(f"a share of {8 * layout.total} bytes is above {MAX_SHARE_BYTES - 16}: split the model")
    words = policy.max_clients * (layout.total + WEIGHT_MARGINS) + layout.values
    if words > MAX_WORDS:
        raise ConfigError(f"{words} words of shares at each party are above {MAX_WORDS}: split the model")
    if function(policy) == NORM_BOUNDED_SUM and layout.values * policy.top**2 >= 1 << 63:
        raise ConfigError(
            f"squared norms of {layout.values} values of {policy.bits} bits can reach 2^63: take fewer bits"
        )


class SignedByParties(SignedByOperators):
    """All parties sign the set: one honest of them is enough."""

    def least(self, session: Session) -> int:
        """A quorum of the cohort has to be judged; how many of those are refused is nobody's choice but their own."""
        return session.config.policy.min_clients
