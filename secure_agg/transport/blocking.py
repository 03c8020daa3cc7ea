"""Connections to operators for code that does not run in an event loop, such as ``rounds.LocalRound``.

The event loop runs in a thread of its own; any number of threads may ask at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import ClassVar

from secure_agg.protocol.messages import peek
from secure_agg.roles.epochs.following import Where
from secure_agg.roles.stopwatch import Stopwatch
from secure_agg.transport.client import Operators


class RemoteOperator:
    """An operator's process, of the same shape as the role in it: an ``OperatorRole``.

    Attributes:
        timings: seconds by phase from the request to its answer, the way there and back included.
    """

    role: ClassVar[str] = "operator"

    def __init__(self, name: str, operators: Operators, loop: asyncio.AbstractEventLoop) -> None:
        """Made by ``connected``."""
        self.name = name
        self.timings = Stopwatch(time.perf_counter)
        self._operators, self._loop = operators, loop

    def __repr__(self) -> str:
        return f"RemoteOperator({self.name!r})"

    def receive(self, request: bytes, /) -> bytes:
        """Send a message and wait for the answer.

        Raises:
            SecureAggError: see ``Operators.call``.
        """
        phase = peek(request, len(request)).phase
        with self.timings(phase):
            call = self._operators.call(self.name, request, phase=phase)
            return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def follow(self, task: str, steps: bytes = b"") -> Where:
        """Have the operator follow epochs of a task, see ``Operators.follow``; ``epochs.bring`` does it for all."""
        return asyncio.run_coroutine_threadsafe(self._operators.follow(self.name, task, steps), self._loop).result()


@contextlib.contextmanager
def connected(
    operators: Operators, timeout: float = 30.0, least: int | None = None
) -> Iterator[dict[str, RemoteOperator]]:
    """Connect, and hand out one role-like object for each operator; close the connections afterwards.

    Args:
        operators: not entered yet.
        timeout: seconds until all of them must have answered.
        least: how many are enough then; all by default. One that has not is asked all the same.

    Raises:
        OperatorLost, BadKey: see ``Operators.connect``.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="operators", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(operators.__aenter__(), loop).result()
        try:
            asyncio.run_coroutine_threadsafe(operators.connect(timeout, least), loop).result()
            yield {name: RemoteOperator(name, operators, loop) for name in operators.names}
        finally:
            asyncio.run_coroutine_threadsafe(operators.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
