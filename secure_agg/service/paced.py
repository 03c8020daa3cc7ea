"""A connection to a service whose answers are bounded, in bytes and in time, from the first byte of their head on.

A limit on the silence between two bytes holds nobody who sends one now and then: a head byte by byte, interim answers
or extensions of chunks without end. So everything that comes counts, beneath HTTP: there is room for what was asked
for and a head, and it has to come at some speed, from the request on. So has what is sent.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from secure_agg import extras
from secure_agg.errors import MalformedMessage
from secure_agg.service import wire

extras.require("service")

import httpcore  # noqa: E402  # after what is said where it is missing

CONNECT_S: Final = 10.0
ANSWER_S: Final = 60.0
"""Seconds that an answer may take beside what its bytes take at ``LEAST_RATE``; a poll is answered within 25."""
LEAST_RATE: Final = 1 << 14
"""Bytes a second, at least; also of what is sent."""
MOST_HEAD: Final = 1 << 17
"""Bytes of an answer that are not its body: its head, and what HTTP frames it in."""
_RECORD: Final = 1 << 14
"""Bytes that are sent at once: one record of TLS, which a single call takes or not."""


class Pace:
    """What the request under way, and its answer, may take."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._until = clock, math.inf
        self.begin(0)

    def begin(self, most: int, until: float = math.inf) -> None:
        """Another request.

        Args:
            most: bytes that the body of its answer may have.
            until: when to give up at the latest, by ``clock``.
        """
        self._room, self._until = most + MOST_HEAD, until
        self._sending = True
        self._restart()

    def _restart(self) -> None:
        self._ends, self._moved = self._clock() + ANSWER_S, 0

    def left_s(self, *, sending: bool) -> float:
        """Seconds that are left, 0 or less for none. What was sent gives an answer no more time."""
        if self._sending and not sending:
            self._restart()
        self._sending = sending
        return min(self._ends + self._moved / LEAST_RATE, self._until) - self._clock()

    def sent(self, count: int) -> None:
        """So many bytes are on their way."""
        self._moved += count

    def came(self, count: int) -> None:
        """So many bytes have come.

        Raises:
            MalformedMessage: more than there is room for.
        """
        self._moved, self._room = self._moved + count, self._room - count
        if self._room < 0:
            raise MalformedMessage("an answer is longer than what was asked for can be", phase=wire.REQUEST)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, pace: Pace) -> None:
        self._inner, self._pace = inner, pace

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = self._pace.left_s(sending=False)
        if left <= 0:
            raise httpcore.ReadTimeout("an answer comes too slowly")
        data = self._inner.read(max_bytes, min(left, math.inf if timeout is None else timeout))
        self._pace.came(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        for start in range(0, len(view), _RECORD):
            left = self._pace.left_s(sending=True)
            if left <= 0:
                raise httpcore.WriteTimeout("a request is taken too slowly")
            piece = bytes(view[start : start + _RECORD])
            self._inner.write(piece, min(left, math.inf if timeout is None else timeout))
            self._pace.sent(len(piece))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        # A handshake as a whole has the time that is given to it, see ``ssl.SSLSocket.do_handshake``.
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._pace)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Network(httpcore.NetworkBackend):
    def __init__(self, inner: httpcore.NetworkBackend, pace: Pace) -> None:
        self._inner, self._pace = inner, pace

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options), self._pace)


LOST: Final = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError)
"""What a connection ends with that may be better the next time."""
TIMEOUTS: Final = {"connect": CONNECT_S, "read": ANSWER_S, "write": ANSWER_S, "pool": ANSWER_S}


def connection(
    context: ssl.SSLContext, pace: Pace, options: Iterable[Any], inner: httpcore.NetworkBackend | None = None
) -> httpcore.ConnectionPool:
    """The way to a service: one connection, which stays open between requests.

    Args:
        context: of TLS.
        pace: of the request under way.
        options: of the socket.
        inner: opens connections; the system's by default.
    """
    return httpcore.ConnectionPool(
        ssl_context=context,
        max_connections=1,
        max_keepalive_connections=1,
        keepalive_expiry=None,
        http1=True,
        http2=False,
        socket_options=list(options),
        network_backend=_Network(inner or httpcore.SyncBackend(), pace),
    )
