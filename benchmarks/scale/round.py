"""One whole round with a meter at every role: processor seconds, bytes, and the memory that its calls allocate.

All roles are the real ones and run in this process, one after the other; a meter is read before and after each call, so
that what the driver does is nobody's. Memory is what Python and numpy allocate (``tracemalloc``); what TenSEAL and GMP
allocate themselves does not show.
"""

from __future__ import annotations

import functools
import statistics
import threading
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

from benchmarks.federation import OPERATOR, Federation, client, update
from secure_agg.backends.masking.rules import MASKED_INPUT
from secure_agg.local.rounds import LocalRound
from secure_agg.planning.prediction import AGGREGATOR, CLIENT
from secure_agg.protocol.messages import ADVERTISE, Envelope
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.client.client import Client
from secure_agg.roles.operators import OperatorRole


@dataclass
class Meter:
    """Reads processor time and, where it is asked to, allocated memory around the calls of each party.

    Attributes:
        memory: whether memory is read; that takes several times as long.
        seconds: by party.
        peak: bytes by party: what it held before a call, and what the call allocated on top.
        traffic: bytes in and out by party.
    """

    memory: bool
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    peak: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    traffic: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _held: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def __call__(self, party: str) -> Iterator[list[int]]:
        """Around one call, of one party at a time.

        Yields:
            To which the sizes of what the call returns to be sent are added: it is not held any longer.
        """
        sent: list[int] = []
        with self._lock:
            before = 0
            if self.memory:
                tracemalloc.reset_peak()
                before, _ = tracemalloc.get_traced_memory()
            start = time.process_time()
            try:
                yield sent
            finally:
                self.seconds[party] += time.process_time() - start
                if self.memory:
                    after, highest = tracemalloc.get_traced_memory()
                    self.peak[party] = max(self.peak[party], self._held[party] + highest - before)
                    self._held[party] += after - before - sum(sent)


class Metered:
    """A role whose calls are metered; whatever else is asked of it, the role itself answers."""

    def __init__(self, party: str, make: Callable[[], Any], meter: Meter) -> None:
        self._party, self._meter = party, meter
        with meter(party):
            self._role = make()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._role, name)
        return functools.partial(self._call, found) if name in _CALLS else found

    def _call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        received = sum(len(item) for item in arguments if isinstance(item, bytes))
        with self._meter(self._party) as sent:
            if self._meter.memory:  # a buffer of its own, as from a network, that is held as long as the role holds it
                arguments = tuple(_copy(item) if isinstance(item, bytes) else item for item in arguments)
            answer = method(*arguments, **options)
            del arguments
            if isinstance(answer, Sequence) and not isinstance(answer, bytes):
                answer = list(answer)  # requests that are made later would not be metered
                sent += [len(item.data) for item in answer]
            elif isinstance(answer, bytes):
                sent.append(len(answer))
        self._meter.traffic[self._party] += received + sum(sent)
        return answer

    def results(self) -> Iterator[Envelope]:
        """An aggregator's, one at a time: each is as large as the model."""
        with self._meter(self._party):
            results = iter(self._role.results())
        while True:
            with self._meter(self._party) as sent:
                result = next(results, None)
                sent.append(len(result.data) if result else 0)
            if result is None:
                return
            yield result


def _copy(data: bytes) -> bytes:
    return b"".join((data[:0], memoryview(data)))


_CALLS: Final = ("start", "advance", "join", "receive", "finish")


@dataclass(frozen=True)
class Measured:
    """A round, by role: figures of one party, the median where there are several.

    Attributes:
        seconds: of processor time.
        memory: bytes at most, above what was there before the round; empty where it was not asked for.
        sent, received: bytes of a client, mean.
        operator: bytes to and from one operator, mean; 0 where there is none.
    """

    seconds: Mapping[str, float]
    memory: Mapping[str, float]
    sent: float
    received: float
    operator: float


def measure(federation: Federation, *, lost: int = 0, memory: bool = False) -> Measured:
    """One whole round; every party gets the result and checks it.

    Args:
        federation: fresh: key holders open one round.
        lost: clients that fall silent when their input is awaited, or at once where clients speak once.
        memory: read the memory too. The seconds are then of no use.
    """
    backend = federation.config.policy.backend
    parameters = federation.config.layout.values
    operators: Mapping[str, OperatorRole] = federation.share_holders() or federation.holders
    silent = dict.fromkeys(federation.names[:lost], ADVERTISE if backend == "additive" else MASKED_INPUT)
    updates, names = federation.updates(update(parameters)), federation.names
    if memory:
        tracemalloc.start()
    try:
        meter = Meter(memory)
        local = LocalRound(
            cast(Aggregator, Metered(OPERATOR, federation.aggregator, meter)),
            {
                name: cast(Client, Metered(name, functools.partial(client, name, federation.trust), meter))
                for name in names
            },
            updates,
            silent=silent,
            holders={
                name: cast(OperatorRole, Metered(name, functools.partial(_same, one), meter))
                for name, one in operators.items()
            },
        )
        local.run()
        local.deliver()
    finally:
        tracemalloc.stop()
    role = next((one.role for one in operators.values()), "")
    parties = {CLIENT: federation.names[lost:], AGGREGATOR: (OPERATOR,)} | ({role: tuple(operators)} if role else {})

    def middle(figures: Mapping[str, float]) -> dict[str, float]:
        return {kind: statistics.median(figures[name] for name in names) for kind, names in parties.items()}

    answered = [name for name in federation.names if name not in silent]
    return Measured(
        seconds=middle(meter.seconds),
        memory=middle(meter.peak) if memory else {},
        sent=_total(local.traffic.upload, answered),
        received=_total(local.traffic.download, answered) + _total(local.traffic.result, answered),
        operator=statistics.fmean(meter.traffic[name] for name in operators) if operators else 0.0,
    )


def _same(operator: OperatorRole) -> OperatorRole:
    return operator


def _total(traffic: Mapping[tuple[str, str], int], names: Collection[str]) -> float:
    """Mean bytes of these clients, all phases together."""
    return sum(size for (name, _), size in traffic.items() if name in names) / len(names)
