"""The process: a port, TLS, the tasks' rounds, and what ends them.

The port's door is ``transport.entrance``: whoever opens connections and sends nothing, or a request line byte by byte,
has few places and some seconds; members have places of their own. What passes it comes to uvicorn over a socket in a
folder of this process's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from secure_agg import extras
from secure_agg.errors import ConfigError
from secure_agg.fl.layers import Layers
from secure_agg.fl.model_files import read_model
from secure_agg.plugins.homes import kept, tenants
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.codec import model_digest
from secure_agg.service import wire
from secure_agg.service.certificate import Certificate, given_certificate, own_certificate, server_context
from secure_agg.service.epochs.desk import Desk
from secure_agg.service.gate import Gate, Strangers
from secure_agg.service.interface.app import Connection, Interface, Served
from secure_agg.service.interface.bodies import STALL_S
from secure_agg.service.monitor import Monitor
from secure_agg.service.post import Post
from secure_agg.service.rounds import Rounds, Timing
from secure_agg.transport.entrance import STRANGERS, Entrance

if TYPE_CHECKING:
    import uvicorn

GRACE_S: Final = 3
"""Seconds that requests have to end when the service is told to."""
_KEEP_ALIVE_S: Final = 86400
"""Members stay connected while they train; who is none has some seconds, see ``transport.entrance``."""
TLS_BUFFER: Final = 1 << 16
"""Bytes that asyncio keeps for reading of each TLS connection, for as long as it lasts. Its own default is four times
as many, which is most of what a member costs that only waits.
"""
_HEAD: Final = 1 << 14
"""Most bytes of a request's head."""
_TOO_LONG: Final = 431
_LOOK_S: Final = 0.25

_log = logging.getLogger("secure_agg.service")
_http_log = logging.getLogger("secure_agg.service.http")
_http_log.setLevel(logging.ERROR)  # a line for everything that is no HTTP would be a line for each packet of a stranger


@dataclass(frozen=True)
class Asked:
    """What a service is to do.

    Attributes:
        homes: folders of the servers' homes, one a task.
        listen: ``HOST:PORT``; port 0 for a free one.
        monitor: where metrics and health are, without TLS: ``HOST:PORT``; None for nowhere.
        model: file of the model that a task begins with, where its home has none yet; for one home only.
        certificate, key: files in PEM; None for the home's own.
        timing: of all tasks.
        end_s: how many seconds after all tasks have their results it is over; None for never. Who was away hears of the
            last result meanwhile.
    """

    homes: Sequence[Path]
    listen: str
    monitor: str | None = None
    model: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timing: Timing = field(default_factory=Timing)
    end_s: float | None = None


@dataclass(frozen=True)
class Bound:
    """A service that answers.

    Attributes:
        address, monitor: where.
        fingerprint: SHA-256 of its TLS certificate, in hexadecimal.
        tasks: ids.
    """

    address: str
    monitor: str | None
    fingerprint: str
    tasks: tuple[str, ...]


@contextlib.contextmanager
def opened(asked: Asked) -> Iterator[list[ServerHome]]:
    """The homes of a service, which no other process uses meanwhile, with a model each.

    Raises:
        ConfigError: one is no home or in use, two are of one task, or a model is missing or not the pinned one.
    """
    if not asked.homes or (asked.model is not None and len(asked.homes) > 1):
        raise ConfigError("name the homes of the tasks by --home; --model is of a single one")
    if (asked.certificate is None) != (asked.key is None):
        raise ConfigError("--certificate and --key go together")
    if asked.end_s is not None and asked.timing.rounds is None:
        raise ConfigError("--end-seconds is from the last of --rounds N results on: say how many")
    with ExitStack() as stack:
        homes = [stack.enter_context(ServerHome.open(path)) for path in asked.homes]
        for home in homes:
            stack.callback(tenants.hold(home))
        if len({home.task for home in homes}) < len(homes):
            raise ConfigError("two of these homes are of one task: its rounds can't be led twice")
        if asked.model is not None:
            begin(homes[0], asked.model)
        yield homes


def begin(home: ServerHome, path: Path) -> None:
    """Keep the model in a file as the one that a task begins with; nothing where it has begun.

    Raises:
        ConfigError: it is not the one that is pinned, or the home has another.
    """
    model = read_model(path)
    digest = model_digest(Layers.of(model).floats(model))
    if home.ledger.last(home.task) is not None:
        return
    if home.start_model not in (None, digest):
        raise ConfigError(
            f"{path} is not the model that is pinned for task {home.task!r}: its digest is {digest.hex()}"
        )
    found = kept.kept(home)
    if found is not None and model_digest(Layers.of(found).floats(found)) != digest:
        raise ConfigError(f"task {home.task!r} begins with another model already: {home.model_path} has it")
    kept.keep_first(home, model)


