"""An operator that goes from epoch to epoch by itself: a key holder's or share holder's role, and what it has followed.

Whoever runs it pins what was in force when the task began, or later, and touches nothing after that. Every epoch since
is shown to it by the coordinator, and it checks each under the one before, in the ledger that it has pinned. It lies in
the operator's folder, and what it was is in its store, so it is never led back: with that store and another folder it
serves nothing until it has been shown again what it had followed. An operator's owner is not asked: it gives no data,
and the members' nodes have looked at their own floors before they closed the epoch before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from secure_agg.errors import SecureAggError, TrustError
from secure_agg.protocol.epoch import EpochEvidence, root_task
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import decode, encode
from secure_agg.roles.epochs.following import MAX_STEPS, Steps
from secure_agg.roles.epochs.pins import governed
from secure_agg.roles.memory.followed import FollowedEpochs
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust
from secure_agg.transport.channel import Following
from zk.transcript import digest

if TYPE_CHECKING:
    from secure_agg.transport.server import Role

EPOCHS: Final = "epochs"
"""The folder of what was followed, one for each task, in an operator's own."""
_MAX_REQUEST: Final = MAX_STEPS + (1 << 12)

_log = logging.getLogger("secure_agg.transport")


class FollowingOperator:
    """A role under the epoch in force, made anew whenever that becomes another: a ``FollowingRole``.

    What it held in memory of a round that was under way is lost then, as in a restart; what it has signed and answered
    is in its store.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        first: Trust,
        store: AttemptStore,
        build: Callable[[Trust], Role],
        *,
        steps: Steps | None = None,
        joining: bool = False,
    ) -> None:
        """
        Args:
            folder: the operator's own.
            name: its id.
            first: what it has pinned.
            store: durable, and the same after a restart.
            build: makes the role from what is in force; what it raises is why this operator serves no round then.
            steps: epochs to follow at once, for who becomes an operator in one of them.
            joining: whether it may begin without a part in what is in force, for who becomes an operator in an epoch
                that is still to come; until then it serves nothing.

        Raises:
            ConfigError, TrustError: this operator has no part in what is in force, or its tasks have other operators.
            VerificationError: the epochs do not follow from what is pinned.
            StoreError: an epoch that was followed can't be read, or is another.
        """
        self._first, self._build = first, build
        self._followed = {
            task: FollowedEpochs(
                folder / EPOCHS / digest("epochs-of", task.encode()).hex()[:16],
                first,
                name,
                task,
                store,
                asks_owner=False,
            )
            for task in first.tasks
            if task == root_task(task)
        }
        for step in steps.steps if steps is not None else ():
            body = EpochEvidence.from_bytes(step.evidence).says
            self._of(body.task).follow(Steps((step,)))
        self._role: Role | SecureAggError
        if joining or any(followed.is_led_back for followed in self._followed.values()):
            self._begin()
        else:
            self._role = build(self.trust)

    def __repr__(self) -> str:
        return f"FollowingOperator({self._role!r})"

    @property
    def trust(self) -> Trust:
        """What is in force, of all its tasks.

        Raises:
            TrustError: by their epochs they have other operators or witnesses, and a role has one set of them.
        """
        first = self._first
        changed = {task: followed.trust for task, followed in self._followed.items() if followed.newest is not None}
        if not changed:
            return first
        in_force, *others = [*changed.values(), *([first] if len(changed) < len(self._followed) else [])]
        if any(_parties(other) != _parties(in_force) for other in others):
            names = ", ".join(map(repr, self._followed))
            raise TrustError(
                f"the tasks {names} have other operators or witnesses in the epochs that are in force: an operator "
                "serves each in a process of its own"
            )
        tasks = dict(first.tasks)
        for task, trust in changed.items():
            tasks |= {name: trust.tasks[name] for name in governed(first, task)}
        return replace(in_force, tasks=tasks)

    def receive(self, request: bytes, /) -> bytes:
        """See the role.

        Raises:
            SecureAggError: what the role refuses with; or why there is none in the epoch in force.
        """
        if isinstance(self._role, SecureAggError):
            raise TrustError(f"this operator serves nothing in the epoch in force: {self._role.args[0]}")
        return self._role.receive(request)

    def follow(self, request: bytes, /) -> bytes:
        """Follow the epochs in a ``Following``, and say how far this operator has come.

        Raises:
            TrustError: the task is not pinned, or no ledger is.
            VerificationError: see ``FollowedEpochs.follow``.
            MalformedMessage: the request is none.
        """
        asked = decode(Following, request, _MAX_REQUEST)
        followed = self._of(asked.task)
        before = followed.number
        try:
            if asked.steps:
                followed.follow(Steps.from_bytes(asked.steps))
        finally:
            if followed.number != before:
                _log.info("epoch %d of %r is in force here", followed.number, asked.task)
                self._begin()
        return encode(followed.where)

    def _of(self, task: str) -> FollowedEpochs:
        if task not in self._followed:
            raise TrustError(f"task {task!r}, whose epochs are shown, is not pinned")
        return self._followed[task]

    def _begin(self) -> None:
        """The role of the epoch that is in force now; followed it is, whether this operator has a part in it or not."""
        try:
            for followed in self._followed.values():
                if followed.is_led_back:
                    raise TrustError(
                        f"epoch {followed.number + 1} of task {followed.task!r} was followed here before, and is not "
                        "in this folder: the coordinator has to show it again"
                    )
            self._role = self._build(self.trust)
        except SecureAggError as error:
            _log.warning("in the epoch in force this operator serves nothing: %s", error)
            self._role = error


def _parties(trust: Trust) -> tuple[Roster, Roster, int | None]:
    return trust.operators, trust.witnesses, trust.quorum
