"""A round whose operators' traffic is counted, and one whose steps are metered for memory besides."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, TypeVar

import numpy as np
import numpy.typing as npt

from benchmarks.core.memory import give_back, growth
from benchmarks.federation import Federation
from benchmarks.rounds.cells import AGGREGATOR, CLIENT, VERIFY
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import RESULT, Envelope, Incoming, peek
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import Verified
from secure_agg.roles.driver import finished
from secure_agg.roles.keyholder import KeyHolder
from secure_agg.roles.operators import OperatorRole
from secure_agg.roles.shareholder import ShareHolder
from secure_agg.roles.stopwatch import Stopwatch

_T = TypeVar("_T")
_HEADER: Final = 1 << 20
_METERED: Final = 3
"""Steps of one kind that are metered for memory: reading a process's memory takes milliseconds."""


class CountedRound(LocalRound):
    """A round that also counts what operators beside the aggregator send and receive, and times clients from outside.

    Attributes:
        operated: bytes by ``(phase, "sent" or "received")``, of all operators together.
        answered: seconds by client and phase, with all checks of what it was sent, without the operators it writes to.
    """

    def __init__(
        self, federation: Federation, updates: npt.NDArray[np.float32], silent: Mapping[str, str] | None = None
    ) -> None:
        """``updates``: one a row; ``silent``: as for any round."""
        rows = {name: [row] for name, row in zip(federation.names, updates, strict=True)}
        holders = federation.holders or federation.share_holders()
        self.operated: Counter[tuple[str, str]] = Counter()
        self.answered: dict[tuple[str, str], float] = defaultdict(float)
        counted: dict[str, OperatorRole] = {
            name: _KINDS[holder.role](holder, self.operated) for name, holder in holders.items()
        }
        super().__init__(federation.aggregator(), federation.clients(), rows, silent=silent, holders=counted)

    def answer(self, request: Envelope, phase: str) -> bytes | None:
        """As in any round."""
        elsewhere = self._operators_s()
        start = time.perf_counter()
        response = super().answer(request, phase)
        spent = time.perf_counter() - start - (self._operators_s() - elsewhere)
        self.answered[request.recipient, phase] += spent
        return response

    def _operators_s(self) -> float:
        return sum(sum(holder.timings.seconds.values()) for holder in self.holders.values())

    def deliver(self) -> dict[str, Verified]:
        """As in any round, to the first client that gets a result: the averages of all would fill the memory."""
        envelope = next(item for item in self.aggregator.results() if item.recipient not in self.silent)
        name = envelope.recipient
        self.traffic.result[name, RESULT] += len(envelope.data)
        start = time.perf_counter()
        verified = self.clients[name].finish(envelope.data)
        self.answered[name, VERIFY] += time.perf_counter() - start
        return {name: verified}


class _Counted:
    """An operator whose messages are counted."""

    role: ClassVar[str]

    def __init__(self, holder: OperatorRole, counts: Counter[tuple[str, str]]) -> None:
        self._holder, self._counts = holder, counts
        self.timings: Stopwatch = holder.timings

    def receive(self, request: bytes, /) -> bytes:
        answer = self._holder.receive(request)
        phase = peek(request, _HEADER).phase
        self._counts[phase, "received"] += len(request)
        self._counts[phase, "sent"] += len(answer)
        return answer


class _CountedKeyHolder(_Counted):
    role = KeyHolder.role


class _CountedShareHolder(_Counted):
    role = ShareHolder.role


_KINDS: Final = {kind.role: kind for kind in (_CountedKeyHolder, _CountedShareHolder)}


class MeteredRound(CountedRound):
    """A round whose first few steps of every kind are metered for memory, which slows it.

    What grows by while operators work at once counts as all of theirs, in equal parts. A client's step that hands
    letters to operators includes what these keep of them.

    Attributes:
        peaks: bytes by which the process grew at most during one step, by role and phase.
    """

    def __init__(
        self, federation: Federation, updates: npt.NDArray[np.float32], silent: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(federation, updates, silent)
        self.peaks: dict[tuple[str, str], float] = {}
        self._metered: Counter[tuple[str, str]] = Counter()
        self.aggregator = _MeteredAggregator(federation, self)
        give_back()

    def meter(self, role: str, phase: str, step: Callable[[], _T], among: int = 1) -> _T:
        """Run a step of ``among`` parties at once."""
        kind = role, phase
        self._metered[kind] += 1
        if self._metered[kind] > _METERED:
            return step()
        results: list[_T] = []
        grown = growth(lambda: results.append(step())) / among
        self.peaks[kind] = max(self.peaks.get(kind, 0.0), grown)
        return results[0]

    def answer(self, request: Envelope, phase: str) -> bytes | None:
        """As in any round."""
        return self.meter(CLIENT, phase, lambda: super(MeteredRound, self).answer(request, phase))

    def run(self) -> Evidence:
        """As in any round."""
        requests = self.aggregator.start()
        while requests:
            self.exchange(requests)
            requests = self.aggregator.advance()
        return finished(self.aggregator).evidence

    def exchange(self, requests: Sequence[Envelope]) -> None:
        """As in any round."""
        if not self.aggregator.asks_operators or not requests:
            super().exchange(requests)
            return
        role = next(iter(self.holders.values())).role
        self.meter(role, self.aggregator.state, lambda: super(MeteredRound, self).exchange(requests), len(requests))

    def deliver(self) -> dict[str, Verified]:
        """As in any round that is counted."""
        return self.meter(CLIENT, VERIFY, super().deliver)


class _MeteredAggregator(Aggregator):
    """The aggregator, with the round's meter on its steps but those that only collect operators' answers."""

    def __init__(self, federation: Federation, meter: MeteredRound) -> None:
        super().__init__(
            federation.operator,
            federation.config,
            federation.cohort,
            operators=federation.trust.operators,
            setup=federation.setup,
        )
        self._meter = meter

    def receive(self, data: Incoming) -> list[Envelope]:
        if self.asks_operators:
            return super().receive(data)
        return self._meter.meter(AGGREGATOR, self.state, lambda: super(_MeteredAggregator, self).receive(data))

    def advance(self) -> Sequence[Envelope]:
        return self._meter.meter(AGGREGATOR, self.state, super().advance)
