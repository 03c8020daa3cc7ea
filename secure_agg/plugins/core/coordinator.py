"""The server's side of every round, for any framework: it drives the role ``Aggregator``, writes the ledger, and keeps
a journal of what came to nothing.

What is in the ledger has happened, whatever becomes of the server afterwards: asked for a round from a model that the
task's last record started from, it takes the outcome from there.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt
from msgspec.structs import replace

from secure_agg.errors import (
    AlreadyReleased,
    AnotherModel,
    BadSignature,
    BudgetSpent,
    DealerFault,
    KeyHolderFault,
    OperatorFault,
    RoundAborted,
    RunStopped,
    SecureAggError,
    TaskSpent,
    TooFewClients,
    Unattributed,
    UnknownSender,
)
from secure_agg.executing import IN_PROCESS, Executor
from secure_agg.fl.layers import Floats
from secure_agg.local.draws import Draw
from secure_agg.plugins.core import hello, parcels
from secure_agg.plugins.core.aborts import AbortJournal
from secure_agg.plugins.core.deadlines import Deadlines
from secure_agg.plugins.core.epochs.server import Epochs
from secure_agg.plugins.core.history import Entry, History, entry, way_on
from secure_agg.plugins.core.metrics import CLIPPED
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.phases import Ask, Attempt, Payload, one_line
from secure_agg.plugins.core.training import metrics_of, round_grouping, round_shapes
from secure_agg.plugins.core.unfinished import Unfinished
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.claims import finding_of
from secure_agg.protocol.codec import Arrays, model_digest
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.config.round_config import MAX_DRAWS
from secure_agg.protocol.epoch.body import EVALUATION
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.protocol.messages import ADVERTISE
from secure_agg.protocol.renunciation import RenunciationCertificate
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
_FIRST: Final = (
    "Begin with the model that their owners have pinned by --start-model, or make homes of a new task that pin this one"
)


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
        self._challenge = secrets.token_bytes(hello.CHALLENGE_BYTES)
        self._told: dict[tuple[str, str], bytes] = {}
        self._surroundings: dict[str, bytes] = {}
        self._names: dict[str, tuple[RoundRecord, Mapping[str, tuple[str, ...]]]] = {}  # of metrics, by task
        self._history = History(home)
        self._epochs = Epochs(home)
        self.aborts = AbortJournal(home.path)

    def __repr__(self) -> str:
        return f"Coordinator({self._home.name!r}, task={self._home.task!r})"

    def challenge(self) -> bytes:
        """The payload that asks a node who it is."""
        return Parcel(parcels.HELLO, (hello.make_challenge(self._home.identity, self._challenge),)).to_bytes()

    def identify(self, answer: bytes | memoryview) -> str:
        """The roster id of the node that has answered the challenge; how far it has come is noted.

        Raises:
            RemoteProtocolError: it has not signed this challenge, or is no member.
        """
        message, *known = Parcel.from_bytes(answer).expect(parcels.HELLO, 1, 2)
        name, self._surroundings[name] = self._check_answer(message)
        self._history.heard(name, known)
        return name

    def _check_answer(self, message: bytes | memoryview) -> tuple[str, bytes]:
        """Who has signed an answer, under the key that it has in the newest epoch that it may know."""
        newest, *earlier = self._epochs.rosters()
        try:
            return hello.check_answer(message, self._challenge, self._home.identity.name, newest)
        except (UnknownSender, BadSignature):
            for roster in earlier:
                with contextlib.suppress(UnknownSender, BadSignature):
                    return hello.check_answer(message, self._challenge, self._home.identity.name, roster)
            raise

    def surroundings(self, names: Iterable[str]) -> bytes:
        """The surroundings in which most of these members have said that their apps run.

        The others will find that their instructions are not those of the round, and stay out of it: a warning names
        them.

        Returns:
            32 bytes; zeros where nobody has said anything.
        """
        said = {name: self._surroundings[name] for name in sorted(names) if name in self._surroundings}
        if not said:
            return NO_DIGEST
        (most, _), *_ = Counter(said.values()).most_common(1)
        for name, other in said.items():
            if other != most:
                _log.warning("%s has other settings or another app of this run than most, and can't join them", name)
        return most

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
        task, last = self._home.task, self._last(self._home.task)
        self._epochs.bring(ask, names, lambda: self.deadlines.phase_s)
        if last is None or self._home.checks_model:
            self._teach(ask, names, trains=False)
            return
        late = [name for name in names if self._told.get((task, name)) != last.record.result_model]
        payload = Payload(Parcel(parcels.LEARN, (last.evidence.to_bytes(), last.receipt.to_bytes())).to_bytes)
        for name, answer in ask(parcels.LEARN, [(name, payload) for name in late], self.deadlines.phase_s):
            if not isinstance(answer, Exception):
                self._told[task, name] = last.record.result_model

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
        return self._home.checks_model and self._history.has_model(name, model)

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
        cause = f"{type(error).__name__}: {error.args[0] if error.args else error}"
        where = {"phase": error.phase, "culprit": error.culprit}
        attempt, self._lost = self._lost, None
        if attempt is not None:
            config = attempt.aggregator.config
            refused = {
                kind: attempt.refused.get(kind.__name__, set()) for kind in (AnotherModel, TaskSpent, BudgetSpent)
            }
            if config.beacon:  # another draw has other clients
                refused[TaskSpent] = set()
            lost = set().union(*refused.values())
            if config.cohort_size - len(lost) < config.policy.min_advertised:
                if refused[AnotherModel]:
                    why = f"{len(refused[AnotherModel])} of {config.cohort_size} nodes know another, as their logs say"
                    cure = way_on(self._home) if config.previous_record != NO_DIGEST else _FIRST
                elif len(refused[BudgetSpent]) == len(lost):
                    why = f"{len(lost)} of {config.cohort_size} nodes have spent their privacy budget"
                    cure = "Members agree on another by an epoch, 'secure-agg federation propose', or this is the end"
                else:
                    why = f"{len(lost)} of {config.cohort_size} nodes have signed in a round from it"
                    cure = (
                        "The round that they signed in may still be finished, or be renounced by enough of them, when "
                        "the server is started again; else training goes on in a new task, and new homes, whose start "
                        "model is this one"
                    )
                raise RunStopped(
                    f"no round of task {config.task!r} from model {config.base_model.hex()[:16]}… can succeed: {why}. "
                    f"{cure}", **where,
                ) from error  # fmt: skip
        if not self.verified and not more:
            said = "; ".join(f"{name}: {text}" for name, text in sorted(attempt.lost.items())) if attempt else ""
            raise RunStopped(
                f"no round of this run is verified, so it ends here and returns no model: {cause}"
                + (f" ({said})" if said else ""), **where,
            ) from error  # fmt: skip

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
                if unfinished.renounce(leading, config, ask, self.deadlines.phase_s):
                    _log.warning(
                        "round %d.%d of %r can't be finished any more, and was renounced: %s",
                        config.round, config.attempt, task, one_line(error),
                    )  # fmt: skip
                elif config.beacon:
                    self._kill_draw(config)  # whoever is bound to it sits out the next
                else:
                    raise
        if trains and found is None:  # what can still be finished comes before a change
            self._change(ask, model)
            self._history.restart(model, digest)
            leading = self._leading(task)
        base = self._configure(leading, model, digest, instructions, trains=trains)
        try:
            return self._lead(leading, base, model, ask, last, None, trains=trains)
        except SecureAggError:
            if not unfinished.is_opened(base) and not base.beacon and self._is_spent():
                unfinished.renounce(leading, base, ask, self.deadlines.phase_s)  # the next attempt goes on from that
            raise

    def _is_spent(self) -> bool:
        """Whether nodes that are bound to an attempt which this server knows nothing of have kept the last one from
        binding anybody.
        """
        lost = self._lost
        return lost is not None and TaskSpent.__name__ in lost.refused and not lost.aggregator.is_binding

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
                    aggregator, ask, holders, lambda: self.deadlines.phase_s, self._train_s, self._welcome(task, last)
                )
                self._epochs.bring(ask, list(aggregator.cohort), lambda: self.deadlines.phase_s)
                self._teach(ask, aggregator.cohort, trains=trains)
                evidence, verified = attempt.run()
                receipt = self._home.ledger.append(evidence).receipt
            except BaseException as error:
                self._lost = attempt
                binding = attempt is not None and attempt.aggregator.is_binding
                if isinstance(error, TooFewClients) and attempt is not None and not attempt.was_put_to_vote:
                    self._kill_draw(base)
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
            self._names[task] = (verified.record, attempt.names)
            try:
                self.aborts.faults.keep(aggregator.faults)
                for name in attempt.deliver(receipt):
                    self._told[task, name] = verified.record.result_model
                    if trains and name in attempt.names:
                        self._history.took(name, verified.record)
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
        self._epochs.bring(ask, members, lambda: self.deadlines.phase_s)
        self._teach(ask, members, trains=False)
        base = self._history.model or model_digest(model)
        self._epochs.close(ask, base, lambda: self.deadlines.phase_s)

    def _outcome(
        self, model: Floats, last: Entry, verified: Verified, stats: dict[str, float], *, trains: bool
    ) -> Outcome:
        difference = verified.average[: len(model)] if trains else []
        return Outcome(
            model=self._history.outcome(model, last.record, verified) if trains else [],
            average=difference,
            weight=verified.record.weight_sum,
            metrics=self._metrics(last.evidence.config, verified),
            participants=last.evidence.participants,
            record=last.record,
            receipt=last.receipt,
            evidence=last.evidence,
            stats=stats,
        )

    def _last(self, task: str) -> Entry | None:
        found = self._home.ledger.indexes(task)
        return entry(self._home.ledger, found[-1]) if found else None

    def _teach(self, ask: Ask, cohort: Iterable[str], *, trains: bool) -> None:
        """Have nodes that were away come to the model that is trained on, or evaluated."""
        last = self._home.ledger.last(self._home.task)
        if last is not None:
            identify = (self.challenge, self.identify)
            self._history.teach(list(cohort), last, ask, lambda: self.deadlines.phase_s, identify, joins=trains)

    def _configure(
        self, leading: Task, model: Floats, base: bytes, instructions: bytes, *, trains: bool
    ) -> RoundConfig:
        number, shapes = self._number(leading, base), round_shapes(leading.policy, model, trains=trains)
        grouping = round_grouping(leading.policy, model, trains=trains)
        draw = self._draw(leading, number)

        def configure(attempt: int, renounced: RenunciationCertificate | None = None) -> RoundConfig:
            return leading.next_round(
                shapes,
                number=number,
                draw=draw.draw,
                beacon=draw.beacon,
                attempt=attempt,
                base_model=base,
                instructions=instructions,
                renounced=renounced,
                grouping=grouping,
            )

        first = configure(0)
        renounced = Unfinished(self._home, leading.name).certificate(first)
        if renounced is not None and renounced.statement.generation < first.generation:
            renounced = None  # an epoch was closed since, and has begun a later one
        return configure(self._attempt(leading.name, number), renounced)

    def _number(self, leading: Task, base: bytes) -> int:
        """The number of a round from this model. Whoever has signed in a round that came to nothing signs no other set
        under its number, nor does an operator open another sum: a new model gets a new number, in increasing order.
        """

        def begun(number: int) -> bytes | None:
            return self._home.store.get((self._home.name, leading.name, number), "base model")

        number = leading.next_number
        while begun(number) not in (None, base) or begun(number + 1) is not None:
            number += 1
        self._home.store.put((self._home.name, leading.name, number), "base model", base)
        return number

    def _kill_draw(self, config: RoundConfig) -> None:
        """Note that a draw has had too few clients: the next try is another one's."""
        if config.beacon:
            self._home.store.put((self._home.name, config.task, config.round), _dead(config.epoch, config.draw), b"1")

    def _draw(self, leading: Task, number: int) -> Draw:
        """The draw of the cohort: of those of the round the first that has not died of too few clients.

        Raises:
            RunStopped: all have.
            PulseMissing: its pulse is not there.
        """
        scope, epoch = (self._home.name, leading.name, number), leading.pins.epoch
        living = (draw for draw in range(MAX_DRAWS) if self._home.store.get(scope, _dead(epoch, draw)) is None)
        draw = next(living, None)
        if draw is None:
            raise RunStopped(
                f"all {MAX_DRAWS} draws of round {number} of {leading.name!r} had too few clients: training goes on "
                "in another epoch or task, with a larger dropout or more clients connected"
            )
        return self._home.draws.draw(leading, number, draw)

    def _attempt(self, task: str, number: int) -> int:
        """The first attempt at a round that has not been begun, also by an earlier process."""
        attempt = 0
        while True:
            try:
                self._home.store.claim((self._home.name, task, number), f"attempt {attempt}", phase=ADVERTISE)
            except AlreadyReleased:
                attempt += 1
            else:
                return attempt

    def _welcome(self, task: str, last: Entry | None) -> Callable[[str], tuple[bytes, bytes]]:
        """Evidence and receipt of the last result, for nodes that have not verified it in this run."""
        if last is None:
            return lambda name: (b"", b"")
        record, evidence, receipt = last.record, last.evidence.to_bytes(), last.receipt.to_bytes()

        def knows(name: str) -> bool:
            if task == self._home.task and self._home.checks_model:
                return self._history.is_up_to_date(name, record)
            return self._told.get((task, name)) == record.result_model

        return lambda name: (b"", b"") if knows(name) else (evidence, receipt)

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

    def _metrics(self, config: RoundConfig, verified: Verified) -> dict[str, float]:
        if config.policy.privacy is not None:  # their sums would have no noise
            return {}
        record, names = self._names.get(config.task, (None, {}))
        if record != verified.record:
            return {}
        given = {names.get(name, ()) for name in verified.commitments}
        if len(given) != 1:
            _log.warning("the clients' metrics have different names, so their means mean nothing: %s", sorted(given))
            return {}
        means = metrics_of(config, verified, given.pop())
        if share := means.get(CLIPPED):
            _log.warning(
                "round %d of %r: %.3g%% of the values of updates were clipped to ±%g: take a larger clip",
                config.round, config.task, 100 * share, config.policy.clip,
            )  # fmt: skip
        return means


def _dead(epoch: int, draw: int) -> str:
    return f"draw {draw} of epoch {epoch} is dead"  # a later one may have other pulses, and take fewer clients
