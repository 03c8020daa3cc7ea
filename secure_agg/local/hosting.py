"""Clients of a simulation that live with an executor's workers, a part of them with each.

The client that works there is the real one. Every answer brings its attempt store along, as bytes, so that a worker
that is lost loses no client: another one takes it up by ``Client.resume`` over that store, as a client does whose own
process has ended. What was under way is then asked again, and nothing of it had left.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.errors import WorkerLost
from secure_agg.executing import IN_PROCESS, Executor, Guest
from secure_agg.executing.pool import TRIES
from secure_agg.protocol.codec import Encoded
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import Envelope, Incoming, Received
from secure_agg.roles.auditor import Verified
from secure_agg.roles.client.client import Client
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.stopwatch import Stopwatch
from secure_agg.roles.trust import Trust

Update = Sequence[npt.NDArray[Any]]

_LONG: Final = 1 << 16


@dataclass(frozen=True)
class _Told:
    """What a call of a client has come to.

    Attributes:
        answer: what the client has said; long ones as ``uint8``, which is handed over without a copy.
        outbox: letters, once.
        store: the attempt store's pages: secrets of the client.
        seconds: of its stopwatch, all so far.
        encoded: see ``Client``.
    """

    answer: Any = field(repr=False)
    outbox: tuple[Envelope, ...]
    store: bytes = field(repr=False)
    seconds: Mapping[str, float]
    encoded: Encoded | None


class _Seat:
    """A client where it works."""

    def __init__(self, name: str, secret: bytes, trust: Trust, store: bytes) -> None:
        self._store = AttemptStore.of_bytes(store) if store else AttemptStore()
        self._client = Client(Identity(name, secret), trust, store=self._store)

    def join(self, request: bytes, update: Update, weight: int, known: Mapping[str, bytes | None]) -> _Told:
        return self._told(self._client.join(request, update, weight, **known), letters=True)

    def resume(self, requests: Sequence[bytes], update: Update, weight: int) -> None:
        self._client.resume(requests, lambda: update, weight)

    def receive(self, request: bytes) -> _Told:
        return self._told(self._client.receive(request))

    def finish(self, result: Any) -> _Told:
        return self._told(self._client.finish(memoryview(result)))

    def _told(self, answer: Any, *, letters: bool = False) -> _Told:
        client = self._client
        if isinstance(answer, bytes) and len(answer) >= _LONG:
            answer = np.frombuffer(answer, dtype=np.uint8)
        outbox = client.outbox if letters else ()
        return _Told(answer, outbox, self._store.to_bytes(), dict(client.timings.seconds), client.encoded)


class HostedClient:
    """A client that lives with a worker: what ``LocalRound`` asks of a ``Client``.

    Attributes:
        identity, encoded, outbox, timings: see ``Client``.
    """

    def __init__(
        self, executor: Executor, identity: Identity, trust: Trust, requests: _Requests, pages: dict[str, bytes]
    ) -> None:
        """Use ``hosted``."""
        self.identity = identity
        self.encoded: Encoded | None = None
        self.outbox: tuple[Envelope, ...] = ()
        self.timings = Stopwatch(time.perf_counter)
        self._executor, self._trust = executor, trust
        self._guest: Guest | None = None
        self._pages = pages
        self._requests = requests
        self._answered: list[tuple[int, int]] = []
        self._brought: tuple[Update, int] | None = None

    def __repr__(self) -> str:
        return f"HostedClient({self.identity.name!r})"

    def join(self, request: bytes, update: Update, weight: int = 1, **known: bytes | None) -> bytes | memoryview:
        """See ``Client.join``."""
        self._brought = list(update), weight
        told = self._do("join", request, list(update), weight, known)
        self._answered.append(self._requests.keep(request))
        self.outbox = told.outbox
        return _bytes(told.answer)

    def receive(self, request: bytes) -> bytes | memoryview | None:
        """See ``Client.receive``."""
        told = self._do("receive", request)
        self._answered.append(self._requests.keep(request))
        return None if told.answer is None else _bytes(told.answer)

    def finish(self, result: Incoming) -> Verified:
        """See ``Client.finish``."""
        data = result.data if isinstance(result, Received) else result
        found: Verified = self._do("finish", np.frombuffer(data, dtype=np.uint8)).answer
        self.leave()
        return found

    def leave(self) -> None:
        """Let go of the client."""
        if self._guest is not None:
            self._guest.leave()
        self._guest, self._brought = None, None

    def _do(self, method: str, *arguments: Any) -> _Told:
        for left in reversed(range(TRIES + 1)):
            try:
                # Where workers are lost again and again it is done here: they cost time and no round.
                told: _Told = self._present(self._executor if left else IN_PROCESS).call(method, *arguments)
                break
            except WorkerLost:
                self._guest = None
        self._pages[self.identity.name], self.encoded = told.store, told.encoded
        self.timings.seconds.update(told.seconds)
        return told

    def _present(self, executor: Executor) -> Guest:
        """The client where it is; another one in its place if that worker is gone."""
        if self._guest is None:
            name, store = self.identity.name, self._pages.get(self.identity.name, b"")
            guest = executor.host(_Seat, name, self.identity.secret(), self._trust, store)
            # A store alone is no attempt: it may be of an earlier draw, whose bonds hold in this one.
            if self._answered and self._brought is not None:
                guest.call("resume", [self._requests.get(*place) for place in self._answered], *self._brought)
            self._guest = guest
        return self._guest


class _Requests:
    """What clients have answered, on disk: requests grow with the cohort, and are needed only if a worker is lost.

    They are what an aggregator sends, and no secret; the file has no name.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as this object lives
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()

    def keep(self, request: bytes) -> tuple[int, int]:
        """Keep one; where it is, and its length."""
        with self._lock:
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(request)
        return place, len(request)

    def get(self, place: int, length: int) -> bytes:
        """One that was kept."""
        with self._lock:
            self._file.seek(place)
            return self._file.read(length)


def _bytes(answer: Any) -> bytes | memoryview:
    return answer if isinstance(answer, bytes) else memoryview(answer)


@contextmanager
def hosted(
    executor: Executor, trust: Trust, members: Mapping[str, Identity], pages: dict[str, bytes] | None = None
) -> Iterator[Mapping[str, HostedClient]]:
    """Clients with the executor's workers, by id, for one round. None is started before it is asked something; in the
    end the workers let go of those that are left.

    Args:
        executor: whose workers may hold the clients' secrets.
        trust: what they have pinned.
        members: their identities, whose secrets go to the workers.
        pages: of the clients' attempt stores by id, which are begun from and brought up to date: what a client is bound
            to in one draw of a round it is bound to in the next. By default all begin anew.
    """
    requests, kept = _Requests(), {} if pages is None else pages
    clients = {name: HostedClient(executor, identity, trust, requests, kept) for name, identity in members.items()}
    try:
        yield clients
    finally:
        for client in clients.values():
            client.leave()
