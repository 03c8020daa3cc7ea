"""Whoever wants another privacy budget, or other groups, by an epoch: to loosen what bounds a member, or begin anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.epochs import SHAPES, TASK, Changing
from support.federation import identity

from secure_agg import Group, Policy, Privacy
from secure_agg.errors import BudgetSpent, ConfigError, SecureAggError, TrustError, VerificationError
from secure_agg.privacy import accounting
from secure_agg.privacy.accounting import calibrated
from secure_agg.protocol.config import Option, RoundConfig
from secure_agg.protocol.privacy.spending import Spending
from secure_agg.roles.epochs.budgets import Past, Renewal, renewed
from secure_agg.roles.epochs.floor import Floor
from secure_agg.roles.memory import spending
from secure_agg.roles.task import Task

BUDGET = Privacy(epsilon=4.0, delta=1e-5, norm=1.0, rounds=2)
MEMBERS = 7


@pytest.fixture
def task(tmp_path: Path) -> Iterator[Changing]:
    made = Changing(tmp_path, MEMBERS, privacy=BUDGET, min_clients=6)
    yield made
    made.ledger.close()


def next_config(task: Changing) -> RoundConfig:
    return Task(TASK, task.trust, task.ledger.newest(TASK), task.ledger.closure(TASK)).next_round(SHAPES)


def with_option(policy: Policy, name: str, value: int) -> Policy:
    options = tuple(Option(each.name, value if each.name == name else each.value) for each in policy.options)
    return msgspec.structs.replace(policy, options=options)


# --- budgets ------------------------------------------------------------------------------------------------------


def test_an_epoch_does_not_begin_a_budget_anew(task: Changing) -> None:
    """Two rounds have spent it. The next policy has as large a budget, and so much noise that it is for nine rounds."""
    before = []
    for _ in range(2):
        before.append(next_config(task))
        task.round()
    pins = task.trust.task(TASK)
    rule = pins.policy.privacy
    assert rule is not None
    policy = with_option(pins.policy, "privacy_ratio", calibrated(9, rule.delta, rule.epsilon))
    changed = policy.privacy
    assert changed is not None
    naive = accounting.spent({changed.ratio: 1}, changed.delta, changed.epsilon)
    assert naive < changed.epsilon  # naive: a policy's own rounds are all that count
    task.change(policy=policy)
    with pytest.raises(BudgetSpent):
        task.round()
    config = next_config(task)
    for name in task.members:
        store = task.store(task.keys[name])
        assert spending.signed(store, name, TASK) == {rule.ratio: 2}
        with pytest.raises(BudgetSpent, match=r"would have spent epsilon = .* of 4 in task"):
            spending.check_budget(store, name, config)
    # Nor is it for whoever audits a log in which members have signed all the same.
    audit = Spending()
    for config_before in before:
        audit.add(config_before, task.members)
    with pytest.raises(VerificationError, match="above its budget of 4"):
        audit.add(config, task.members)


def test_a_smaller_budget_does_not_make_a_sound_log_look_like_a_false_one(task: Changing) -> None:
    """Whoever has spent more takes part no more; rounds of others, who follow the rules, were refused for it."""
    audit, before = Spending(), next_config(task)
    for _ in range(2):
        audit.add(before, task.members)
    policy = task.trust.task(TASK).policy
    rule = policy.privacy
    assert rule is not None
    smaller = with_option(with_option(policy, "privacy_epsilon", 3_000_000), "privacy_ratio", 4 * rule.ratio)
    task.change(policy=smaller)
    config = next_config(task)
    audit.add(config, ["newcomer", "another"])
    assert audit.spent > audit.epsilon  # of those who were in the rounds before
    with pytest.raises(VerificationError, match="above its budget of 3"):
        audit.add(config, ["newcomer", *task.members[:1]])


def test_a_larger_budget_goes_on_from_what_was_spent(task: Changing) -> None:
    """Owners have agreed on it; naively its rounds would have the noise of a task that begins with it."""
    for _ in range(2):
        task.round()
    pins = task.trust.task(TASK)
    rule = pins.policy.privacy
    assert rule is not None
    past = Past.of([(0, pins.policy)], 2)
    policy = renewed(pins.policy, MEMBERS, past, Renewal(epsilon=8.0, rounds=2))
    changed = policy.privacy
    assert changed is not None
    naive = calibrated(2, changed.delta, changed.epsilon)
    assert accounting.spent({rule.ratio: 2, naive: 2}, changed.delta, changed.epsilon) > changed.epsilon
    task.change(policy=policy)
    for _ in range(2):
        task.round()
    with pytest.raises(SecureAggError, match="budget"):
        task.round()
    report = task.ledger.audit(task.genesis)
    found = report.privacy[TASK]
    assert (found.rounds, found.epsilon) == (4, changed.epsilon)
    assert rule.epsilon < found.spent <= changed.epsilon
    assert found.spent == accounting.spent({rule.ratio: 2, changed.ratio: 2}, changed.delta, changed.epsilon)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("privacy_epsilon", 8_000_000), "epsilon = 8, and it was 4"),
        (("privacy_delta", 10**8), "delta of the privacy budget is larger"),
        (("privacy_honest", 5), "of the honest are relied on"),
    ],
)
def test_a_majority_that_wants_less_privacy_is_below_the_floor(
    task: Changing, change: tuple[str, int], said: str
) -> None:
    policy = task.trust.task(TASK).policy
    rule = policy.privacy
    assert rule is not None
    seen = with_option(policy, "privacy_honest", rule.honest - 1)
    known = dataclasses.replace(task.trust, tasks={TASK: dataclasses.replace(task.trust.task(TASK), policy=seen)})
    floor = Floor.of(seen, MEMBERS)
    with pytest.raises(TrustError, match=said):
        floor.check(known, task.body(policy=with_option(seen, *change)))
    floor.check(known, task.body(policy=with_option(seen, "privacy_ratio", rule.ratio + 1)))


def test_where_operators_sign_more_members_are_no_more_noise(tmp_path: Path) -> None:
    """Sums have as few clients as before; counted as a share of a quorum that nobody signs, more could be relied on."""
    budget = Privacy(epsilon=4.0, delta=1e-5, norm=1.0, rounds=2, honest=0.5)
    made = Changing(tmp_path, 12, backend="additive", min_clients=5, dropout=0.5, privacy=budget)
    seen = made.trust.task(TASK).policy
    rule = seen.privacy
    assert rule is not None
    most = seen.min_clients - seen.max_corrupt
    joining = {f"n{number}": identity(f"n{number}").public for number in range(6)}
    change = {"max_clients": 18, "min_advertised": seen.min_advertised, "max_corrupt": seen.max_corrupt}
    wider = msgspec.structs.replace(with_option(seen, "privacy_honest", rule.honest + 1), **change)
    naive = (
        rule.honest / (seen.quorum(12) - seen.max_corrupt),
        (rule.honest + 1) / (wider.quorum(18) - wider.max_corrupt),
    )
    assert rule.honest + 1 <= most
    assert naive[1] <= naive[0]
    floor = dataclasses.replace(Floor.of(seen, 12), corrupt=0.0)
    with pytest.raises(TrustError, match="of the honest are relied on for noise"):
        floor.check(made.trust, made.body(policy=wider, join=joining))
    made.ledger.close()


def test_a_proposal_that_what_was_spent_leaves_nothing_of_is_refused_with_what_would_do(task: Changing) -> None:
    policy = task.trust.task(TASK).policy
    past = Past.of([(0, policy)], 2)
    for asked, said in (
        (
            Renewal(epsilon=3.0),
            r"have spent epsilon = .* of 3 at delta = 1e-05, which leaves no 1 more .* 5\.\d+ would do",
        ),
        (Renewal(delta=1e-7), "of 4 at delta = 1e-07, which leaves no 1 more"),
        (Renewal(rounds=40), "which leaves no 40 more whose noise is of any use"),
        (Renewal(norm=2.0), "which leaves no 1 more"),
        (Renewal(epsilon=-1.0), "not a number above 0"),
        (Renewal(norm=0.0), "norm is 0.0, not a number above 0"),
        (Renewal(epsilon=8.0, rounds=0), "1 is the least"),
    ):
        with pytest.raises(ConfigError, match=said):
            renewed(policy, MEMBERS, past, asked)
    enough = renewed(policy, MEMBERS, past, Renewal(epsilon=5.2)).privacy  # what is said to do does
    assert enough is not None
    assert enough.ratio <= 1.1 * policy.privacy.ratio if policy.privacy else False
    with pytest.raises(ConfigError, match="the task has no privacy"):
        renewed(Policy.default(MEMBERS), MEMBERS, Past(0, {}), Renewal(epsilon=1.0, delta=1e-5))


# --- groups -------------------------------------------------------------------------------------------------------

GROUPS = (
    Group(name="metrics", bits=14, clip=100.0, weighted=False),
    Group(name="model", bits=8, clip=0.5),
)


def grouped(**changes: Any) -> Policy:
    model = msgspec.structs.replace(GROUPS[1], **changes)
    return Policy.default(MEMBERS, groups=[GROUPS[0], model], max_error=1e6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clip": 100.0}, r"clip of group 'model' is 100, outside \[0.03125, 8\]"),
        ({"clip": 1e-6}, "clip of group 'model' is 1e-06"),
        ({"bits": 2}, "2 bits of group 'model' are below 8"),
        ({"weighted": False}, "weighted of group 'model' is False, and it was True"),
        ({"clip_rule": "adaptive"}, "clip_rule of group 'model' is adaptive"),
        ({"support": (1, 65536)}, "support of group 'model'"),
        ({"name": "other"}, "group 'model' is gone; group 'other' is one that the owner has not seen"),
    ],
)
def test_a_majority_that_widens_one_group_below_the_widest_is_below_the_floor(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    """Naive: a policy's clip and bits, which are the most of any group, and so those of the metrics all along."""
    task = Changing(tmp_path, MEMBERS, clip=8.0, bits=None, groups=GROUPS, max_error=1e6)
    pins = task.trust.task(TASK)
    floor = Floor.of(pins.policy, MEMBERS)
    policy = grouped(**changes)
    assert (policy.clip, policy.bits) == (pins.policy.clip, pins.policy.bits)  # what the naive floor looks at
    with pytest.raises(TrustError, match=said):
        floor.check(task.trust, task.body(policy=policy))
    floor.check(task.trust, task.body(policy=grouped(clip=1.0, bits=9, rotated=True)))
    task.ledger.close()


