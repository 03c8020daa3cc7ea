"""Buffered rounds whose roles a test drives: who trained from which base, and what each client has computed itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from support.federation import Federation, Tape, replace

from secure_agg.backends.contract.setup import with_bases
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.certificate import setup_digest
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.config.buffer import Base, Bases, follow_bases
from secure_agg.protocol.config.presets import buffered_policy
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.memory.bases import learn_base
from secure_agg.roles.memory.results import learn_result
from secure_agg.roles.task import Task
from secure_agg.roles.trust import TaskTrust, Trust


def model(number: int) -> bytes:
    """Digest of a model that stands for what so many results lead to."""
    return model_digest([np.full(3, float(number))])


@dataclass
class Buffered(Federation):
    """A federation whose task is buffered; ``based`` says which base each client has trained from, by default the
    newest.

    Attributes:
        corrupt: f of the whole roster.
        honest, staleness: of the policy.
    """

    n: int = 5
    backend: str = "additive"
    options: Mapping[str, int] = field(default_factory=lambda: {"aggregators": 2})
    corrupt: int = 1
    honest: int = 2
    staleness: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.policy = buffered_policy(
            self.n, honest=self.honest, staleness=self.staleness, max_corrupt=self.corrupt, options=self.options
        )
        self.trust = Trust(tasks={self.task: TaskTrust(self.roster, self.policy)}, operators=self.trust.operators)
        self.last: RoundRecord | None = None
        self.bases: Bases = ()
        self.based: dict[str, bytes] = {}
        self.learn(Base(0, NO_DIGEST, model(0)))

    def learn(self, base: Base) -> None:
        """All clients have computed a model."""
        rule = self.policy.buffer
        assert rule is not None
        for name in self.names:
            learn_base(self.stores[name], name, self.task, base)
        self.bases = follow_bases(rule, self.bases or None, base)

    def go_on(self, evidence: Evidence) -> None:
        """All clients have verified a round, and computed the model that it leads to."""
        self.last = Auditor(self.trust).verify(evidence).record
        for name in self.names:
            learn_result(self.stores[name], name, self.last)
        self.learn(Base(self.bases[-1].number + 1, self.last.digest(), model(self.bases[-1].number + 1)))

    def setup_with(self, bases: Bases) -> bytes:
        """A round's setup, with whichever bases."""
        return with_bases(super().setup, bases)

    @property
    def setup(self) -> bytes:
        return self.setup_with(self.bases)

    def _config(self, changes: Mapping[str, Any]) -> RoundConfig:
        given = {"base_model": self.bases[-1].model if getattr(self, "bases", ()) else model(0)} | dict(changes)
        given = {{"round": "number"}.get(name, name): value for name, value in given.items()}
        odd = {name: given.pop(name) for name in ("previous_record",) if name in given}
        task = Task(self.task, self.trust, getattr(self, "last", None))
        return replace(task.next_round(given.pop("shapes", self.shapes), weight_limit=1, **given), **odd)

    def aggregator(self, convicted: tuple[str, ...] = (), **changes: Any) -> Aggregator:
        """One that shows these bases, or others: ``bases``."""
        setup = self.setup_with(changes.pop("bases", self.bases))
        config = self.config(**({"setup": setup_digest(setup)} | changes))
        return Task(self.task, self.trust, self.last).lead(self.operator, config, setup, convicted)

    def round(self, silent: Mapping[str, str] | None = None, **changes: Any) -> LocalRound:
        clients = {name: self.client(name) for name in self.names}
        aggregator = self.aggregator(**changes)
        return LocalRound(aggregator, clients, self.updates, None, silent, self.staff(), bases=self.based)

    def play(self, *who: str, **changes: Any) -> Evidence:
        """A round of these clients, honestly."""
        silent = {name: "advertise" for name in self.names if name not in who}
        return Tape.start(self, silent, **changes).finish()
