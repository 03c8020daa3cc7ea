"""``BufferedTask``: buffered rounds one after another, all roles in this process.

Whoever has a round's result computes the model that it leads to, and names it: this process plays all clients, so that
each of them has then computed it. ``fl.algorithms.buffered`` does so from arrays.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from types import TracebackType
from typing import Self

import numpy as np

from secure_agg.arguments import checked_class
from secure_agg.backends.contract.setup import with_bases
from secure_agg.errors import ConfigError, LocalProtocolError, TooFewClients, UpdateError
from secure_agg.ledger.log import Ledger
from secure_agg.local.aggregate import Result, tell
from secure_agg.local.asked import Inputs
from secure_agg.local.book import Book
from secure_agg.local.rounds import LocalRound, Update
from secure_agg.local.staff import AGGREGATOR, Staff, staffed, usual_names
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import NO_DIGEST, Policy, RoundConfig
from secure_agg.protocol.config.buffer import Base, Bases, follow_bases, name_bases
from secure_agg.protocol.identity import Identity
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.client.client import Client
from secure_agg.roles.memory.bases import learn_base
from secure_agg.roles.memory.bonds import Bonds
from secure_agg.roles.memory.results import learn_result
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust


@checked_class
class BufferedTask:
    """A task whose clients hand in updates when they are done, from models of different age.

    Each round takes K updates or more, and its result leads to the next model, a new *base*. A client gives one update
    from each base, and none from an older one afterwards: that is bound in its store.

    Attributes:
        policy: of the task.
        stores: what each client must not forget, by id.
    """

    def __init__(
        self,
        clients: Collection[str],
        model: bytes,
        policy: Policy,
        *,
        ledger: str | PathLike[str] | Ledger | None = None,
        task: str = "default",
        identities: Mapping[str, Identity] | None = None,
        stores: Mapping[str, AttemptStore] | None = None,
    ) -> None:
        """
        Args:
            clients: ids of all members.
            model: digest of the model that the task begins with; where the ledger has rounds of it, of the one that
                the last of them has led to.
            policy: from ``buffered_policy``.
            ledger: a path or an open ``Ledger``, to which checked rounds are appended.
            task: its id.
            identities: client id to ``Identity``; made when missing, and kept beside the ledger.
            stores: client id to a durable store; by default in memory, which forgets the bonds when this process ends:
                only for simulations.

        Raises:
            ConfigError: the policy is not of buffered rounds, or the ledger has pinned something else for the task.
            LedgerError: the ledger can't be opened.
        """
        if policy.buffer is None:
            raise ConfigError("the policy is not of buffered rounds: make it by buffered_policy")
        if len(set(clients)) != len(clients) or not clients:
            raise ConfigError(f"{len(clients)} clients, not one or more with ids that differ")
        self.policy, self._rule = policy, policy.buffer
        self._stack = ExitStack()
        try:
            self._book = Book(ledger, task, self._stack)
            cast = self._book.cast(Inputs(dict.fromkeys(clients, ()), {}, {}, identities or {}))
            self._task = self._book.begin(self._book.plan(policy, cast), cast)
            self._members, self._operators = cast.members, cast.operators
            missing = {name: AttemptStore() for name in cast.members if name not in (stores or {})}
            self.stores: Mapping[str, AttemptStore] = dict(stores or {}) | missing
            self._seats = {name: AttemptStore() for name in self._operators}
            self._tried = (-1, 0)
            self._bases: Bases = ()
            if (last := self._book.last(task)) is not None:
                self._task = replace(self._task, last=last)
                self._bases = self._book.bases(last)
                for name in self._members:
                    learn_result(self.stores[name], name, last)
                for base in self._bases:
                    self._learn(base)
            self._due = True
            self.advance(model)
        except BaseException:
            self._stack.close()
            raise

    def __repr__(self) -> str:
        return f"BufferedTask({self._task.name!r}, bases {name_bases(self._bases)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close a ledger that was opened here."""
        self._stack.close()

    @property
    def trust(self) -> Trust:
        """What all parties have pinned."""
        return self._task.trust

    @property
    def bases(self) -> Bases:
        """What updates of the next round may be differences from, the oldest first."""
        return self._bases

    def _learn(self, base: Base) -> None:
        for name in self._members:
            learn_base(self.stores[name], name, self._task.name, base)

    def advance(self, model: bytes) -> Base:
        """Go on to the model that the last round's result has led to, which all clients have computed.

        Args:
            model: its digest.

        Raises:
            LocalProtocolError: no round has been made since.
            AlreadyReleased: a client knows that the results lead to another model.
        """
        if not self._due:
            raise LocalProtocolError("the last result has led to a model already: make a round first")
        last = self._task.last
        number = self._bases[-1].number + 1 if self._bases else 0
        newest = Base(number, last.digest() if last is not None else NO_DIGEST, model)
        self._learn(newest)
        self._bases, self._due = follow_bases(self._rule, self._bases or None, newest), False
        return newest

    def aggregate(
        self,
        updates: Mapping[str, Update],
        bases: Mapping[str, int],
        *,
        weights: Mapping[str, int] | None = None,
        round: int | None = None,
    ) -> Result:
        """One buffered round, over these updates.

        Args:
            updates: client id to its arrays, float32 or float64, the same shapes for all.
            bases: client id to the number of the base that its update is a difference from.
            weights: client id to its weight, 1 to ``policy.max_weight``; 1 where missing. That older updates count less
                is in here, and nobody can check it.
            round: number of the round; by default the next.

        Returns:
            The checked result, which the newest base moves by; call ``advance`` then.

        Raises:
            ConfigError: a base is none that there is.
            LocalProtocolError: the last result has not been gone on from.
            TaskSpent: a client has given an update from this base, or from a later one.
            TooFewClients: there are fewer updates than K.
            UpdateError: an unfit update or weight; names the client.
            VerificationError, LedgerError: the result did not pass, or can't be appended.
        """
        if self._due:
            raise LocalProtocolError("name the model that the last result has led to first: see advance")
        inputs = Inputs(updates, weights or {}, {}, {})
        shapes = inputs.check()
        trained = {name: self._trained(name, bases) for name in updates}
        number = self._task.next_number if round is None else round
        config = self._task.next_round(
            shapes,
            number=number,
            attempt=self._tried[1] + 1 if self._tried[0] == number else 0,
            weight_limit=self.policy.max_weight,
            base_model=self._bases[-1].model,
        )
        self._check(config, inputs, trained)
        self._tried = (number, config.attempt)
        serving = {name: self._operators[name] for name in usual_names(self.policy)}
        staff = Staff.of(config, serving)
        staff = replace(staff, setup=with_bases(staff.setup, self._bases))
        trust = self._task.trust
        clients = {name: Client(self._members[name], trust, store=self.stores[name]) for name in updates}
        aggregator = self._task.lead(
            self._operators[AGGREGATOR], staffed(config, staff.setup), staff.setup, self._book.convicted()
        )
        local = LocalRound(
            aggregator,
            clients,
            updates,
            weights,
            None,
            staff.roles(trust, self._seats),
            bases={name: base.model for name, base in trained.items()},
        )
        try:
            evidence, checked = local.finish()
        finally:
            self._book.keep(aggregator.faults)
        tell(checked.record, config, local.clipping())
        start = time.perf_counter()
        entry = self._book.append(evidence)
        appended = {"ledger.append_s": time.perf_counter() - start} if entry else {}
        local.deliver()
        verified = entry.verified if entry else Auditor(trust).verify(evidence)
        for name in self._members:
            learn_result(self.stores[name], name, verified.record)
        self._task, self._due = replace(self._task, last=verified.record), True
        return Result(
            average=verified.average,
            participants=evidence.participants,
            record=verified.record,
            evidence=evidence,
            receipt=entry.receipt if entry else None,
            stats=local.stats() | appended,
            faults=aggregator.faults,
        )

    def _check(self, config: RoundConfig, inputs: Inputs, trained: Mapping[str, Base]) -> None:
        """Refuse what would end the round after some have given their updates, which they could give to no other."""
        if len(trained) < self.policy.min_clients:
            raise TooFewClients(f"{len(trained)} updates, and a sum has {self.policy.min_clients} or more")
        codec = FixedPoint.of(config)
        for name, base in trained.items():
            Bonds(self.stores[name], name, config, base=base, newest=self._bases[-1].number).check_unspent()
            codec.check_weight(inputs.weights.get(name, 1))
            if not all(np.isfinite(array).all() for array in inputs.updates[name]):
                raise UpdateError(f"the update of {name!r} is not finite", culprit=name)

    def _trained(self, name: str, bases: Mapping[str, int]) -> Base:
        if name not in self._members:
            raise ConfigError(f"{name!r} is no member of the task", culprit=name)
        found = next((base for base in self._bases if base.number == bases.get(name)), None)
        if found is None:
            raise ConfigError(
                f"the update of {name!r} is from base {bases.get(name)}, and there are {name_bases(self._bases)}: "
                f"base {self._bases[0].number} or a later one would do",
                culprit=name,
            )
        return found
