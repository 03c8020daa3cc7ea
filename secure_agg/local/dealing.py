"""Makes the encryption key of a task, for those who will hold it.

Whoever deals a key sees it: where it is split among several holders, they trust the dealer to forget it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from secure_agg import backends
from secure_agg.backends.contract import KeyedBackend
from secure_agg.errors import ConfigError
from secure_agg.local.staff import Staff, bring, staffed
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.identity import Identity
from secure_agg.roles.task import Task
from secure_agg.roles.trust import Trust


def check_holders(pins: Trust, task: str, names: Sequence[str]) -> KeyedBackend:
    """See that a task has this many key holders.

    Raises:
        ConfigError: the task is not pinned, or its policy wants another number, or none.
    """
    if task not in pins.tasks:
        raise ConfigError(f"task {task!r} is not pinned: {', '.join(map(repr, pins.tasks)) or 'no task is'}")
    policy = pins.task(task).policy
    backend = backends.load(policy.backend)
    backend.check_policy(policy)
    keyed = backend.keys
    wanted = keyed.seats(policy).count if keyed else 0
    if keyed is None or len(names) != wanted:
        raise ConfigError(f"key holders named: {len(names)}; by its policy the task has {wanted} ({backend.name})")
    return keyed


def deal(pins: Trust, task: str, parameters: int, holders: Mapping[str, Identity], *, key: object = None) -> Staff:
    """A key for a pinned task: a fresh one, or one that was made elsewhere.

    Args:
        pins: what everybody has pinned.
        task: it is for.
        parameters: elements of the task's arrays together: a lattice key is for one number of them.
        holders: the pinned operators who hold it, by id.
        key: that one of them brings, see ``KeyedBackend.bring``; None for a fresh one.

    Returns:
        The holders with their secrets, and the certificate that all of them sign, which is the rounds' setup.

    Raises:
        ConfigError: see ``check_holders``; or the model has a size that the policy or the backend refuses, or it is no
            key for this policy.
    """
    backend = check_holders(pins, task, list(holders))
    config = _config(pins, task, parameters)
    openers = None if key is None else bring(config, list(holders), key)
    staff = Staff.of(config, holders, openers=openers)
    backend.check_setup(staffed(config, staff.setup), staff.setup, pins.operators)  # as every client will
    return staff


def _config(pins: Trust, task: str, parameters: int) -> RoundConfig:
    """Any round of the task: a key depends on its policy and on the number of elements only."""
    beacon = NO_DIGEST if pins.task(task).policy.cohort_size else b""
    return Task(task, pins).next_round(((parameters,),), beacon=beacon)
