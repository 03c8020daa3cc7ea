"""One attempt at a round, as the server leads it: which payload goes to whom in each phase, and what comes back.

How payloads get to the nodes is the framework's: an ``Ask`` sends one to each and yields the answers as they come. Who
does not answer by the deadline, refuses, or sends something else has dropped out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from secure_agg import backends
from secure_agg.backends.contract import PhaseKind, letter_limit
from secure_agg.errors import (
    LocalProtocolError,
    MalformedMessage,
    RemoteProtocolError,
    SecureAggError,
    UnknownSender,
)
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.metrics import CLIPPED, MAX_METRICS
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.training import MetricNames
from secure_agg.protocol.identity import in_id_order
from secure_agg.protocol.messages import ADVERTISE, RESULT, Envelope, Received, decode, header_limit, peek
from secure_agg.protocol.norm.wire import response_header_limit
from secure_agg.protocol.refusal import refusing
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.driver import Answer, Finished, drive, finished
from secure_agg.roles.operators import OperatorRole
from secure_agg.tlog.receipt import Receipt

_MAX_NAMES: Final = 1 << 16
_MAX_LOGGED: Final = 1000

_log = logging.getLogger("secure_agg.plugins")


@dataclass(frozen=True)
class Payload:
    """What a node is sent. It may be as large as the model: it is made when it is sent, and not kept.

    Attributes:
        make: makes it.
        answer: most bytes of what the node can have to answer. Whoever carries more stops there: a node that is
            asked for a signature has no gigabytes to say.
    """

    make: Callable[[], bytes]
    answer: int = parcels.SMALL

    def __call__(self) -> bytes:
        return self.make()


def answer_limit(payload: Callable[[], bytes]) -> int:
    """Most bytes of the answer to a payload; of one that says nothing about it, those of an answer without a vector."""
    return payload.answer if isinstance(payload, Payload) else parcels.SMALL


class Ask(Protocol):
    """Sends payloads to nodes, and takes what they answer."""

    def __call__(
        self, kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float
    ) -> Iterator[tuple[str, bytes | memoryview | Exception]]:
        """Ask nodes, all at once as far as the framework goes.

        Args:
            kind: of the payloads, see ``parcels``; with ``join`` goes what the framework has to say to its app.
            requests: roster id and payload of each. What is longer than its ``answer`` is not taken in.
            deadline_s: seconds from the call; whoever has not answered by then never does.

        Yields:
            Id and answer, as they come; an exception from a node that refuses or is gone.
        """
        ...


class Refusal(RemoteProtocolError):
    """A node has refused a payload; its own log says why.

    Attributes:
        error: name of the error's type, as far as the node says it, else None. Nothing of the text leaves a node.
    """

    def __init__(self, message: str, error: str | None = None, *, culprit: str | None = None) -> None:
        super().__init__(message, culprit=culprit)
        self.error = error


class Late(RemoteProtocolError):
    """A node has not answered in time: it may be gone, or slow."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it did not answer within {seconds:.3g} s")


def refused_with(answer: Exception) -> str | None:
    """Name of the error that a node has refused with, None where it has not said one."""
    return answer.error if isinstance(answer, Refusal) else type(answer).__name__


