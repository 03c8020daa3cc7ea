"""One role behind a port: mutual TLS, one message at a time, and typed errors back.

Whoever connects has to show the certificate of a card that this operator was given; everybody else is refused by TLS,
and takes no peer's place until then: see ``entrance``.
The role's messages are signed and checked by the role all the same: a connection's peer may only carry them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from secure_agg import extras
from secure_agg.errors import ConfigError, MalformedMessage, SecureAggError
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import encode, peek
from secure_agg.transport.channel import (
    CALLS,
    DEFAULT_LIMIT,
    FAILURE_KEY,
    FOLLOW,
    PING,
    RECEIVE,
    SERVICE,
    Pong,
    check_address,
    check_limit,
    grpc,
    server_options,
)
from secure_agg.transport.credentials import OperatorCard, OperatorKeys
from secure_agg.transport.entrance import Entrance
from secure_agg.transport.failure import Failure, one_line

GRACE_S: Final = 10.0
"""How long a message that is being answered has when the server is told to stop."""
_MAX_SHOWN_HEADER: Final = 1 << 20

_log = logging.getLogger("secure_agg.transport")


class Role(Protocol):
    """A role that is asked: ``ShareHolder``, ``KeyHolder``, or any other of this shape."""

    def receive(self, request: bytes, /) -> bytes:
        """Answer a message, or raise a ``SecureAggError``."""


class FollowingRole(Role, Protocol):
    """A role that goes from epoch to epoch of its task, see ``transport.following``."""

    def follow(self, request: bytes, /) -> bytes:
        """Answer a ``Following`` with a ``Where``, or raise a ``SecureAggError``."""


class OperatorServer:
    """A role, listening. All methods belong to one event loop.

    The role works in a thread of its own, on one message after the other, so that it needs no locks and the event
    loop stays live: pings are answered, and connections probed, while it works. A caller that gives up does not stop
    it: what was begun is finished, and its answer dropped.
    """

    def __init__(
        self,
        role: Role,
        keys: OperatorKeys,
        peers: Iterable[OperatorCard],
        operators: Roster,
        *,
        limit: int = DEFAULT_LIMIT,
    ) -> None:
        """
        Args:
            role: what answers.
            keys: this operator's.
            peers: cards of those who may connect.
            operators: what is pinned; every card, also this operator's own, is checked against it.
            limit: most bytes of a message and of an answer. A larger message is refused before it is taken in.

        Raises:
            ConfigError: nobody may connect, a peer is named twice, or the limit is out of range.
            RemoteProtocolError: a card is not its operator's.
        """
        extras.require("operators")
        keys.card().check(operators)
        self._peers: dict[bytes, str] = {}
        for card in peers:
            card.check(operators)
            if card.name in self._peers.values():
                raise ConfigError(f"{card.name!r} has two cards")
            self._peers[card.pem.strip()] = card.name
        if not self._peers:
            raise ConfigError("an operator without peers answers nobody")
        self._role, self._keys, self._limit = role, keys, check_limit(limit)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="operator")
        self._server: Any = None
        self._entrance: Entrance | None = None
        self._calls: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"OperatorServer({self._keys.name!r}, {self._role!r})"

    async def start(self, address: str) -> str:
        """Listen.

        Args:
            address: ``HOST:PORT``; port 0 takes a free one.

        Returns:
            The address with the port that it is.

        Raises:
            ConfigError: no such address, or its port is in use; or the process may open too few files.
        """
        host, _, port = check_address(address).rpartition(":")
        entrance = Entrance(len(self._peers))
        calls = CALLS * len(self._peers)
        server = grpc.aio.server(options=server_options(self._limit), maximum_concurrent_rpcs=calls)
        methods = {RECEIVE: self._receive, PING: self._ping, FOLLOW: self._follow}
        # A caller sends one message. As a stream it is taken in after its sender is known, and not before.
        handlers = {name: grpc.stream_unary_rpc_method_handler(method) for name, method in methods.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        pinned = b"\n".join(self._peers)
        tls = grpc.ssl_server_credentials([self._keys.tls_pair()], root_certificates=pinned, require_client_auth=True)
        server.add_secure_port(entrance.inner, tls)
        await server.start()
        try:
            bound = await entrance.open(host.strip("[]"), int(port))
        except OSError as error:
            await server.stop(None)
            await entrance.close()
            raise ConfigError(f"{address} can't be listened on: in use, or not an address of this machine") from error
        self._server, self._entrance = server, entrance
        _log.info("%s listens on %s:%d for %s", self._keys.name, host, bound, ", ".join(sorted(self._peers.values())))
        return f"{host}:{bound}"

    async def stop(self, grace: float = GRACE_S) -> None:
        """Take no more messages; the one that is being answered has ``grace`` seconds for its answer to get out."""
        if self._server is not None and self._entrance is not None:
            self._entrance.shut()
            await self._server.stop(grace)
            await self._entrance.close()
        self._worker.shutdown(wait=False, cancel_futures=True)
        _log.info("%s has stopped", self._keys.name)

    def _peer(self, context: Any) -> str | None:
        """Who is at the other end. TLS has let in only those whose certificates are pinned: this says which."""
        shown = context.auth_context().get("x509_pem_cert", [b""])[0]
        return self._peers.get(shown.strip())

    async def _ping(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        await self._named(context)
        return encode(Pong(self._keys.name))

    async def _receive(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return await self._admitted(self._role.receive, requests, context)

    async def _follow(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        def refuse(_: bytes, /) -> bytes:
            raise ConfigError("this operator follows no epochs: it serves what was pinned when it was started")

        return await self._admitted(getattr(self._role, "follow", refuse), requests, context)

    async def _admitted(self, answer: Callable[[bytes], bytes], requests: AsyncIterator[bytes], context: Any) -> bytes:
        peer = await self._named(context)
        if self._calls[peer] >= CALLS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"limit exceeded: {CALLS} calls of one peer")
        self._calls[peer] += 1
        try:
            return await self._answer(answer, peer, await self._only(requests, context), context)
        finally:
            self._calls[peer] -= 1

    @staticmethod
    async def _only(requests: AsyncIterator[bytes], context: Any) -> bytes:
        """The message of a call; its sender has said that there are no more."""
        found: bytes | None = None
        async for request in requests:
            if found is not None:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a call has one message")
            found = request
        if found is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a call has one message")
        return found or b""

    async def _answer(self, work: Callable[[bytes], bytes], peer: str, request: bytes, context: Any) -> bytes:
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self._worker, work, request)
        except SecureAggError as error:
            failure = Failure.of(error)
            _log.warning("a message from %s was refused: %s: %s", peer, failure.kind, one_line(str(error)))
            await context.abort(grpc.StatusCode.ABORTED, "refused", ((FAILURE_KEY, failure.to_bytes()),))
        except Exception:
            _log.exception("a message from %s was not answered", peer)
            await context.abort(grpc.StatusCode.INTERNAL, "the operator has failed; its own log says why")
        if len(answer) > self._limit:
            _log.error("an answer to %s has %d bytes, above the limit of %d", peer, len(answer), self._limit)
            await context.abort(grpc.StatusCode.INTERNAL, f"the answer has {len(answer)} bytes, above the limit")
        seconds = time.perf_counter() - started
        _log.info("%s from %s: %d bytes in, %d out, %.3f s", _phase(answer), peer, len(request), len(answer), seconds)
        return answer

    async def _named(self, context: Any) -> str:
        peer = self._peer(context)
        if peer is None:
            _log.error("a peer with an unknown certificate came through TLS: %s", context.peer())
            peer = str(await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown certificate"))  # raises
        elif self._entrance is not None:
            self._entrance.recognise(context.peer(), peer)
        return peer


def _phase(answer: bytes) -> str:
    """The phase that an answer's header names; for the log, so nothing is made of one that has none."""
    try:
        return repr(peek(answer, _MAX_SHOWN_HEADER).phase)
    except MalformedMessage:
        return "a message"


async def serve(
    server: OperatorServer,
    address: str,
    ready: Callable[[str], None],
    *,
    until_eof: bool = False,
) -> None:
    """Listen until SIGTERM or SIGINT, then stop in good order. For the main thread of a process.

    A role that is still at work after ``GRACE_S`` is let finish; the process ends when it does.

    Args:
        server: not started yet.
        address: see ``OperatorServer.start``.
        ready: called with the bound address once messages are taken.
        until_eof: end also when standard input does: with the process that started this one, however that ends.

    Raises:
        ConfigError: the address can't be listened on.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    bound = await server.start(address)
    try:
        ready(bound)
        if until_eof:
            threading.Thread(target=_watch_input, args=(loop, stopping), daemon=True).start()
        await stopping.wait()
    finally:
        await server.stop()


def _watch_input(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    """Wait for the end of standard input; then see to it that the process ends, whatever the role is doing."""
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 4096):  # not through sys.stdin: its lock must be free at exit
            pass
    with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending already
        loop.call_soon_threadsafe(stopping.set)
    time.sleep(GRACE_S + 1)
    os._exit(1)