def test_groups_do_not_come_nor_go_without_the_owner(tmp_path: Path) -> None:
    """In a group of its own a model's clip could be anything below the others'."""
    task = Changing(tmp_path, MEMBERS, clip=100.0, bits=14)
    floor = Floor.of(task.trust.task(TASK).policy, MEMBERS)
    with pytest.raises(TrustError, match="group 'metrics' is one that the owner has not seen"):
        floor.check(task.trust, task.body(policy=grouped(clip=1e-6)))
    task.ledger.close()


def test_a_norm_bound_is_not_raised_nor_dropped_without_the_owner(tmp_path: Path) -> None:
    task = Changing(tmp_path, MEMBERS, norm_bound=1.0)
    pins = task.trust.task(TASK)
    floor = Floor.of(pins.policy, MEMBERS)
    for bound, said in ((2.0, "the norm bound is 2, above 1"), (None, "no update's norm is bounded, and it was")):
        policy = Policy.default(MEMBERS, clip=1.0, bits=16, norm_bound=bound)
        with pytest.raises(TrustError, match=said):
            floor.check(task.trust, task.body(policy=policy))
    floor.check(task.trust, task.body(policy=Policy.default(MEMBERS, clip=1.0, bits=16, norm_bound=0.5)))
    task.ledger.close()
