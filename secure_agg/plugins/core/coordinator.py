"""The server's side of every round, for any framework: it drives the role ``Aggregator``, writes the ledger, and keeps
a journal of what came to nothing.

What is in the ledger has happened, whatever becomes of the server afterwards: asked for a round from a model that the
task's last record started from, it takes the outcome from there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt
from msgspec.structs import replace

from secure_agg.errors import (
    DealerFault,
    KeyHolderFault,
    OperatorFault,
    RoundAborted,
    SecureAggError,
    TooFewClients,
    Unattributed,
)
from secure_agg.executing import IN_PROCESS, Executor
from secure_agg.fl.layers import Floats
from secure_agg.plugins.core.epochs.server import Epochs
from secure_agg.plugins.core.phases import Ask, Attempt, one_line
from secure_agg.plugins.core.server.aborts import AbortJournal
from secure_agg.plugins.core.server.deadlines import Deadlines
from secure_agg.plugins.core.server.history import Entry, History, entry
from secure_agg.plugins.core.server.hope import check_hope, is_spent
from secure_agg.plugins.core.server.members import Members
from secure_agg.plugins.core.server.numbering import Numbering
from secure_agg.plugins.core.server.reported import Reported
from secure_agg.plugins.core.server.unfinished import Unfinished
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.claims import finding_of
from secure_agg.protocol.codec import Arrays, model_digest
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.epoch.body import EVALUATION
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import Auditor, Verified
from secure_agg.roles.memory.rounds import RoundLog
from secure_agg.roles.task import Task
from secure_agg.tlog.receipt import Receipt

_log = logging.getLogger("secure_agg.plugins")

_OPENED: Final = (Unattributed, DealerFault, OperatorFault, KeyHolderFault)
"""With which a round ends whose sum was opened, and is none: the same answers come to the same again, and nobody who
has given them renounces.
"""


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Outcome:
    """A round that is verified and in the ledger.

    Attributes:
        model: what the mean and the pinned server optimizer make of the model that was handed in, in its dtypes; empty
            after an evaluation.
        average: mean difference, float64.
        weight: sum of the participants' weights.
        metrics: weighted means by name; NaN where a participant's was not finite. Empty where the outcome was taken
            from the ledger by another process than led the round: names are not in it.
        participants: ids, in id order.
        record, receipt: of the ledger. evidence: what proves it.
        stats: seconds (``…_s``) and bytes from the nodes (``…_bytes``) by phase.
    """

    model: list[npt.NDArray[Any]]
    average: Arrays
    weight: int
    metrics: dict[str, float]
    participants: tuple[str, ...]
    record: RoundRecord
    receipt: Receipt
    evidence: Evidence
    stats: dict[str, float]


class Coordinator:
    """The server, for any number of rounds of its home's task.

    Attributes:
        deadlines: how long nodes have to answer.
        verified: rounds that have trained, and are verified, in this run.
        aborts: journal of those that came to nothing.
    """

    def __init__(
        self,
        home: ServerHome,
        *,
        phase_s: float | None = None,
        train_s: float = 3600.0,
        executor: Executor = IN_PROCESS,
    ) -> None:
        """
        Args:
            home: identity, pins and ledger.
            phase_s: seconds that nodes have to answer in a phase, at least: see ``Deadlines``. None for the home's.
            train_s: how long they have to train.
            executor: does the aggregator's work on long vectors, see ``Aggregator``.

        Raises:
            ConfigError: nobody can answer in ``phase_s``.
        """
        self._home, self._train_s, self._executor = home, train_s, executor
        self.deadlines = Deadlines(home.phase_s if phase_s is None else phase_s)
        self.verified = 0
        self._lost: Attempt | None = None  # the last one, if it came to nothing
        self._history = History(home)
        self._epochs = Epochs(home)
        self._numbering = Numbering(home)
        self._members = Members(home, self._history, self._epochs.rosters, self._phase_s)
        self._reported = Reported()
        self.aborts = AbortJournal(home.path)

    def __repr__(self) -> str:
        return f"Coordinator({self._home.name!r}, task={self._home.task!r})"

    def _phase_s(self) -> float:
        return self.deadlines.phase_s

    def challenge(self) -> bytes:
        """The payload that asks a node who it is."""
        return self._members.challenge()

    def identify(self, answer: bytes | memoryview) -> str:
        """The roster id of the node that has answered the challenge; how far it has come is noted.

        Raises:
            RemoteProtocolError: it has not signed this challenge, or is no member.
        """
        return self._members.identify(answer)

    def surroundings(self, names: Iterable[str]) -> bytes:
        """The surroundings in which most of these members have said that their apps run.

        The others will find that their instructions are not those of the round, and stay out of it: a warning names
        them.

        Returns:
            32 bytes; zeros where nobody has said anything.
        """
        return self._members.surroundings(names)

    def round(self, model: Floats, ask: Ask, instructions: bytes = NO_DIGEST) -> Outcome:
        """One attempt at the task's next round: a verified mean of the nodes' differences from ``model``.

        Args:
            model: that nodes train from.
            ask: reaches them.
            instructions: digest of what their apps are given beside it, the same for all; see ``Instructions``.

        A model that the last record started from gives that round's outcome again, and nobody is asked: a server that
        died before it wrote down the new model gets it this way, and nobody trains twice from one model.

        Raises:
            SecureAggError: it came to nothing. The journal of aborts says so, and nothing else has changed.
        """
        outcome = self._round(self._home.task, model, ask, instructions, trains=True)
        self.verified += 1
        return outcome

    def evaluate(self, model: Floats, ask: Ask, instructions: bytes = NO_DIGEST) -> Outcome:
        """One attempt at an evaluation: the verified means of the nodes' metrics, and nothing else.

        Raises:
            TrustError: no evaluation is pinned.
            SecureAggError: see ``round``.
        """
        found = Unfinished(self._home, self._home.task).find(model_digest(model))
        if found is not None:
            found[0].close()
            raise RoundAborted(
                f"round {found[1].config.round} of {self._home.task!r}, from this model, is to be finished first: "
                "nodes have one attempt at a time, and would forget what finishes it",
                phase=found[1].state,
            )
        return self._round(self._home.task + EVALUATION, model, ask, instructions, trains=False)

    def catch_up(self, names: Sequence[str], ask: Ask) -> None:
        """Between rounds, show members that were away what they have missed: epochs, and results one by one.

        Where nodes take any model, only the last result is shown, to whom it has not reached since this server began.

        Args:
            names: of members that are there.
            ask: reaches them.
        """
        last = self._last(self._home.task)
        self._epochs.bring(ask, names, self._phase_s)
        if last is None or self._home.checks_model:
            self._members.teach(names, ask, joins=False)
        else:
            self._members.show_last(names, last, ask)

    def change(self, model: Floats, ask: Ask) -> None:
        """Between rounds, have members close the epoch in force where the next one lies ready: with too few for a
        round there may be enough for that, and a change of the roster is what helps then.

        Args:
            model: that the task has come to.
            ask: reaches them.
        """
        found = Unfinished(self._home, self._home.task).find(model_digest(model))
        if found is not None:  # what can still be finished comes before a change
            found[0].close()
            return
        last = self._last(self._home.task)
        self._history.begin(model, last.record if last else None)
        self._change(self.deadlines.timed(ask), model)

    def check_model(self, model: Floats) -> None:
        """Look at a model before anybody is asked to train from it.

        Raises:
            RunStopped: every node would refuse it; says how to go on.
        """
        last, digest = self._last(self._home.task), model_digest(model)
        if last is None or last.evidence.config.base_model != digest:  # else its outcome stands
            self._history.check(digest, last.record if last else None)

    def has_model(self, name: str, model: bytes) -> bool:
        """Whether a member has computed the model with this digest itself, so that it need not be sent."""
        return self._home.checks_model and self._members.has_model(name, model)

    def check_hope(self, error: SecureAggError, *, more: bool) -> None:
        """Decide, when a round that trains has come to nothing, if the run may go on.

        An app that goes on to its end saves what it has then. So a run ends by an error where no round from this model
        can succeed, and where none has been verified and none is left to come.

        Args:
            error: what the round has ended with.
            more: whether there is another round.

        Raises:
            RunStopped: it may not; says how to go on.
        """
        attempt, self._lost = self._lost, None
        check_hope(self._home, attempt, error, verified=bool(self.verified), more=more)

    # --- one attempt ------------------------------------------------------------------------------------------

    def _round(self, task: str, model: Floats, ask: Ask, instructions: bytes, *, trains: bool) -> Outcome:
        self._lost, digest = None, model_digest(model)
        last = self._last(task)
        if last is not None and last.evidence.config.base_model == digest:
            _log.warning("round %d of %r, from this model, is in the ledger: it stands", last.record.round, task)
            verified = Auditor(self._epochs.trust_at(last.evidence.config.epoch)).verify(last.evidence)
            return self._outcome(model, last, verified, {}, trains=trains)
        if trains:
            self._history.begin(model, last.record if last else None)
        ask = self.deadlines.timed(ask)
        leading = self._leading(task)
        unfinished = Unfinished(self._home, task)
        found = unfinished.find(digest, self._executor)
        if found is not None:
            log, resumed = found
            config = resumed.config
            _log.warning("round %d.%d of %r was not finished: it goes on", config.round, config.attempt, task)
            try:
                return self._lead(leading, config, model, ask, last, (log, resumed), trains=trains)
            except _OPENED:
                pass  # nodes say whether they can join another attempt
            except SecureAggError as error:
                if unfinished.renounce(leading, config, ask, self._phase_s()):
                    _log.warning(
                        "round %d.%d of %r can't be finished any more, and was renounced: %s",
                        config.round, config.attempt, task, one_line(error),
                    )  # fmt: skip
                elif config.beacon:
                    self._numbering.kill_draw(config)  # whoever is bound to it sits out the next
                else:
                    raise
        if trains and found is None:  # what can still be finished comes before a change
            self._change(ask, model)
            self._history.restart(model, digest)
            leading = self._leading(task)
        base = self._numbering.configure(leading, model, digest, instructions, trains=trains)
        try:
            return self._lead(leading, base, model, ask, last, None, trains=trains)
        except SecureAggError:
            if not unfinished.is_opened(base) and not base.beacon and is_spent(self._lost):
                unfinished.renounce(leading, base, ask, self._phase_s())  # the next attempt goes on from that
            raise

    def _lead(
        self,
        leading: Task,
        base: RoundConfig,
        model: Floats,
        ask: Ask,
        last: Entry | None,
        resumed: tuple[RoundLog, Aggregator] | None,
        *,
        trains: bool,
    ) -> Outcome:
        """One attempt, from its beginning or, with its log, from where it has come to."""
        log = None
        task, unfinished = leading.name, Unfinished(self._home, leading.name)
        with ExitStack() as stack:
            attempt: Attempt | None = None
            try:
                served, setup, holders = stack.enter_context(self._home.staff(replace(base, setup=b"")))
                if resumed is None:
                    config, log = served, stack.enter_context(unfinished.log(base))
                    certificate = unfinished.before(leading, base)
                    convicted = self.aborts.faults.convicted(self._home.trust, task)
                    if convicted:
                        _log.warning(
                            "%s are proved to have broken the protocol in %r and not asked", [*convicted], task
                        )
                    aggregator = leading.lead(
                        self._home.identity,
                        config,
                        setup,
                        convicted,
                        renounced=certificate,
                        log=log,
                        executor=self._executor,
                    )
                else:
                    config, (log, aggregator) = base, resumed
                    stack.enter_context(log)
                attempt = Attempt(
                    aggregator, ask, holders, self._phase_s, self._train_s, self._members.welcome(task, last)
                )
                self._epochs.bring(ask, list(aggregator.cohort), self._phase_s)
                self._members.teach(aggregator.cohort, ask, joins=trains)
                evidence, verified = attempt.run()
                receipt = self._home.ledger.append(evidence).receipt
            except BaseException as error:
                self._lost = attempt
                binding = attempt is not None and attempt.aggregator.is_binding
                if isinstance(error, TooFewClients) and attempt is not None and not attempt.was_put_to_vote:
                    self._numbering.kill_draw(base)
                self._give_up(base, error, attempt)
                if log is not None and not binding:
                    log.remove()  # nobody is bound to it
                elif log is not None and isinstance(error, _OPENED):
                    unfinished.mark_opened(base)
                    log.remove()
                raise
            unfinished.clear()
            _log.info(
                "round %d of %r is %s, over %d of %d clients, and record %d of the ledger",
                config.round, task, finding_of(verified.record.claim, pinned=True).word, len(evidence.participants),
                config.cohort_size, receipt.index,
            )  # fmt: skip
            if verified.norm_text:
                _log.info("round %d of %r: %s", config.round, config.task, verified.norm_text)
            self._reported.note(task, verified.record, attempt.names)
            try:
                self.aborts.faults.keep(aggregator.faults)
                for name in attempt.deliver(receipt):
                    self._members.accepted(task, name, verified.record)
                    if trains and name in attempt.names:
                        self._members.took(name, verified.record)
            except Exception as error:  # the round stands; who has not heard of it will
                _log.exception("round %d of %r was not delivered to all: %s", config.round, task, one_line(error))
        new = Entry(verified.record, evidence, receipt)
        return self._outcome(model, new, verified, attempt.stats, trains=trains)

    def _leading(self, task: str) -> Task:
        """The task where its ledger is, under the epoch in force."""
        ledger = self._home.ledger
        return Task(task, self._home.trust, ledger.newest(task), ledger.closure(task))

    def _change(self, ask: Ask, model: Floats) -> None:
        """Begin the next epoch, if there is one: its members have to be where the task is before they can say so."""
        if not self._home.proposal_path.exists():
            return
        members = list(self._home.trust.task(self._home.task).roster)
        self._epochs.bring(ask, members, self._phase_s)
        self._members.teach(members, ask, joins=False)
        base = self._history.model or model_digest(model)
        self._epochs.close(ask, base, self._phase_s)

    def _outcome(
        self, model: Floats, last: Entry, verified: Verified, stats: dict[str, float], *, trains: bool
    ) -> Outcome:
        difference = verified.average[: len(model)] if trains else []
        return Outcome(
            model=self._history.outcome(model, last.record, verified) if trains else [],
            average=difference,
            weight=verified.record.weight_sum,
            metrics=self._reported.means(last.evidence.config, verified),
            participants=last.evidence.participants,
            record=last.record,
            receipt=last.receipt,
            evidence=last.evidence,
            stats=stats,
        )

    def _last(self, task: str) -> Entry | None:
        found = self._home.ledger.indexes(task)
        return entry(self._home.ledger, found[-1]) if found else None

    def _give_up(self, config: RoundConfig, error: BaseException, attempt: Attempt | None) -> None:
        _log.error(
            "round %d of %r, attempt %d, came to nothing: %s: %s",
            config.round, config.task, config.attempt, type(error).__name__, one_line(error),
        )  # fmt: skip
        try:
            self.aborts.record(config, error, phase=attempt.phase if attempt else None)
            self.aborts.faults.keep(attempt.aggregator.faults if attempt else ())
        except (OSError, SecureAggError) as failed:  # what has gone wrong first is what the caller has to hear
            _log.error("the journal of aborts can't be written: %s", one_line(failed))
