"""Where the rounds of one call of ``aggregate`` are written, and who takes part by what stands there already."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from secure_agg import backends
from secure_agg.beacon.source import BeaconSource
from secure_agg.errors import ConfigError
from secure_agg.ledger.log import Appended, Ledger
from secure_agg.local.asked import Inputs
from secure_agg.local.staff import OPERATORS
from secure_agg.protocol.config import Policy
from secure_agg.protocol.config.buffer import Bases
from secure_agg.protocol.config.tree import DRAWN, TOP, edge_task, level
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Identity, KeyDirectory, Roster
from secure_agg.protocol.tree.evidence import TreeEvidence
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.task import Task
from secure_agg.roles.tree.pins import TreeTrust
from secure_agg.roles.trust import TaskTrust, Trust


@dataclass(frozen=True)
class Cast:
    """Who plays: given, kept beside the ledger, or new.

    Attributes:
        members: the clients of this call, by id.
        operators: all that any backend may need, by id.
        missing: those that the ledger does not keep yet, with their roles.
    """

    members: Mapping[str, Identity]
    operators: Mapping[str, Identity]
    missing: tuple[tuple[str, Identity], ...]


class Book:
    """A ledger that is there, one that is made once nothing of the call is left to be refused, or none at all."""

    def __init__(self, ledger: str | PathLike[str] | Ledger | None, task: str, stack: ExitStack) -> None:
        """
        Args:
            ledger: as ``aggregate`` takes it.
            task: which rounds of it the call is about.
            stack: closes what is opened here.

        Raises:
            LedgerError: it can't be opened.
        """
        self._task, self._stack = task, stack
        self._new = Path(ledger) if isinstance(ledger, str | PathLike) and str(ledger) else None
        if self._new is not None and os.path.lexists(self._new):
            self._new = None
        self._log: Ledger | None = None
        if isinstance(ledger, Ledger):
            self._log = ledger
        elif ledger is not None and self._new is None:
            self._log = stack.enter_context(Ledger(ledger))
        self.known = self._log.trust.tasks.get(task) if self._log else None
        """What is pinned of the task so far."""

    @property
    def is_kept(self) -> bool:
        """Whether the round is written down, and the task goes on."""
        return self._log is not None or self._new is not None

    def cast(self, inputs: Inputs) -> Cast:
        """Who plays in this call. Nothing is written.

        Raises:
            ConfigError: a client is not in the task's roster.
        """
        if self.known and (strangers := sorted(set(inputs.updates) - set(self.known.roster))):
            raise ConfigError(
                f"{strangers[0]!r} is not in the roster pinned for this task: use a new task name", culprit=strangers[0]
            )
        folder = self._log.keys if self._log else Path(f"{self._new}.keys") if self._new else None
        kept = KeyDirectory(folder) if folder else None
        missing: list[tuple[str, Identity]] = []

        def find(role: str, name: str) -> Identity:
            found = kept.find(role, name) if kept else None
            if found is None:
                found = Identity.generate(name)
                missing.append((role, found))
            return found

        given = inputs.identities
        members = {name: given[name] if name in given else find("client", name) for name in inputs.updates}
        return Cast(members, {name: find("operator", name) for name in OPERATORS}, tuple(missing))

    def plan(self, policy: Policy, cast: Cast, beacon: BeaconSource | None = None) -> Task:
        """The task as it will be once it is pinned. Nothing is written.

        Args:
            beacon: that a new task pins; for one that is pinned already the same, or None.

        Raises:
            ConfigError: the backend refuses the policy, or something else is pinned.
            ClaimRefused: results would claim what the ledger does not accept.
        """
        pins, operating = self._pins(policy, cast, beacon), _roster(cast.operators)
        if self._log is None:
            return Task(self._task, Trust(tasks={self._task: pins}, operators=operating))
        return Task(self._task, self._log.planned(self._task, pins, operating), self._log.last(self._task))

    def begin(self, task: Task, cast: Cast) -> Task:
        """Write down what is planned: the ledger itself if it is new, identities, and pins before the first round."""
        if self._new is not None:
            self._log = self._stack.enter_context(Ledger(self._new))
        if self._log is None:
            return task
        keys = KeyDirectory(self._log.keys)
        for role, identity in cast.missing:
            keys.add(role, identity)
        self._log.pin(task.name, task.pins, task.trust.operators)
        return replace(task, trust=self._log.trust)

    def append(self, evidence: Evidence) -> Appended | None:
        """Append a round, where there is a ledger."""
        return self._log.append(evidence) if self._log else None

    def convicted(self) -> Collection[str]:
        """Clients who are proved to have broken the protocol in this task, by proofs that are kept beside the ledger:
        they are out of it.
        """
        return self._log.faults.convicted(self._log.in_force(self._task), self._task) if self._log else ()

    def keep(self, faults: Iterable[FaultProof]) -> None:
        """Keep proofs of fault, where there is a ledger; also of a round that came to nothing."""
        if self._log:
            self._log.faults.keep(faults)

    def bases(self, record: RoundRecord) -> Bases:
        """Of a buffered round that is written down."""
        return Auditor.bases(self._log.evidence(record)) if self._log else ()

    # --- trees ------------------------------------------------------------------------------------------------------

    @property
    def tree_pins(self) -> dict[str, TaskTrust] | None:
        """The tasks that are pinned of this call's tree; None where there is none yet, or no tree."""
        tasks = self._log.trust.tasks if self._log else {}
        if self._task not in tasks or level(tasks[self._task].policy) != TOP:
            return None
        names = [self._task, *(edge_task(self._task, edge) for edge in (DRAWN, *tasks[self._task].roster))]
        return {name: tasks[name] for name in names if name in tasks}

    def last(self, task: str) -> RoundRecord | None:
        """The task's newest record."""
        return self._log.last(task) if self._log else None

    def begin_tree(self, task: str, pins: Mapping[str, TaskTrust], cast: Cast) -> Trust:
        """Write down what is planned of a tree, as ``begin`` does; what follows from it is checked before.

        Returns:
            What everybody has pinned.

        Raises:
            ConfigError: it is no tree, or something else is pinned.
        """
        operating = _roster(cast.operators)
        planned = Trust(tasks=dict(pins), operators=operating)
        TreeTrust(planned, task)
        if self._new is not None:
            self._log = self._stack.enter_context(Ledger(self._new))
        if self._log is None:
            return planned
        keys = KeyDirectory(self._log.keys)
        for role, identity in cast.missing:
            keys.add(role, identity)
        for name, item in pins.items():
            self._log.pin(name, item, operating)
        return self._log.trust

    def append_tree(self, tree: TreeEvidence, edges: Sequence[Evidence]) -> Appended | None:
        """Append a tree's round, where there is a ledger."""
        return self._log.append_tree(tree, edges) if self._log else None

    def _pins(self, policy: Policy, cast: Cast, beacon: BeaconSource | None) -> TaskTrust:
        if self.known:
            return TaskTrust(self.known.roster, policy, self.known.claims, beacon or self.known.beacon)
        if beacon is not None:
            beacon.check_ahead(time.time())
        # Options that name a function which is no sum are how a caller asks for one. Nothing unfit is pinned.
        backend = backends.load(policy.backend)
        backend.check_policy(policy)
        return TaskTrust(_roster(cast.members), policy, frozenset({backend.result(policy).claim}), beacon)


def _roster(identities: Mapping[str, Identity]) -> Roster:
    return Roster({name: identity.public for name, identity in identities.items()})
