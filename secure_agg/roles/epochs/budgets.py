"""Another privacy budget for a task, which goes on from what was spent under the one before.

A budget is the whole task's. Whoever proposes another counts the rounds that there were, each with the noise that it
had, and asks for as much noise in those to come as keeps all of them within the new budget. Clients count the same by
themselves, from what they have signed (``memory.spending``): a proposal that leaves rounds out gains nothing by it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from secure_agg.arguments import checked_class
from secure_agg.errors import ConfigError, LocalProtocolError
from secure_agg.privacy import accounting
from secure_agg.privacy.accounting import DELTA_UNIT, EPSILON_UNIT, calibrated_after
from secure_agg.privacy.asked import Privacy
from secure_agg.protocol.config import Option, Policy
from secure_agg.protocol.config.privacy import HONEST, RATIO, PrivacyRule, most_honest, options_of, rule_of
from secure_agg.protocol.config.settings import USELESS_ERROR
from secure_agg.protocol.habits import habits
from secure_agg.protocol.privacy.claim import in_words

_MOST_NOISE: Final = 10
"""Times the deviation that a task beginning with the budget has: where what is left of it would take more, it is spent.
"""
_WEIGHTS: Final[dict[str, Any]] = {"max_weight": 1, "weight_scale": 0, "weight_span": 0, "first_weight": 0}


@checked_class
@dataclass(frozen=True, kw_only=True)
class Renewal:
    """What is to be another of a task's privacy than it is; what is None stays.

    Attributes:
        epsilon, delta, norm, honest: see ``Privacy``.
        rounds: how many more the budget is to last for.
    """

    epsilon: float | None = None
    delta: float | None = None
    norm: float | None = None
    rounds: int | None = None
    honest: float | None = None


@dataclass(frozen=True)
class Past:
    """The rounds of a task so far.

    Attributes:
        rounds: how many, with and without privacy: the number of the next.
        noisy: of those with privacy how many, by their noise ratio in 1024ths.
    """

    rounds: int
    noisy: Mapping[int, int]

    @staticmethod
    def of(policies: Sequence[tuple[int, Policy]], rounds: int) -> Past:
        """By the policies that were in force, each from the round of that number on.

        Args:
            policies: in order, from round 0 on.
            rounds: how many rounds there were.
        """
        noisy: Counter[int] = Counter()
        ends = [*(first for first, _ in policies[1:]), rounds]
        for (first, policy), end in zip(policies, ends, strict=True):
            if policy.privacy is not None and end > first:
                noisy[policy.privacy.ratio] += end - first
        return Past(rounds, noisy)

    def spent(self, rule: PrivacyRule, more: int = 0) -> int:
        """ε in millionths of all these, and of so many more rounds of a rule, by its budget."""
        return accounting.spent(Counter(self.noisy) + Counter({rule.ratio: more}), rule.delta, rule.epsilon)

    def left(self, rule: PrivacyRule) -> int:
        """How many more rounds of a rule its budget is for, after these."""
        low, high = 0, max(0, rule.rounds - self.rounds)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.spent(rule, middle) <= rule.epsilon else (low, middle - 1)
        return low


def renewed(policy: Policy, members: int, past: Past, asked: Renewal) -> Policy:
    """A policy with another budget, that what was spent counts against.

    Args:
        policy: with the thresholds that are to hold.
        members: of the roster.
        past: the rounds so far.

    Raises:
        ConfigError: the task has no privacy, and something is missing that makes it; or the rounds so far have spent
            the budget already, or leave nothing for so many more. Says what would do.
    """
    rule = policy.privacy
    wanted = _wanted(policy, rule, past, asked)
    signs = habits(policy.backend).clients_sign
    quorum = policy.quorum(policy.cohort_size or members) if signs else 0
    least = most_honest(policy.min_clients, quorum, policy.max_corrupt)
    options = options_of(wanted, least, policy.min_clients, policy.max_corrupt)
    if rule is not None and asked.honest is None:
        options[HONEST] = rule.honest
    found = rule_of(options)
    if found is None:
        raise LocalProtocolError("options of privacy are a rule")
    more = wanted.rounds - past.rounds
    if rule is not None and asked.epsilon is asked.delta is asked.rounds is None:
        options[RATIO] = rule.ratio
    else:  # enough for all rounds, had all this noise, and for what those have spent that had less
        options[RATIO] = max(found.ratio, _after(found, past, more, rule))
    changed = msgspec.structs.replace(
        policy,
        options=Option.list({option.name: option.value for option in policy.options} | options),
        clip=wanted.norm,
        max_error=max(policy.max_error, USELESS_ERROR * wanted.norm),
        **_WEIGHTS,
    )
    if changed.privacy is not None and not past.left(changed.privacy):
        raise _too_small(changed.privacy, past, 1, rule)
    return changed


def _after(found: PrivacyRule, past: Past, more: int, rule: PrivacyRule | None) -> int:
    """The noise ratio of so many rounds more."""
    if past.spent(found) > found.epsilon:
        raise _too_small(found, past, more, rule)
    try:
        ratio = calibrated_after(past.noisy, more, found.delta, found.epsilon)
    except ConfigError:
        raise _too_small(found, past, more, rule) from None
    if ratio > _MOST_NOISE**2 * found.ratio:
        raise _too_small(found, past, more, rule)
    return ratio


def _too_small(found: PrivacyRule, past: Past, more: int, rule: PrivacyRule | None) -> ConfigError:
    usual = found if rule is None else replace(found, ratio=rule.ratio)
    enough = math.ceil(100 * past.spent(usual, more) / EPSILON_UNIT) / 100
    return ConfigError(
        f"{past.rounds} rounds have spent epsilon = {in_words(past.spent(found))} of {in_words(found.epsilon)} at "
        f"delta = {found.delta / DELTA_UNIT:g}, which leaves no {more} more whose noise is of any use: epsilon = "
        f"{enough:g} would do with noise as it was, or a task of its own"
    )


def _wanted(policy: Policy, rule: PrivacyRule | None, past: Past, asked: Renewal) -> Privacy:
    """What is asked for, and of the policy what is not."""
    if asked.rounds is not None and asked.rounds < 1:
        raise ConfigError(f"a budget for {asked.rounds} rounds more is none: 1 is the least")
    epsilon, delta, norm, more, honest = asked.epsilon, asked.delta, asked.norm, asked.rounds, asked.honest
    if rule is not None:
        epsilon = rule.epsilon / EPSILON_UNIT if epsilon is None else epsilon
        delta = rule.delta / DELTA_UNIT if delta is None else delta
        norm = policy.clip if norm is None else norm
        more = max(1, rule.rounds - past.rounds) if more is None else more
    if epsilon is None or delta is None or norm is None:
        raise ConfigError("the task has no privacy: a budget of its own has epsilon, delta and norm, all of them")
    return Privacy(
        epsilon=epsilon,
        delta=delta,
        norm=norm,
        rounds=past.rounds + (1 if more is None else more),
        honest=1.0 if honest is None else honest,
    )
