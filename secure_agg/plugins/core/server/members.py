"""What the server has heard of its task's members: who answers, how far each has come, and what it was shown of what it
has missed.

A node that was away verifies each result that it has missed, in order, like the last one.
"""

from __future__ import annotations

import bisect
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from secure_agg.errors import MalformedMessage, SecureAggError, StoreError
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.hello import Introductions
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.phases import Ask, Late, Payload, one_line
from secure_agg.plugins.core.server.history import Entry, History, entry
from secure_agg.plugins.homes.chain import Known, encode_arrays
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.epoch import RESTART
from secure_agg.protocol.evidence import RoundRecord
from secure_agg.protocol.identity import Roster, in_id_order

_log = logging.getLogger("secure_agg.plugins")


class Members:
    """Of one run."""

    def __init__(
        self,
        home: ServerHome,
        history: History,
        rosters: Callable[[], Iterator[Roster]],
        phase_s: Callable[[], float],
    ) -> None:
        """
        Args:
            home: the server's.
            history: of the task that trains.
            rosters: see ``Introductions``.
            phase_s: how long nodes have to answer a payload.
        """
        self._home, self._history, self._phase_s = home, history, phase_s
        self._introductions = Introductions(home.identity, rosters)
        self._known: dict[str, Known] = {}
        self._told: dict[tuple[str, str], bytes] = {}

    # --- who they are -----------------------------------------------------------------------------------------

    def challenge(self) -> bytes:
        """The payload that asks a node who it is."""
        return Parcel(parcels.HELLO, (self._introductions.challenge(),)).to_bytes()

    def identify(self, answer: bytes | memoryview) -> str:
        """The roster id of the node that has answered the challenge; how far it has come is noted.

        Raises:
            RemoteProtocolError: see ``Introductions.identify``.
        """
        message, *known = Parcel.from_bytes(answer).expect(parcels.HELLO, 1, 2)
        name = self._introductions.identify(message)
        self._heard(name, known)
        return name

    def surroundings(self, names: Iterable[str]) -> bytes:
        """See ``Introductions.surroundings``."""
        return self._introductions.surroundings(names)

    # --- how far they have come -------------------------------------------------------------------------------

    def _heard(self, name: str, parts: Sequence[bytes | memoryview]) -> None:
        """Note how far a node says it has come; nothing where it says nothing."""
        self._known.pop(name, None)
        if parts:
            self._known[name] = Known.from_bytes(parts[0])

    def took(self, name: str, record: RoundRecord) -> None:
        """Note that a node that was in this round has verified its result."""
        self._known[name] = Known(len(self._history.results_up_to(record)), b"")

    def is_up_to_date(self, name: str, last: RoundRecord) -> bool:
        """Whether a node needs no results any more."""
        known = self._known.get(name)
        return known is not None and known.rounds == len(self._history.results_up_to(last))

    def has_model(self, name: str, digest: bytes) -> bool:
        """Whether a node has a model on its own disk: it has verified all results, and they have led to this one."""
        last = self._home.ledger.last(self._home.task)
        return last is not None and self.is_up_to_date(name, last) and self._history.model == digest

    def accepted(self, task: str, name: str, record: RoundRecord) -> None:
        """Note that a node has verified the result of a round, in which it need not have been."""
        self._told[task, name] = record.result_model

    def welcome(self, task: str, last: Entry | None) -> Callable[[str], tuple[bytes, bytes]]:
        """Evidence and receipt of the last result, for nodes that have not verified it in this run."""
        if last is None:
            return lambda name: (b"", b"")
        record, evidence, receipt = last.record, last.evidence.to_bytes(), last.receipt.to_bytes()

        def knows(name: str) -> bool:
            if task == self._home.task and self._home.checks_model:
                return self.is_up_to_date(name, record)
            return self._told.get((task, name)) == record.result_model

        return lambda name: (b"", b"") if knows(name) else (evidence, receipt)

    # --- what they have missed --------------------------------------------------------------------------------

    def show_last(self, names: Sequence[str], last: Entry, ask: Ask) -> None:
        """Where nodes take any model, show the last result to whom it has not reached since this server began."""
        task, model = self._home.task, last.record.result_model
        late = [name for name in names if self._told.get((task, name)) != model]
        payload = Payload(Parcel(parcels.LEARN, (last.evidence.to_bytes(), last.receipt.to_bytes())).to_bytes)
        for name, answer in ask(parcels.LEARN, [(name, payload) for name in late], self._phase_s()):
            if not isinstance(answer, Exception):
                self._told[task, name] = model

    def teach(self, names: Iterable[str], ask: Ask, *, joins: bool) -> None:
        """Show nodes the results of the task that trains that they have missed; nothing where they take any model.

        Args:
            names: of the cohort.
            ask: reaches the nodes.
            joins: a round of the task that trains follows: the last result goes with the request to join.
        """
        last = self._home.ledger.last(self._home.task)
        if last is None or not self._home.checks_model:
            return
        behind = [name for name in names if not self.is_up_to_date(name, last)]
        if not behind:
            return
        for name, answer in _answers(
            ask, parcels.HELLO, [(name, Payload(self.challenge)) for name in behind], self._phase_s()
        ):
            try:
                self.identify(answer)
            except SecureAggError as error:
                _log.warning("%s does not say how far it has come: %s", name, one_line(error))
        results = self._history.results_up_to(last)
        begins = self._trainings(results)
        for number, index in enumerate(results):
            begun = begins.get(number)
            pupils = [
                name
                for name in behind
                if (known := self._known.get(name)) is not None
                and max(known.rounds, 0) <= number
                and (not joins or number < len(results) - 1 or (begun is not None and known.model != begun))
            ]
            if pupils:
                self._show(entry(self._home.ledger, index), pupils, begun, ask)

    def _trainings(self, results: Sequence[int]) -> dict[int, bytes]:
        """The results that models of their own were the beginning of: the first, and the first of each new training."""
        ledger = self._home.ledger
        found = {0: entry(ledger, results[0]).evidence.config.base_model}
        for index in ledger.epochs(self._home.task):
            body = ledger.epoch(index)[1].says
            number = bisect.bisect(results, index)
            if body.mode == RESTART and number < len(results):
                found[number] = body.base_model
        return found

    def _show(self, missed: Entry, pupils: Sequence[str], begun: bytes | None, ask: Ask) -> None:
        """``begun``: digest of the model that a training has begun with, with the first result that it has led to."""
        parts = (missed.evidence.to_bytes(), missed.receipt.to_bytes())

        def payload(name: str) -> Payload:
            first = (begun,) if begun is not None and self._known[name].model != begun else ()
            return Payload(
                lambda: Parcel(parcels.LEARN, (*parts, *(p for d in first for p in self._start(d)))).to_bytes()
            )

        requests = [(name, payload(name)) for name in pupils]
        left = set(pupils)
        for name, answer in _answers(ask, parcels.LEARN, requests, self._phase_s()):
            try:
                self._heard(name, Parcel.from_bytes(answer).expect(parcels.KNOWN, 0, 1))
                left.discard(name)
            except MalformedMessage as error:
                _log.warning("%s does not say what it has taken in: %s", name, one_line(error))
        for name in left:  # whoever has not taken this one in can't take in the next
            self._known.pop(name, None)
        _log.info(
            "%d nodes have been shown round %d, which they had missed", len(pupils) - len(left), missed.record.round
        )

    def _start(self, digest: bytes) -> tuple[bytes, bytes]:
        with self._home.locked():
            _, start = self._home.models()
            if start.key is None or start.facts()["digest"] != digest.hex():
                start = self._home.training(digest)
            if start.key is None:
                raise StoreError(f"{self._home.path} has no longer the model that the task has started from")
            return encode_arrays(start.arrays("model"))


def _answers(
    ask: Ask, kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float
) -> Iterator[tuple[str, bytes | memoryview]]:
    """The first answer of each who was asked and gives one."""
    pending = {name for name, _ in requests}
    for name, answer in ask(kind, requests, deadline_s) if requests else ():
        if name not in pending:
            continue
        pending.discard(name)
        if isinstance(answer, Exception):
            _log.warning("%s has not answered a %r: %s", name, kind, one_line(answer))
        else:
            yield name, answer
        if not pending:
            return
    for name in in_id_order(pending) if requests else ():
        _log.warning("%s has not answered a %r: %s", name, kind, Late(deadline_s))
