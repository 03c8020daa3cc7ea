"""One attempt at a round with all roles in this process: the carrier that has no network.

Every role is the real one and every message is encoded, signed, decoded and checked. One process that runs all roles
pins nothing against its own operator: for protection from each other, run each role where its owner is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import numpy.typing as npt

from secure_agg.errors import NormRefused, SecureAggError, TaskSpent
from secure_agg.local import report
from secure_agg.local.hosting import HostedClient
from secure_agg.local.report import Traffic
from secure_agg.protocol.clipping import Clipping
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import ADVERTISE, RESULT, Envelope
from secure_agg.roles import driver
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import Verified
from secure_agg.roles.client.client import Client
from secure_agg.roles.driver import Answer, Finished
from secure_agg.roles.operators import OperatorRole

PHASES: Final = (
    *("advertise", "choose-peers", "share-keys", "confirm-edges", "masked-input"),
    *("screen", "dispute", "consistency", "unmask"),
)
"""All phases that a client can fall silent at, in order; a backend without one goes on to the next that it has."""

Update = Sequence[npt.NDArray[Any]]
_T = TypeVar("_T")

_AHEAD: Final = 2
"""Answers for each client that is asked at a time, which may wait to be taken."""


class LocalRound:
    """One attempt at one round with all roles in this process, one message at a time.

    The adversary tests, the benchmarks and ``aggregate`` drive rounds with it.

    Attributes:
        traffic: bytes that each client sent and received.
        refusals: what operators have answered with whom the round went on without, by id.
        refused: clients that stay out since their updates are longer than the norm bound.
        spent: clients that stay out since they have given their updates in an earlier draw.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        clients: Mapping[str, Client | HostedClient],
        updates: Mapping[str, Update],
        weights: Mapping[str, int] | None = None,
        silent: Mapping[str, str] | None = None,
        holders: Mapping[str, OperatorRole] | None = None,
        *,
        at_once: int = 1,
        bases: Mapping[str, bytes] | None = None,
    ) -> None:
        """
        Args:
            aggregator: not started yet.
            clients: by id; members of the cohort without a client never answer.
            updates: by id.
            weights: by id, default 1.
            silent: client id to the phase from which on it answers nothing.
            holders: key holders and share holders by id, for backends that have them. One without a role never answers.
            at_once: clients that are asked at a time: more than one is of use where workers hold them.
            bases: digest of the model that each has trained from, by id, where that is not the configuration's.
        """
        self._at_once, self._bases = at_once, bases or {}
        self.aggregator, self.clients, self.updates = aggregator, clients, updates
        self.weights, self.silent, self.holders = weights or {}, silent or {}, holders or {}
        self.traffic = Traffic()
        self.refusals: dict[str, SecureAggError] = {}
        self.refused: set[str] = set()
        self.spent: set[str] = set()

    # --- driving ----------------------------------------------------------------------------------------------

    def run(self) -> Evidence:
        """All phases.

        Returns:
            The evidence, checked by the aggregator.

        Raises:
            SecureAggError: whatever a role refuses; see ``secure_agg.errors``.
        """
        return self.finish().evidence

    def finish(self) -> Finished:
        """All phases, as ``run``; what has come of them, and what the aggregator has found that it proves."""
        return driver.drive(self.aggregator, self, self.holders)

    def exchange(self, requests: Sequence[Envelope]) -> None:
        """One phase: every client that still speaks answers its request, or the operators do."""
        driver.exchange(self.aggregator, requests, self, self.holders)

    def deliver(self) -> dict[str, Verified]:
        """Hand the result to every client that still speaks; each checks it against its own pins."""
        given = (
            envelope
            for envelope in self.aggregator.results()
            if (name := envelope.recipient) in self.clients and name not in {*self.silent, *self.refused, *self.spent}
        )
        verified = {}
        for envelope, found in self._in_order(lambda each: self.clients[each.recipient].finish(each.data), given):
            self.traffic.result[envelope.recipient, RESULT] += len(envelope.data)
            verified[envelope.recipient] = found
        return verified

    def _in_order(self, work: Callable[[Envelope], _T], items: Iterable[Envelope]) -> Iterator[tuple[Envelope, _T]]:
        """Each with ``work(item)``, in order: so many at once, and few ahead of whoever takes them:
        each may be as large as the model.
        """
        if self._at_once == 1:
            for item in items:
                yield item, work(item)
            return
        ahead: deque[tuple[Envelope, Future[_T]]] = deque()
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="clients") as threads:
            try:
                for item in items:
                    ahead.append((item, threads.submit(work, item)))
                    if len(ahead) > _AHEAD * self._at_once:
                        first, future = ahead.popleft()
                        yield first, future.result()
                while ahead:
                    first, future = ahead.popleft()
                    yield first, future.result()
            finally:
                for _, future in ahead:
                    future.cancel()

    # --- carrying, see ``roles.driver.Carrier`` -----------------------------------------------------------------

    def begin(self, phase: str) -> None:
        """Nothing has to be made ready in one process."""

    def ask(self, phase: str, requests: Sequence[Envelope]) -> Iterator[Answer]:
        """The answers of the clients that speak in this phase."""
        asked = [request for request in requests if self.speaks(request.recipient, phase)]
        for request, response in self._in_order(lambda request: self.answer(request, phase), asked):
            name = request.recipient
            if response is not None:
                letters = self.outbox(name) if phase == ADVERTISE else ()
                self.traffic.upload[name, phase] += len(response) + sum(len(letter.data) for letter in letters)
                yield Answer(name, response, letters)

    def give(self, client: str, receipt: bytes) -> None:
        """Receipts are delivered at once."""
        self.traffic.download[client, self.aggregator.state] += len(receipt)
        self.clients[client].receive(receipt)

    def refuse(self, client: str, error: SecureAggError) -> None:
        """Nobody is in the way here, so a response that is refused is this process's own fault."""
        raise error

    def miss(self, operator: str, error: SecureAggError) -> None:
        """Keep what it has refused with."""
        self.refusals[operator] = error

    # --- clients ------------------------------------------------------------------------------------------------

    def speaks(self, name: str, phase: str) -> bool:
        """Whether a client answers in a phase of the backend.

        A client that falls silent at a phase which the backend does not have does so at the next that it has.
        """
        if name not in self.clients or name in self.refused or name in self.spent:
            return False
        own = [item.name for item in self.aggregator.phases]
        first = self.silent.get(name)
        if first is not None and first not in own:
            first = next((item for item in PHASES[PHASES.index(first) :] if item in own), None)
        return first is None or (phase in own and own.index(phase) < own.index(first))

    def answer(self, request: Envelope, phase: str) -> bytes | memoryview | None:
        """Hand one request to its client."""
        client = self.clients[request.recipient]
        self.traffic.download[request.recipient, phase] += len(request.data)
        if phase != ADVERTISE:
            return client.receive(request.data)
        config = self.aggregator.config  # one process: the operator trained the clients from its models
        try:
            return client.join(
                request.data,
                self.updates[request.recipient],
                self.weights.get(request.recipient, 1),
                start_model=config.start_model,
                base_model=self._bases.get(request.recipient) or _shown(config.base_model),
                instructions=_shown(config.instructions),
            )
        except NormRefused:  # as the policy says: it stays out
            self.refused.add(request.recipient)
            return None
        except TaskSpent:
            if not config.draw:
                raise
            self.spent.add(request.recipient)
            return None

    def outbox(self, name: str) -> Sequence[Envelope]:
        """What a client that has just joined has for single operators."""
        return self.clients[name].outbox

    # --- what it has come to --------------------------------------------------------------------------------------

    def stats(self) -> dict[str, float]:
        """Seconds and bytes so far, flat: see ``report.stats``."""
        found = report.stats(self.aggregator, self.clients.values(), self.holders.values(), self.traffic)
        policy = self.aggregator.config.policy
        if policy.norm or policy.privacy:
            found["scaled_clients"], found["refused_clients"] = map(float, self.beyond_norm())
        return found

    def beyond_norm(self) -> tuple[int, int]:
        """How many updates were longer than the norm bound: those that were scaled, and those that stay out."""
        encoded = [client.encoded for client in self.clients.values() if client.encoded is not None]
        return sum(item.scale < 1 for item in encoded), len(self.refused)

    def clipping(self) -> Clipping:
        """What was clipped of all clients' updates together."""
        return report.clipping(self.clients.values())


def _shown(digest: bytes) -> bytes | None:
    """What a client says of a digest in the configuration, where the operator has given it what it was made of."""
    return None if digest == NO_DIGEST else digest
