"""The server's side of every round, for any framework: it drives the role ``Aggregator``, writes the ledger, and keeps
a journal of what came to nothing.

How payloads get to the nodes is the framework's: an ``Ask`` sends one to each and yields the answers as they come. Who
does not answer by the deadline, refuses, or sends something else has dropped out.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy.typing as npt

from secure_agg.aggregator import Aggregator
from secure_agg.auditor import Verified
from secure_agg.codec import Arrays, model_digest
from secure_agg.config import NO_DIGEST, RoundConfig
from secure_agg.errors import (
    AlreadyReleased,
    LedgerDamaged,
    LocalProtocolError,
    MalformedMessage,
    SecureAggError,
    UnknownSender,
)
from secure_agg.evidence import Evidence, RoundRecord
from secure_agg.fault import FaultProof
from secure_agg.ledger.receipt import Receipt
from secure_agg.messages import ADVERTISE, RESULT, Envelope, decode, header_limit, peek
from secure_agg.operators import OperatorRole, ask_operator, ask_operators
from secure_agg.plugins import hello, parcels
from secure_agg.plugins.aborts import AbortJournal
from secure_agg.plugins.home import ServerHome
from secure_agg.plugins.layers import apply
from secure_agg.plugins.metrics import MetricCodec
from secure_agg.plugins.parcels import Parcel
from secure_agg.plugins.participant import EVALUATION, Floats, MetricNames

_MAX_NAMES: Final = 1 << 16

_log = logging.getLogger("secure_agg.plugins")

Payload = Callable[[], bytes]
"""Makes a payload. It may be as large as the model: it is made when it is sent, and not kept."""


class Ask(Protocol):
    """Sends payloads to nodes, and takes what they answer."""

    def __call__(
        self, kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float
    ) -> Iterator[tuple[str, bytes | memoryview | Exception]]:
        """Ask nodes, all at once as far as the framework goes.

        Args:
            kind: of the payloads, see ``parcels``; with ``join`` goes what the framework has to say to its app.
            requests: roster id and payload of each.
            deadline_s: seconds from the call; whoever has not answered by then never does.

        Yields:
            Id and answer, as they come; an exception from a node that refuses or is gone.
        """
        ...


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Outcome:
    """A round that is verified and in the ledger.

    Attributes:
        model: what the mean makes of the model that was handed in, in its dtypes; empty after an evaluation.
        average: mean difference, float64.
        weight: sum of the participants' weights.
        metrics: weighted means by name; NaN where a participant's was not finite.
        participants: ids, in id order.
        record, receipt: of the ledger.
        stats: seconds (``…_s``) and bytes from the nodes (``…_bytes``) by phase.
    """

    model: list[npt.NDArray[Any]]
    average: Arrays
    weight: int
    metrics: dict[str, float]
    participants: tuple[str, ...]
    record: RoundRecord
    receipt: Receipt
    stats: dict[str, float]


class Coordinator:
    """The server, for any number of rounds of its home's task."""

    def __init__(self, home: ServerHome, *, phase_s: float = 60.0, train_s: float = 3600.0) -> None:
        """
        Args:
            home: identity, pins and ledger.
            phase_s: how long nodes have to answer in a phase.
            train_s: how long they have to train.
        """
        self._home = home
        self._phase_s, self._train_s = phase_s, train_s
        self._challenge = secrets.token_bytes(hello.CHALLENGE_BYTES)
        self._told: dict[tuple[str, str], bytes] = {}
        self.aborts = AbortJournal(home.path)

    def __repr__(self) -> str:
        return f"Coordinator({self._home.name!r}, task={self._home.task!r})"

    def challenge(self) -> bytes:
        """The payload that asks a node who it is."""
        return Parcel(parcels.HELLO, (hello.make_challenge(self._home.identity, self._challenge),)).to_bytes()

    def identify(self, answer: bytes | memoryview) -> str:
        """The roster id of the node that has answered the challenge.

        Raises:
            RemoteProtocolError: it has not signed this challenge, or is no member.
        """
        (message,) = Parcel.from_bytes(answer).expect(parcels.HELLO, 1)
        roster = self._home.trust.task(self._home.task).roster
        return hello.check_answer(message, self._challenge, self._home.identity.name, roster)

    def round(self, model: Floats, ask: Ask) -> Outcome:
        """One attempt at the task's next round: a verified mean of the nodes' differences from ``model``.

        Raises:
            SecureAggError: it came to nothing. The journal of aborts says so, and nothing else has changed.
        """
        return self._round(self._home.task, model, ask, trains=True)

    def evaluate(self, model: Floats, ask: Ask) -> Outcome:
        """One attempt at an evaluation: the verified means of the nodes' metrics, and nothing else.

        Raises:
            TrustError: no evaluation is pinned.
            SecureAggError: see ``round``.
        """
        return self._round(self._home.task + EVALUATION, model, ask, trains=False)

    # --- one attempt ------------------------------------------------------------------------------------------

    def _round(self, task: str, model: Floats, ask: Ask, *, trains: bool) -> Outcome:
        base = self._configure(task, model, trains=trains)
        with ExitStack() as stack:
            attempt: _Attempt | None = None
            try:
                config, setup, holders = stack.enter_context(self._home.staff(base))
                trust = self._home.trust
                aggregator = Aggregator(
                    self._home.identity, config, trust.cohort(task), operators=trust.operators, setup=setup
                )
                attempt = _Attempt(aggregator, ask, holders, self._phase_s)
                attempt.run(self._welcome(task), self._train_s)
                evidence, verified = attempt.result()
                receipt = self._home.ledger.append(evidence)
            except Exception as error:
                faults = attempt.aggregator.faults if attempt else ()
                self._give_up(base, error, faults)
                raise
            _log.info(
                "round %d of %r: the sum over %d of %d clients is verified and record %d of the ledger",
                config.round, task, len(evidence.participants), config.cohort_size, receipt.index,
            )  # fmt: skip
            self.aborts.keep(aggregator.faults)
            for name in attempt.deliver(receipt):
                self._told[task, name] = verified.record.result_model
        difference = verified.average[: len(model)] if trains else []
        return Outcome(
            model=apply(model, difference) if trains else [],
            average=difference,
            weight=verified.record.weight_sum,
            metrics=self._metrics(config, attempt.names, verified),
            participants=evidence.participants,
            record=verified.record,
            receipt=receipt,
            stats=attempt.stats,
        )

    def _configure(self, task: str, model: Floats, *, trains: bool) -> RoundConfig:
        home, trust = self._home, self._home.trust
        policy = trust.task(task).policy
        last = home.ledger.last(task)
        number = last.round + 1 if last else 0
        values = tuple(array.shape for array in model) if trains else ()
        return RoundConfig.create(
            task=task,
            round=number,
            attempt=self._attempt(task, number),
            policy=policy,
            cohort=trust.cohort(task),
            shapes=(*values, (MetricCodec(policy).size,)),
            start_model=last.result_model if last else NO_DIGEST,
            base_model=model_digest(model),
            previous_record=last.digest() if last else NO_DIGEST,
            operators=trust.operators,
            log_key=trust.log or b"",
            witnesses=trust.witnesses,
        )

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

    def _welcome(self, task: str) -> Callable[[str], tuple[bytes, bytes]]:
        """Evidence and receipt of the last result, for nodes that have not verified it in this run."""
        last = self._home.ledger.last(task)
        if last is None:
            return lambda name: (b"", b"")
        index = self._home.ledger.find(task, last.round)
        if index is None:
            raise LedgerDamaged(f"round {last.round} of task {task!r} is not where its record is")
        evidence = self._home.ledger.evidence(last).to_bytes()
        receipt = self._home.ledger.receipt(index).to_bytes()
        return lambda name: (b"", b"") if self._told.get((task, name)) == last.result_model else (evidence, receipt)

    def _give_up(self, config: RoundConfig, error: Exception, faults: Sequence[FaultProof]) -> None:
        abort = self.aborts.record(config, error)
        self.aborts.keep(faults)
        _log.error(
            "round %d of %r, attempt %d, came to nothing: %s: %s",
            config.round, config.task, config.attempt, abort.error, error,
        )  # fmt: skip

    def _metrics(
        self, config: RoundConfig, names: Mapping[str, tuple[str, ...]], verified: Verified
    ) -> dict[str, float]:
        given = {names.get(name, ()) for name in verified.commitments}
        if len(given) != 1:
            _log.warning("the clients' metrics have different names, so their means mean nothing: %s", sorted(given))
            return {}
        codec = MetricCodec(config.policy)
        return codec.decode(verified.average[-1], given.pop(), len(verified.commitments), verified.record.weight_sum)


