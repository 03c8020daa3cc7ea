"""A meter at every role: what each call of a party takes, sends and holds.

Roles are wrapped, and nothing of them or of their driver is changed, so that what the driver does is nobody's.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.measure import memory
from secure_agg.protocol.messages import RECEIPT, RESULT, Envelope, peek

_HEADER: Final = 1 << 30
_LONG_S: Final = 0.02
"""Calls that take less have hardly kept helper processes busy, and looking for those takes some milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of one party.

    Attributes:
        role, party: of whom; ``client``, ``aggregator`` or an operator's role, and its id.
        phase: of the round.
        method: of the role.
        wall, processor: seconds by the clock, and of processor time in this process and its helpers.
        received: bytes of the message that was handed over.
        grown, kept: where memory is metered, bytes by which resident memory grew at most, and of those that are still
            there after the call and not on their way to somebody else.
    """

    role: str
    party: str
    phase: str
    method: str
    wall: float
    processor: float
    received: int = 0
    grown: int = 0
    kept: int = 0


Beside = Callable[[str, str, str, bytes], None]
"""Called with role, party, phase and message before a call: what is compared with it. It is nobody's time."""


@dataclass
class Meter:
    """What all parties of a round have been seen doing.

    Attributes:
        memory: read resident memory too, which takes several times as long: the seconds are then of no use.
        at_once: how many operators compute at a time. One, unless they need one another: then what is read while they
            do is shared out in equal parts.
        beside: see ``Beside``.
        helpers: whether calls may have helper processes, which are looked for after each.
        calls: in the order in which they ended.
        sent: bytes by role, party and phase of the message.
        aside: seconds that ``beside`` took.
    """

    memory: bool = False
    at_once: int = 1
    beside: Beside | None = None
    helpers: bool = True
    calls: list[Call] = field(default_factory=list)
    sent: dict[tuple[str, str, str], int] = field(default_factory=lambda: defaultdict(int))
    aside: float = 0.0
    _helpers_s: float = 0.0
    _known: set[Any] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _looking: threading.Lock = field(default_factory=threading.Lock)

    def run(
        self,
        role: str,
        party: str,
        phase: str,
        method: str,
        operation: Callable[..., Any],
        message: bytes | None = None,
        sizes: Callable[[Any], int] = lambda answer: len(answer) if isinstance(answer, bytes) else 0,
    ) -> Any:
        """Run one call.

        Args:
            message: handed over as its first argument; None where there is none.
            sizes: bytes of what the call returns that go to others.
        """
        among = self.at_once if role not in ("client", "aggregator") else 1
        with ExitStack() as stack:
            if among == 1:
                stack.enter_context(self._lock)
            if self.beside is not None and message is not None:
                start = time.perf_counter()
                self.beside(role, party, phase, message)
                self.aside += time.perf_counter() - start
            before = 0
            if self.memory:
                memory.trim()
                before = memory.reset_peak()
            # A buffer of its own, as from a network, that is held as long as the role holds it.
            given = () if message is None else (_copy(message) if self.memory else message,)
            wall, processor = time.perf_counter(), time.process_time()
            answer = operation(*given)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            del given
            grown = kept = 0
            if self.memory:
                grown = max(0, memory.peak() - before)
                memory.trim()
                kept = memory.status_bytes("VmRSS") - before - sizes(answer)
            helpers_s, started = self._helpers() if self.helpers and wall >= _LONG_S else (0.0, 0)
            self.calls.append(
                Call(
                    role=role,
                    party=party,
                    phase=phase,
                    method=method,
                    wall=wall,
                    processor=processor / among + helpers_s,
                    received=len(message or b""),
                    grown=grown // among + started,
                    kept=kept // among,
                )
            )
        return answer

    def _helpers(self) -> tuple[float, int]:
        """What helper processes have computed since this was last asked, and the memory of new ones."""
        with self._looking:
            seconds, running = memory.children_seconds(), memory.children() if self.memory else set()
            new, self._known = running - self._known, self._known | running
            spent, self._helpers_s = seconds - self._helpers_s, seconds
        return max(0.0, spent), sum(memory.status_bytes("VmHWM", folder / "status") for folder in new)

    def start(self) -> None:
        """Helpers that run already count with what they do from now on."""
        self._helpers_s = memory.children_seconds()
        self._known = memory.children() if self.memory else set()