def one_line(said: object) -> str:
    """What somebody else says, for a log: one line, in which nothing is hidden, and not without end."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(said)[:_MAX_LOGGED])


class Attempt:
    """One aggregator, and the nodes that answer it: the carrier of ``roles.driver`` through a framework.

    Attributes:
        aggregator: the role.
        phase: the last one that was begun.
        lost: what has become of clients that are not in the round any more, by id, in words.
        refused: clients that have refused to join, by the name of their error.
        names: of the metrics in each client's vector, by its id.
        stats: seconds (``…_s``) and bytes from the nodes (``…_bytes``) by phase.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        ask: Ask,
        holders: Mapping[str, OperatorRole],
        phase_s: Callable[[], float],
        train_s: float,
        welcome: Callable[[str], tuple[bytes, bytes]],
    ) -> None:
        """
        Args:
            aggregator: not started yet.
            ask: reaches the nodes.
            holders: the operators that the backend has beside the aggregator, by id.
            phase_s: how long nodes have to answer in the phase that begins now.
            train_s: how long they have to train.
            welcome: evidence and receipt of the task's last result for a node, empty where it needs none.
        """
        self.phase: str | None = None
        self.aggregator = aggregator
        self.lost: dict[str, str] = {}
        self.refused: dict[str, set[str]] = {}
        self.names: dict[str, tuple[str, ...]] = {}
        self.stats: dict[str, float] = {}
        self._ask, self._holders, self._welcome = ask, holders, welcome
        self._phase_s, self._train_s = phase_s, train_s
        self._acceptances: dict[str, list[bytes]] = {}
        self._began = 0.0

    def run(self) -> Finished:
        """All phases.

        Raises:
            SecureAggError: the round came to nothing.
        """
        finished = drive(self.aggregator, self, self._holders)
        self._close_phase()
        return finished

    @property
    def was_put_to_vote(self) -> bool:
        """Whether clients were asked for what may bind them to this very attempt; see ``Aggregator.is_binding``."""
        phases = self.aggregator.phases
        begun = next((place for place, phase in enumerate(phases) if phase.name == self.phase), -1)
        binding = PhaseKind.BEGIN if phases[0].kind is PhaseKind.BEGIN else PhaseKind.AGREE
        return any(phase.kind is binding for phase in phases[: begun + 1])

    def begin(self, phase: str) -> None:
        """The phase before it is over, and its closing too."""
        self._close_phase()
        self.phase, self._began = phase, time.perf_counter()

    def _close_phase(self) -> None:
        if self.phase is not None:
            self.stats[f"{self.phase}_s"] = time.perf_counter() - self._began

    def ask(self, phase: str, requests: Sequence[Envelope]) -> Iterator[Answer]:
        """Send each node its request, with what was signed for it meanwhile, and take in what they answer in time."""
        joins = phase == ADVERTISE
        names = in_id_order(self.aggregator.awaited)
        most = self._most_bytes(joins=joins)

        def payload(place: int, name: str) -> Payload:
            def make() -> bytes:
                request = requests[place]
                if request.recipient != name:
                    raise LocalProtocolError("requests and recipients are in different orders", phase=phase)
                if joins:
                    return Parcel(parcels.JOIN, (request.data, *self._welcome(name))).to_bytes()
                return Parcel(parcels.STEP, (request.data, *self._acceptances.get(name, ()))).to_bytes()

            return Payload(make, most)

        kind, deadline = (parcels.JOIN, self._train_s) if joins else (parcels.STEP, self._phase_s())
        received = 0
        asked = [(name, payload(i, name)) for i, name in enumerate(names)]
        for name, answer in self._answers(kind, asked, deadline):
            if isinstance(answer, Exception):
                self._lose(name, answer)
                continue
            received += len(answer)
            try:
                if len(answer) > most:
                    raise MalformedMessage(f"an answer of {len(answer)} bytes, above {most}", culprit=name)
                with refusing(phase, name):
                    parsed = self._parse(name, Parcel.from_bytes(answer), joins=joins)
            except SecureAggError as error:
                self.refuse(name, error)
            else:
                yield parsed
        self.stats[f"{phase}_bytes"] = float(received)
        _log.info(
            "round %d of %r, phase %s: %d of %d clients in %.2f s, %d bytes",
            self.aggregator.config.round, self.aggregator.config.task, phase,
            len(names) - len(self.aggregator.awaited), len(names), time.perf_counter() - self._began, received,
        )  # fmt: skip

    def give(self, client: str, receipt: bytes) -> None:
        """It goes with the next payload."""
        self._acceptances.setdefault(client, []).append(receipt)

    def refuse(self, client: str, error: SecureAggError) -> None:
        """The round goes on without it, if it can."""
        if self.phase == ADVERTISE:
            self.names.pop(client, None)
        error.phase = error.phase or self.phase
        self.lost[client] = f"its answer was refused: {type(error).__name__}"
        _log.warning("an answer of %s was refused: %s: %s", client, type(error).__name__, one_line(error))

    def miss(self, operator: str, error: SecureAggError) -> None:
        """The log says so."""
        _log.warning("operator %s has refused in phase %s: %s", operator, self.phase, one_line(error))

    def _lose(self, name: str, error: Exception) -> None:
        """A node has refused to answer, or is gone."""
        self.lost[name] = one_line(error)
        if kind := refused_with(error):
            self.refused.setdefault(kind, set()).add(name)
        _log.warning("%s is out of the round in phase %s: %s", name, self.phase, self.lost[name])

    def _most_bytes(self, *, joins: bool) -> int:
        """Most bytes of a client's answer in this phase, from the configuration."""
        most = parcels.FRAME + self.aggregator.response_limit
        if joins:
            config = self.aggregator.config
            shares = backends.load(config.policy.backend).shares
            letters = shares.seats(config.policy).count if shares else 0
            most += _MAX_NAMES + letters * (header_limit(config.cohort_size) + letter_limit(config))
        return most

    def _answers(
        self, kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float
    ) -> Iterator[tuple[str, bytes | memoryview | Exception]]:
        """What came of each who was asked: its first answer, or that it is late. When there is nobody left to wait for,
        a framework that has more to say is not listened to.
        """
        pending = {name for name, _ in requests}
        for name, answer in self._ask(kind, requests, deadline_s):
            if name in pending:
                pending.discard(name)
                yield name, answer
            else:
                _log.warning("an answer of %s to a %r was not awaited", one_line(name), kind)
            if not pending:
                return
        for name in in_id_order(pending):
            yield name, Late(deadline_s)

    def _parse(self, name: str, parcel: Parcel, *, joins: bool) -> Answer:
        """What a node's payload holds: a message of its own, and letters to operators with the first one."""
        limit = response_header_limit(self.aggregator.config)
        if joins:
            response, names, *letters = parcel.expect(parcels.JOINED, 2, parcels.MAX_PARTS)
        else:
            (response,), names, letters = parcel.expect(parcels.ANSWER, 1), b"", []
        received = Received.of(response, limit)
        if received.header.sender != name:
            raise UnknownSender(f"{name!r} has sent a message of {received.header.sender!r}", culprit=name)
        if joins:
            self.names[name] = _metric_names(names, name)
        return Answer(name, received, [Envelope(peek(letter, limit).recipient, bytes(letter)) for letter in letters])

    def deliver(self, receipt: Receipt) -> Iterator[str]:
        """Send the result to every member of the cohort; yields those that have verified it.

        The round stands without them: whoever does not answer gets the result again before its next round.
        """
        started = time.perf_counter()
        encoded = receipt.to_bytes()
        record = finished(self.aggregator).verified.record.digest()
        results = self.aggregator.results()
        names = list(self.aggregator.cohort)

        def payload(place: int, name: str) -> Payload:
            return Payload(
                lambda: Parcel(
                    parcels.RESULT, (results[place].data, encoded, *self._acceptances.get(name, ()))
                ).to_bytes()
            )

        verified = 0
        requests = [(name, payload(i, name)) for i, name in enumerate(names)]
        for name, answer in self._answers(parcels.RESULT, requests, self._phase_s()):
            try:
                if isinstance(answer, Exception):
                    raise answer
                (confirmed,) = Parcel.from_bytes(answer).expect(parcels.VERIFIED, 1)
                if bytes(confirmed) != record:
                    raise MalformedMessage("it has verified another record", phase=RESULT, culprit=name)
            except Exception as error:
                _log.warning("%s has not confirmed the result: %s", name, one_line(error))
                continue
            verified += 1
            yield name
        self.stats["result_s"] = time.perf_counter() - started
        _log.info(
            "round %d of %r: %d of %d clients have accepted the result in %.2f s",
            self.aggregator.config.round, self.aggregator.config.task, verified, len(names), self.stats["result_s"],
        )  # fmt: skip


def _metric_names(data: bytes | memoryview, culprit: str) -> tuple[str, ...]:
    names = decode(MetricNames, data, _MAX_NAMES, phase=ADVERTISE, culprit=culprit).names
    of_the_app = set(names) - {CLIPPED}  # which comes beside as many as an app may have
    if len(of_the_app) > MAX_METRICS or list(names) != sorted(set(names)) or not all(map(str.isprintable, names)):
        raise MalformedMessage("these are no names of metrics, in order", phase=ADVERTISE, culprit=culprit)
    return names
