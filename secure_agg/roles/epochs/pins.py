"""What is in force of a task: as the trust of a party, and as the body of an epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec

from secure_agg import backends
from secure_agg.beacon.source import BeaconSource
from secure_agg.errors import TrustError
from secure_agg.protocol.config import NO_DIGEST, Policy, RoundConfig
from secure_agg.protocol.config.privacy import PRIVACY_OPTIONS
from secure_agg.protocol.epoch import GENESIS, EpochBody, EpochEvidence, genesis, root_task
from secure_agg.protocol.epoch.body import EPOCH_VERSION, MAX_BODY, named
from secure_agg.protocol.identity import Roster
from secure_agg.roles.trust import TaskTrust, Trust


def epoch_digest(trust: Trust, task: str) -> bytes:
    """The digest of the epoch in force: of its body, or for epoch 0 of what is pinned.

    Raises:
        TrustError: the task is not pinned, or no ledger is, whose records change it.
    """
    pins = trust.task(root_task(task))
    if pins.epoch:
        return pins.epoch_digest
    if trust.log is None:
        raise TrustError(f"no ledger is pinned whose records could change task {task!r}")
    return genesis(_first(trust, root_task(task), pins), trust.log)


def _first(trust: Trust, task: str, pins: TaskTrust) -> EpochBody:
    """What is pinned, as the body of epoch 0."""
    return EpochBody(
        version=EPOCH_VERSION,
        task=task,
        epoch=0,
        previous_epoch=NO_DIGEST,
        roster=named(pins.roster),
        policy=pins.policy,
        operators=named(trust.operators),
        witnesses=named(trust.witnesses),
        quorum=trust.quorum or 0,
        administrators=named(pins.administrators),
        threshold=pins.threshold,
        beacon=pins.beacon.to_bytes() if pins.beacon else b"",
        mode=GENESIS,
        base_model=NO_DIGEST,
        name="",
    )


def under(trust: Trust, evidence: EpochEvidence) -> Trust:
    """What is in force under an epoch that was checked: of its task, and of what is evaluated of it.

    Other tasks are not in it: operators and witnesses are those of this one.
    """
    body = evidence.says
    old = trust.task(body.task)
    pins = replace(
        old,
        roster=body.members,
        policy=body.policy,
        administrators=body.administrator_keys,
        threshold=body.threshold,
        beacon=BeaconSource.from_bytes(body.beacon) if body.beacon else None,
        epoch=body.epoch,
        epoch_digest=body.digest,
        closure=evidence.closed_by,
    )
    return replace(
        trust,
        tasks={name: replace(pins, claims=trust.tasks[name].claims) for name in governed(trust, body.task)},
        operators=body.operator_keys,
        witnesses=body.witness_keys,
        quorum=body.quorum or None,
    )


def governed(trust: Trust, task: str) -> tuple[str, ...]:
    """The pinned tasks that are under the epochs of this one, itself among them."""
    return tuple(name for name in trust.tasks if root_task(name) == task)


MOST_MORE: Final = 1 << 18
"""Bytes that a body which is proposed over a service may have more than what is in force: some 5,000 new keys."""


def most_proposed(trust: Trust, task: str) -> int:
    """Most bytes of a body that is proposed over a service. A larger one goes by files, between people who know why.

    Its evidence may have four times as many, see ``EpochEvidence.from_bytes``.
    """
    root = root_task(task)
    return min(MAX_BODY, len(_first(trust, root, trust.task(root)).to_bytes()) + MOST_MORE)


def authority(trust: Trust, task: str) -> tuple[Roster, int]:
    """Who authorises the next epoch, and how many of them: pinned administrators, or the owners of the members' keys.

    Any two such quorums share somebody honest, who authorises once. Where cohorts are drawn, what the policy says of
    the corrupt is said of a cohort: of the roster a third may be.
    """
    pins = trust.task(task)
    if pins.threshold:
        return pins.administrators, pins.threshold
    members = len(pins.roster)
    corrupt = (members - 1) // 3 if pins.policy.cohort_size else pins.policy.max_corrupt
    return pins.roster, (members + corrupt) // 2 + 1


def opened_by_members(policy: Policy) -> bool:
    """Whether it is members who open sums under this policy, and no operators."""
    return not backends.load(policy.backend).seats(policy).count


def some_shapes(policy: Policy) -> tuple[tuple[int, ...], ...]:
    """Of the smallest model that rounds of a policy can be of: for what does not depend on the model."""
    return ((1,),) * ((policy.norm.outside if policy.norm else 0) + 1)


def without_privacy(policy: Policy) -> Policy:
    """The same but for noise: for what does not depend on how many rounds a budget is for."""
    options = tuple(option for option in policy.options if option.name not in PRIVACY_OPTIONS)
    return msgspec.structs.replace(policy, options=options)


def closing(trust: Trust, task: str) -> tuple[Roster, int]:
    """Whose nodes close the epoch in force, and how many of them: enough that no sum which was left is ever opened, and
    that two groups share an honest one. Nobody where cohorts are drawn: no cohort can speak for the others.
    """
    pins = trust.task(task)
    policy, members = pins.policy, len(pins.roster)
    if policy.cohort_size:
        return Roster({}), 0
    least = policy.quorum(members)
    if not opened_by_members(policy):
        return pins.roster, least
    some = RoundConfig.create(task=task, round=0, policy=policy, cohort=pins.roster, shapes=some_shapes(policy))
    found = backends.load(policy.backend).renouncers(some, pins.roster, b"", dict(trust.operators))
    return pins.roster, max(least, found.threshold)
