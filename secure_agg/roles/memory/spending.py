"""What a client has spent of its privacy budget in a task: each set that it has signed, opened or not.

Whoever holds the quorum's signatures, and whatever else opens the sum, may have opened it without telling. So a
signature counts, durably, before it leaves; the ledger holds the opened sums only, and what adds up from it is a lower
bound. What rounds cost follows from their noise ratio alone, so a policy that an epoch has changed is counted as what
it was.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from mpc.framing import integer
from secure_agg.errors import BudgetSpent
from secure_agg.privacy import accounting
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.privacy import PrivacyRule
from secure_agg.protocol.epoch import root_task
from secure_agg.protocol.messages import ADVERTISE
from secure_agg.protocol.privacy.claim import in_words
from secure_agg.roles.memory.store import AttemptStore, Scope

_SIGNED: Final = "privacy of "


def signed(store: AttemptStore, client: str, task: str) -> Counter[int]:
    """How many sets this client has signed in a task with differential privacy, by their noise ratio in 1024ths."""
    scope = _scope(client, task)
    found = (store.get(scope, name) for name in store.names(scope, _SIGNED))
    return Counter(int.from_bytes(value, "little") for value in found if value is not None)


def check_budget(store: AttemptStore, client: str, config: RoundConfig, *, phase: str = ADVERTISE) -> None:
    """Refuse a round that would take this client over its budget; one that it has signed in already is paid for.

    Raises:
        BudgetSpent: names both, and what would do.
    """
    rule = config.policy.privacy
    if rule is None or store.get(_scope(client, config.task), _name(config)) is not None:
        return
    check_left(store, client, config.task, rule, phase=phase)


def check_left(store: AttemptStore, client: str, task: str, rule: PrivacyRule, *, phase: str = ADVERTISE) -> None:
    """Refuse whatever would take one more round than this client's budget is for, before there is a round.

    Raises:
        BudgetSpent: see ``check_budget``.
    """
    _refuse(signed(store, client, task) + Counter({rule.ratio: 1}), client, task, rule, phase)


def spend(store: AttemptStore, client: str, config: RoundConfig, *, phase: str) -> None:
    """Count a signature that is about to be given, durably; the same one again costs nothing.

    Raises:
        BudgetSpent: see ``check_budget``; also if another process has spent the rest meanwhile.
    """
    rule = config.policy.privacy
    if rule is None:
        return
    check_budget(store, client, config, phase=phase)
    store.pin(_scope(client, config.task), _name(config), integer(rule.ratio), phase=phase)
    _refuse(signed(store, client, config.task), client, config.task, rule, phase)


def _refuse(rounds: Counter[int], client: str, task: str, rule: PrivacyRule, phase: str) -> None:
    spent = accounting.spent(rounds, rule.delta, rule.epsilon)
    if spent > rule.epsilon:
        raise BudgetSpent(
            f"{client!r} would have spent epsilon = {in_words(spent)} of {in_words(rule.epsilon)} in task "
            f"{task!r} with this signature, which is number {rounds.total()}: it takes part in no more rounds "
            "of it before all members have agreed on another budget",
            phase=phase,
        )


def _scope(client: str, task: str) -> Scope:
    return client, root_task(task), "privacy"


def _name(config: RoundConfig) -> str:
    return f"{_SIGNED}{config.task} {config.epoch}.{config.round}.{config.attempt}"