def _copy(data: bytes) -> bytes:
    return b"".join((data[:0], memoryview(data)))  # bytes(data) would be the same object


class Metered:
    """A role whose calls are metered; whatever else is asked of it, the role itself answers."""

    def __init__(self, meter: Meter, role: str, party: str, metered: Any) -> None:
        self._meter, self._kind, self._party, self._metered = meter, role, party, metered

    def __getattr__(self, name: str) -> Any:
        return getattr(self._metered, name)

    def _sent(self, phase: str, size: int) -> None:
        self._meter.sent[self._kind, self._party, phase] += size


class MeteredOperator(Metered):
    """A key holder or a share holder."""

    def receive(self, request: bytes, /) -> bytes:
        """As the role."""
        phase = peek(request, _HEADER).phase
        answer: bytes = self._meter.run(self._kind, self._party, phase, "receive", self._metered.receive, request)
        self._sent(phase, len(answer))
        return answer


class MeteredClient(Metered):
    """A client. A receipt belongs to the phase whose message it acknowledges."""

    def __init__(self, meter: Meter, role: str, party: str, metered: Any) -> None:
        super().__init__(meter, role, party, metered)
        self._phase = ""

    def join(self, request: bytes, *arguments: Any, **options: Any) -> bytes:
        """As the role; letters to operators count as sent here."""

        def joining(given: bytes) -> bytes:
            answer: bytes = self._metered.join(given, *arguments, **options)
            return answer

        answer: bytes = self._answered("join", joining, request)
        return answer

    def receive(self, request: bytes) -> bytes | None:
        """As the role."""
        answer: bytes | None = self._answered("receive", self._metered.receive, request)
        return answer

    def finish(self, result: bytes, *arguments: Any, **options: Any) -> Any:
        """As the role."""
        operation = functools.partial(_swapped, self._metered.finish, arguments, options)
        return self._meter.run(self._kind, self._party, RESULT, "finish", operation, result)

    def _answered(self, method: str, operation: Callable[[bytes], Any], request: bytes) -> Any:
        phase = peek(request, _HEADER).phase
        self._phase = self._phase if phase == RECEIPT else phase
        answer = self._meter.run(self._kind, self._party, self._phase, method, operation, request)
        self._sent(self._phase, len(answer or b""))
        if method == "join":
            self._sent(self._phase, sum(len(letter.data) for letter in self._metered.outbox))
        return answer


def _swapped(method: Callable[..., Any], arguments: Any, options: Any, message: bytes) -> Any:
    return method(message, *arguments, **options)


class MeteredAggregator(Metered):
    """The aggregator. What it does between two phases counts to the one that ends; a message to the phase that it is
    of.
    """

    def again(self) -> Sequence[Envelope]:
        """As the role, which begins by it."""
        return self._led("again", self._metered.phases[0].name, self._metered.again)

    def advance(self) -> Sequence[Envelope]:
        """As the role."""
        return self._led("advance", self._metered.state, self._metered.advance)

    def receive(self, data: bytes) -> Sequence[Envelope]:
        """As the role."""
        return self._led("receive", self._metered.state, self._metered.receive, data)

    def results(self) -> Iterator[Envelope]:
        """One at a time: each is as large as the model."""
        results = iter(self._metered.results())
        while True:
            (found,) = self._led("results", RESULT, lambda: [next(results, None)])
            if found is None:
                return
            yield found

    def _led(self, method: str, phase: str, operation: Callable[..., Any], message: bytes | None = None) -> list[Any]:
        def listed(*given: bytes) -> list[Any]:
            return list(operation(*given))  # requests that are made later would not be metered

        answer: list[Any] = self._meter.run(
            self._kind,
            self._party,
            phase,
            method,
            listed,
            message,
            lambda envelopes: sum(len(item.data) for item in envelopes if item),
        )
        phases = {item.name for item in self._metered.phases} | {RESULT}
        for item in answer:
            if item is not None:
                of = peek(item.data, _HEADER).phase
                self._sent(of if of in phases else phase, len(item.data))
        return answer
