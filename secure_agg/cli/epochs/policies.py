"""The policy that a proposal is for, and what is left of a privacy budget under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from secure_agg.cli.epochs.sources import Source
from secure_agg.cli.federation.groups import regrouped, with_metrics
from secure_agg.errors import ConfigError
from secure_agg.plugins.core.metrics import metrics_group
from secure_agg.privacy.accounting import BEYOND, EPSILON_UNIT
from secure_agg.protocol.config import Group, Option, Policy
from secure_agg.protocol.config.groups import GROUPS, most_bits, most_clip
from secure_agg.protocol.config.privacy import PrivacyRule
from secure_agg.protocol.privacy.claim import in_words
from secure_agg.roles.epochs.budgets import Past, Renewal, renewed
from secure_agg.roles.epochs.change import resized
from secure_agg.roles.memory import spending


def next_policy(
    source: Source,
    members: int,
    changes: Mapping[str, Any],
    groups: Sequence[str],
    dropped: Sequence[str],
    private: Renewal,
) -> Policy | None:
    """What is in force, for so many members, with what is asked for; None where nothing is.

    Args:
        changes: fields of the policy.
        groups, dropped: see ``commands.groups.regrouped``.
        private: of another privacy budget.

    Raises:
        ConfigError: what comes of it can't be.
    """
    if not (changes or groups or dropped or private != Renewal()):
        return None
    pins = source.trust.task(source.task)
    policy: Policy = msgspec.structs.replace(resized(pins.policy, len(pins.roster), members), **changes)
    if groups or dropped:
        policy = _with_groups(source, policy, regrouped(policy.groups, groups, dropped))
    if private != Renewal():
        if source.ledger is None:
            raise ConfigError(
                "a node's home does not know all rounds that count against a budget: propose another one by the "
                "server's home, or the ledger"
            )
        policy = renewed(policy, members, past_of(source), private)
    return policy


def past_of(source: Source) -> Past:
    """The rounds that count against a budget: all of a ledger, and of a node's home those that the node has signed."""
    ledger, client = source.ledger, source.client
    if ledger is not None:
        steps = [ledger.epoch(index) for index in ledger.epochs(source.task)]
        first, newest = ledger.trust.task(source.task).policy, ledger.newest(source.task)
        policies = [(0, first), *((record.rounds, evidence.says.policy) for record, evidence in steps)]
        return Past.of(policies, newest.round + 1 if newest else 0)
    signed = spending.signed(client.store, client.name, source.task) if client is not None else {}
    return Past(0, signed)


def budget_document(rule: PrivacyRule, past: Past) -> dict[str, Any]:
    """What is spent of a proposal's budget, and how many rounds that leaves."""
    spent, left = past.spent(rule), past.left(rule)
    return {
        "epsilon": rule.epsilon / EPSILON_UNIT,
        "epsilon_spent": None if spent >= BEYOND else spent / EPSILON_UNIT,
        "rounds_left": left,
        "text": f"epsilon = {in_words(spent)} of {in_words(rule.epsilon)} is spent, which leaves at most {left} rounds",
    }


def _with_groups(source: Source, policy: Policy, groups: Sequence[Group]) -> Policy:
    """The policy with other groups, which in homes hold the metrics."""
    homes = source.server is not None or source.client is not None
    found = sorted(with_metrics(groups) if homes else groups, key=lambda group: group.name.encode())
    errors = (group.step * (policy.max_weight if group.weighted else 1) for group in found if group.half)
    changed: Policy = msgspec.structs.replace(
        policy,
        options=Option.list({option.name: option.value for option in policy.options} | {GROUPS: tuple(found)}),
        bits=most_bits(found),
        clip=most_clip(found),
        max_error=max(policy.max_error, *errors),  # whoever names bits gets them
    )
    if homes:
        metrics_group(changed)
    return changed
