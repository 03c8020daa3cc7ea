"""A federation that changes: its ledger, its members with their stores, and epochs by the roles themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from support.federation import identity

from secure_agg.ledger.log import Appended, Ledger
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.config import NO_DIGEST, Policy
from secure_agg.protocol.epoch import EpochBody, EpochEvidence
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import Signature
from secure_agg.protocol.renunciation import Renunciation, RenunciationCertificate
from secure_agg.roles.client.client import Client
from secure_agg.roles.epochs import acts, checking
from secure_agg.roles.epochs.change import Change, new_keys
from secure_agg.roles.epochs.following import Place, follow
from secure_agg.roles.memory import bonds, results
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.task import Task
from secure_agg.roles.trust import TaskTrust, Trust

TASK = "task"
SHAPES = ((6,),)
STRANGERS = {f"stranger{i}": identity(f"stranger{i}") for i in range(4)}


def newer(name: str, version: int = 2) -> Identity:
    """Another key of the same name."""
    return Identity(name, hashlib.sha256(f"{name} {version}".encode()).digest())


def in_order(signatures: Iterable[Signature]) -> tuple[Signature, ...]:
    return tuple(sorted(signatures, key=lambda item: item.name.encode()))


class Changing:
    """A task on a ledger; every member follows by what is in it, with its own pins, store and checkpoint.

    Attributes:
        keys: identities of all who are or were members, by id; the newest key of each.
        places: how far each has come.
    """

    def __init__(self, folder: Path, members: int = 6, *, administrators: int = 0, **policy: Any) -> None:
        self.operator = identity("aggregator")
        self.keys = {f"m{i}": identity(f"m{i}") for i in range(members)}
        self.administrators = [identity(f"admin{i}") for i in range(administrators)]
        roster = Roster({name: key.public for name, key in self.keys.items()})
        rules = Policy.default(members, **{"clip": 1.0, "bits": 16, **policy})
        admins = Roster({key.name: key.public for key in self.administrators})
        self.path = folder / "rounds.db"
        self.ledger = Ledger(self.path)
        pins = TaskTrust(
            roster, rules, administrators=admins, threshold=administrators // 2 + 1 if administrators else 0
        )
        self.ledger.pin(TASK, pins, Roster({self.operator.name: self.operator.public}))
        self.genesis = self.ledger.trust
        self.stores: dict[tuple[str, bytes], AttemptStore] = {}
        self.places = {name: Place(self.genesis) for name in self.keys}

    # --- what is in force ---------------------------------------------------------------------------------------

    @property
    def trust(self) -> Trust:
        return self.ledger.in_force(TASK)

    @property
    def members(self) -> list[str]:
        return list(self.trust.task(TASK).roster)

    def store(self, key: Identity) -> AttemptStore:
        return self.stores.setdefault((key.name, key.public), AttemptStore())

    # --- rounds -------------------------------------------------------------------------------------------------

    def updates(self, seed: int) -> dict[str, list[np.ndarray]]:
        rng = np.random.default_rng(seed)
        return {name: [rng.uniform(-0.5, 0.5, shape) for shape in SHAPES] for name in self.members}

    def client(self, name: str) -> Client:
        return Client(self.keys[name], self.places[name].trust, store=self.store(self.keys[name]))

    def round(
        self,
        updates: Mapping[str, list[np.ndarray]] | None = None,
        *,
        silent: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> Appended:
        """The next round, with what each member itself follows; appended, and told to all."""
        task = Task(TASK, self.trust, self.ledger.newest(TASK), self.ledger.closure(TASK))
        given = self.updates(task.next_number) if updates is None else updates
        config = task.next_round(SHAPES, **changes)
        clients = {name: self.client(name) for name in given}
        local = LocalRound(task.lead(self.operator, config), clients, given, None, silent)
        evidence = local.run()
        appended = self.ledger.append(evidence)
        local.deliver()
        for name in self.members:
            results.learn_result(self.store(self.keys[name]), name, appended.verified.record)
        return appended

    # --- epochs -------------------------------------------------------------------------------------------------

    def body(self, **change: Any) -> EpochBody:
        return Change(**change).body(self.trust, TASK)

    def statement(self, body: EpochBody, base_model: bytes = NO_DIGEST) -> Renunciation:
        return checking.ends(self.trust, body, self.ledger.newest(TASK), base_model)

    def authorised(self, body: EpochBody, by: Iterable[Identity] | None = None) -> EpochEvidence:
        """A proposal with authority: of all owners, or all administrators where there are any."""
        voters = self.administrators or [self.keys[name] for name in self.members]
        signers = list(voters if by is None else by)
        signed = [acts.authorise(self.store(key), key, self.trust, body) for key in signers]
        return EpochEvidence(body=body.to_bytes(), authorisations=in_order(signed))

    def accepted(self, proposal: EpochEvidence, new: Mapping[str, Identity]) -> EpochEvidence:
        wanted = new_keys(self.trust, proposal.says)
        signed = [acts.accept(new[name], self.trust, proposal.says) for name in wanted]
        return EpochEvidence(body=proposal.body, authorisations=proposal.authorisations, acceptances=in_order(signed))

    def closed(
        self, proposal: EpochEvidence, by: Iterable[str] | None = None, base_model: bytes = NO_DIGEST
    ) -> EpochEvidence:
        statement = self.statement(proposal.says, base_model)
        names = self.members if by is None else by
        signed = [
            acts.close(self.store(self.keys[name]), self.keys[name], self.places[name].trust, proposal, statement)
            for name in names
        ]
        return EpochEvidence(
            body=proposal.body,
            authorisations=proposal.authorisations,
            acceptances=proposal.acceptances,
            closure=RenunciationCertificate.of(statement, signed).to_bytes(),
        )

    def change(self, new: Mapping[str, Identity] | None = None, **change: Any) -> None:
        """A whole epoch: proposed, authorised, accepted, closed, appended, and followed by everybody."""
        keys = dict(new or {})
        proposal = self.accepted(self.authorised(self.body(**change)), keys)
        evidence = self.closed(proposal)
        self.ledger.append_epoch(evidence)
        self.keys |= {name: key for name, key in keys.items() if name in evidence.says.members}
        for name in self.members:
            self.follow(name)

    def follow(self, name: str) -> None:
        """A member goes on, from where it was or from what was pinned at first."""
        place = self.places.get(name, Place(self.genesis))
        since, seen = place.trust.task(TASK).epoch, place.checkpoint
        for step in self.ledger.steps(TASK, since, seen.size if seen else None).steps:
            place, _ = follow(place, TASK, step)
            if place.record is not None:
                closure = EpochEvidence.from_bytes(step.evidence).closure
                bonds.learn_epoch(self.store(self.keys[name]), name, place.record, closure)
        self.places[name] = place


def without(trust: Trust, **changes: Any) -> Trust:
    """Pins with something changed."""
    return replace(trust, **changes)