async def serve(asked: Asked, homes: Sequence[ServerHome], ready: Callable[[Bound], None]) -> None:
    """Serve until SIGTERM or SIGINT, or as long as ``end_s`` says.

    Args:
        asked: what.
        homes: from ``opened``.
        ready: called once requests are answered.

    Raises:
        ConfigError: an address is not this machine's or in use, or a certificate or a model is unfit.
    """
    extras.require("service")
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if asked.certificate is not None and asked.key is not None:
        certificate = given_certificate(asked.certificate, asked.key)
    else:
        certificate = own_certificate(homes[0])
    monitor, strangers = Monitor(), Strangers()
    tasks: dict[str, Served] = {}
    leading: list[Rounds] = []
    for home in homes:
        post = Post(loop, asked.timing.away_s)
        rounds = Rounds(home, post, monitor, asked.timing)
        gate = Gate(home.identity, home.task, lambda rounds=rounds: rounds.rosters, strangers)  # type: ignore[misc]
        tasks[wire.place(home.task)] = Served(gate, post, rounds, Desk(home))
        leading.append(rounds)
    members = sum(len(rounds.rosters[0]) for rounds in leading)
    # All may come at once, each by a connection that looks at the certificate and one that goes on.
    entrance = Entrance(members, strangers=max(STRANGERS, 2 * members))
    interface = Interface(tasks, certificate.der, monitor, entrance.recognise, entrance.whence)
    inner = inner_server(interface.app(), entrance.inner.removeprefix("unix:"), certificate)
    watched = _monitor(interface, monitor, asked.monitor)
    running = [asyncio.ensure_future(server._serve()) for server in (inner, *watched)]
    try:
        await started(inner, *watched)
        host, port = wire.address(asked.listen)
        try:
            port = await entrance.open(host, port)
        except OSError as error:
            raise ConfigError(f"{asked.listen} can't be listened on: {error.strerror or error}") from None
        for rounds in leading:
            rounds.start()
        where = _bound(watched[0]) if watched else None
        ready(Bound(wire.shown(host, port), where, certificate.fingerprint, tuple(home.task for home in homes)))
        over: list[asyncio.Future[Any]] = [asyncio.ensure_future(stopped.wait())]
        if asked.end_s is not None:
            over.append(asyncio.ensure_future(_done(leading, asked.end_s)))
        await asyncio.wait([*over, *running], return_when=asyncio.FIRST_COMPLETED)
        for waiting in over:
            waiting.cancel()
    finally:
        entrance.shut()
        for served in tasks.values():
            served.post.close()
        for server in (inner, *watched):
            server.should_exit = True
        await asyncio.gather(*running, return_exceptions=True)
        await entrance.close()
        for rounds in leading:
            if rounds.is_alive():
                await asyncio.to_thread(rounds.join, STALL_S)


async def _done(leading: Sequence[Rounds], end_s: float) -> None:
    """Wait until all tasks have their results, and so much longer."""
    while not all(rounds.done.is_set() for rounds in leading):
        await asyncio.sleep(_LOOK_S)
    _log.info("all rounds are made: the service ends in %g s", end_s)
    await asyncio.sleep(end_s)


def inner_server(app: Any, path: str, certificate: Certificate) -> uvicorn.Server:
    """What answers requests behind the entrance, over a socket's path."""
    import uvicorn

    # It is the same for all connections of a process, and no parameter of anything.
    SSLProtocol.max_size = min(SSLProtocol.max_size, TLS_BUFFER)
    config = uvicorn.Config(_Bounded(app), uds=path, http=_protocol(), **_COMMON)
    config.load()
    config.ssl = server_context(certificate)
    return uvicorn.Server(config)


_COMMON: Final[dict[str, Any]] = {
    "ws": "none",
    "lifespan": "off",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "date_header": False,
    "proxy_headers": False,
    "timeout_keep_alive": _KEEP_ALIVE_S,
    "timeout_graceful_shutdown": GRACE_S,
    "h11_max_incomplete_event_size": _HEAD,
}


def _protocol() -> type[Any]:
    """uvicorn's HTTP protocol, whose requests know their connection. h11 bounds a request's head; others don't."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            self.logger = _http_log

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            name = transport.get_extra_info("peername")
            self.known = Connection(name if isinstance(name, str) else "")
            self.app_state = {**self.app_state, "connection": self.known}

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self.known.lost()

    return Protocol


class _Bounded:
    """Refuses heads that are too long, and ends answers that are not read."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import Response

        async def sending(message: Any) -> None:
            async with asyncio.timeout(STALL_S):
                await send(message)

        # h11 counts what is not whole yet: a head that comes at once would be as long as what is read at once.
        head = sum(map(len, (scope["raw_path"], scope["query_string"], *chain.from_iterable(scope["headers"]))))
        app = self._app if head <= _HEAD else Response(status_code=_TOO_LONG, headers={"connection": "close"})
        with contextlib.suppress(TimeoutError):
            await app(scope, receive, sending)


def _monitor(interface: Interface, monitor: Monitor, address: str | None) -> list[uvicorn.Server]:
    """Metrics and health for this machine, or whoever else is let to the port."""
    if address is None:
        return []
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    async def metrics(request: Request) -> Response:
        return Response(monitor.text(), media_type="text/plain; version=0.0.4")

    async def live(request: Request) -> Response:
        return PlainTextResponse("live\n")

    async def ready(request: Request) -> Response:
        return PlainTextResponse("ready\n") if interface.is_ready else PlainTextResponse("not ready\n", 503)

    routes = [Route("/metrics", metrics), Route("/health/live", live), Route("/health/ready", ready)]
    host, port = wire.address(address)
    return [uvicorn.Server(uvicorn.Config(Starlette(routes=routes), host=host, port=port, http="h11", **_COMMON))]


async def started(*servers: uvicorn.Server) -> None:
    """Wait until these servers answer."""
    while not all(server.started or server.should_exit for server in servers):
        await asyncio.sleep(0.01)


def _bound(server: uvicorn.Server) -> str:
    host, port, *_ = server.servers[0].sockets[0].getsockname()
    return wire.shown(host, port)