class _Attempt:
    """One aggregator, and the nodes that answer it."""

    def __init__(self, aggregator: Aggregator, ask: Ask, holders: Mapping[str, OperatorRole], phase_s: float) -> None:
        self.aggregator = aggregator
        self.names: dict[str, tuple[str, ...]] = {}
        self.stats: dict[str, float] = {}
        self._ask, self._holders, self._phase_s = ask, holders, phase_s
        self._acceptances: dict[str, list[bytes]] = {}

    def run(self, welcome: Callable[[str], tuple[bytes, bytes]], train_s: float) -> None:
        """All phases."""
        requests = self.aggregator.start()
        while requests:
            phase = self.aggregator.state
            started = time.perf_counter()
            if self.aggregator.asks_operators:
                for name, refusal in ask_operators(self.aggregator, requests, self._holders).items():
                    _log.warning("operator %s has refused in phase %s: %s", name, phase, refusal)
            else:
                self._exchange(requests, phase, welcome, train_s)
            requests = self.aggregator.advance()
            self.stats[f"{phase}_s"] = time.perf_counter() - started

    def _exchange(
        self,
        requests: Sequence[Envelope],
        phase: str,
        welcome: Callable[[str], tuple[bytes, bytes]],
        train_s: float,
    ) -> None:
        joins = phase == ADVERTISE
        names = sorted(self.aggregator.awaited, key=str.encode)

        def payload(place: int, name: str) -> Payload:
            def make() -> bytes:
                request = requests[place]
                if request.recipient != name:
                    raise LocalProtocolError("requests and recipients are in different orders", phase=phase)
                if joins:
                    return Parcel(parcels.JOIN, (request.data, *welcome(name))).to_bytes()
                return Parcel(parcels.STEP, (request.data, *self._acceptances.pop(name, ()))).to_bytes()

            return make

        kind, deadline = (parcels.JOIN, train_s) if joins else (parcels.STEP, self._phase_s)
        started, received, answered = time.perf_counter(), 0, 0
        for name, answer in self._ask(kind, [(name, payload(i, name)) for i, name in enumerate(names)], deadline):
            if isinstance(answer, Exception):
                _log.warning("%s is out of the round in phase %s: %s", name, phase, answer)
                continue
            received += len(answer)
            try:
                self._take(name, Parcel.from_bytes(answer), joins=joins)
                answered += 1
            except SecureAggError as error:
                error.phase = error.phase or phase
                _log.warning("an answer of %s was refused: %s: %s", name, type(error).__name__, error)
            if not self.aggregator.awaited:
                break
        self.stats[f"{phase}_bytes"] = float(received)
        _log.info(
            "round %d of %r, phase %s: %d of %d clients in %.2f s, %d bytes",
            self.aggregator.config.round, self.aggregator.config.task, phase,
            answered, len(names), time.perf_counter() - started, received,
        )  # fmt: skip

    def _take(self, name: str, parcel: Parcel, *, joins: bool) -> None:
        """Hand one answer to the aggregator, and a client's letters to the operators that they are for."""
        limit = header_limit(self.aggregator.config.cohort_size)
        if joins:
            response, names, *letters = parcel.expect(parcels.JOINED, 2, parcels.MAX_PARTS)
        else:
            (response,), names, letters = parcel.expect(parcels.ANSWER, 1), b"", []
        sender = peek(response, limit).sender
        if sender != name:
            raise UnknownSender(f"{name!r} has sent a message of {sender!r}", culprit=name)
        if joins:
            self.names[name] = decode(MetricNames, names, _MAX_NAMES, phase=ADVERTISE, culprit=name).names
            self._relay(name, letters)
        for receipt in self.aggregator.receive(response):
            self._acceptances.setdefault(name, []).append(receipt.data)

    def _relay(self, name: str, letters: Sequence[bytes | memoryview]) -> None:
        """Letters are sealed to their operators; a refusal is the operator's to report."""
        limit = header_limit(self.aggregator.config.cohort_size)
        envelopes = [Envelope(peek(letter, limit).recipient, bytes(letter)) for letter in letters]
        if not envelopes:
            return
        with ThreadPoolExecutor(len(envelopes)) as pool:
            for answer in pool.map(lambda envelope: ask_operator(self._holders, envelope), envelopes):
                if isinstance(answer, bytes):
                    self._acceptances.setdefault(name, []).append(answer)
                else:
                    _log.warning("an operator has not accepted a share of %s: %s", name, answer or "it is gone")

    def result(self) -> tuple[Evidence, Verified]:
        """Evidence, and what it proves."""
        if self.aggregator.evidence is None or self.aggregator.verified is None:
            raise LocalProtocolError("the round ended without a result", phase=self.aggregator.state)
        return self.aggregator.evidence, self.aggregator.verified

    def deliver(self, receipt: Receipt) -> Iterator[str]:
        """Send the result to every member of the cohort; yields those that have verified it.

        The round stands without them: whoever does not answer gets the result again before its next round.
        """
        started = time.perf_counter()
        encoded = receipt.to_bytes()
        record = self.result()[1].record.digest()
        results = self.aggregator.results()
        names = list(self.aggregator.cohort)

        def payload(place: int, name: str) -> Payload:
            return lambda: Parcel(
                parcels.RESULT, (results[place].data, encoded, *self._acceptances.pop(name, ()))
            ).to_bytes()

        verified = 0
        for name, answer in self._ask(
            parcels.RESULT, [(name, payload(i, name)) for i, name in enumerate(names)], self._phase_s
        ):
            try:
                if isinstance(answer, Exception):
                    raise answer
                (confirmed,) = Parcel.from_bytes(answer).expect(parcels.VERIFIED, 1)
                if bytes(confirmed) != record:
                    raise MalformedMessage("it has verified another record", phase=RESULT, culprit=name)
            except Exception as error:
                _log.warning("%s has not confirmed the result: %s", name, error)
                continue
            verified += 1
            yield name
        self.stats["result_s"] = time.perf_counter() - started
        _log.info(
            "round %d of %r: %d of %d clients have verified the result in %.2f s",
            self.aggregator.config.round, self.aggregator.config.task, verified, len(names), self.stats["result_s"],
        )  # fmt: skip
