"""Requests by path: what section 24 of docs/specification.md says, and nothing else.

Of a request everything is checked that can be before its body is read: who signs it, whether it is asked for, and how
long it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from secure_agg.errors import (
    BadSignature,
    MalformedMessage,
    SecureAggError,
    UnknownSender,
    WrongContext,
)
from secure_agg.service import wire
from secure_agg.service.epochs.desk import ACCEPTS, DECIDES, Desk
from secure_agg.service.gate import Admitted, Bucket, Gate
from secure_agg.service.interface.bodies import PIECE, body_of, length_of, made, pieces, small_body
from secure_agg.service.interface.refusals import kind_of, refusal
from secure_agg.service.monitor import Monitor
from secure_agg.service.post import Files, Post
from secure_agg.service.rounds import Handed

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

POLL_S: Final = 25.0
"""Seconds that a poll waits for something to answer."""
_AT_ONCE: Final = 4
"""Payloads that are made at once: each may be as large as the model."""
_ASKED_AT_ONCE: Final = 1
"""Requests about epochs that are worked on at once. A proposal may have thousands of keys, so a party that asks over
and over keeps others waiting who ask too, and no round.
"""
_LINES: Final = (5.0, 200)
"""Lines about refusals a second, in the long run and at once."""
_NO_BODY: Final = hashlib.sha256(b"").digest()

_Made = TypeVar("_Made")

_log = logging.getLogger("secure_agg.service")


class Leading(Protocol):
    """What requests see of whoever makes a task's rounds: see ``Rounds``."""

    @property
    def handed(self) -> Handed | None:
        """The model that the round under way is over, if members have it from here."""

    @property
    def is_well(self) -> bool:
        """Whether rounds can go on."""


@dataclass(frozen=True)
class Served:
    """One task, as requests see it."""

    gate: Gate
    post: Post
    rounds: Leading
    desk: Desk


class Interface:
    """The service's requests, by path. All of it belongs to one event loop."""

    def __init__(
        self,
        tasks: Mapping[str, Served],
        certificate: bytes,
        monitor: Monitor,
        recognise: Callable[[str, str], None],
        whence: Callable[[str], str] = lambda _: "",
    ) -> None:
        """
        Args:
            tasks: by their place, see ``wire.place``.
            certificate: that the server shows, in DER.
            monitor: counts.
            recognise: is told of each connection that a member's request has come over, by its name, and the member.
            whence: the address that a connection comes from, by its name.
        """
        self._whence, self._lines = whence, Bucket(*_LINES)
        self._tasks, self._certificate, self._monitor, self._recognise = tasks, certificate, monitor, recognise
        self._making, self._asked = asyncio.Semaphore(_AT_ONCE), asyncio.Semaphore(_ASKED_AT_ONCE)

    def app(self) -> Starlette:
        """The ASGI application."""
        from starlette.applications import Starlette
        from starlette.routing import Route

        def route(path: str, name: str, method: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
            return Route(path, self._answering(name, answer), methods=[method])

        made = Starlette(
            routes=[
                route("/v1/{task}/hello", "hello", "POST", self._hello),
                route("/v1/{task}/next", "next", "POST", self._next),
                route("/v1/{task}/answer/{item}", "answer", "POST", self._answer),
                route("/v1/{task}/refuse/{item}", "refuse", "POST", self._refuse),
                route("/v1/{task}/model", "model", "POST", self._model),
                route("/v1/{task}/epochs", "epochs", "POST", self._epochs),
                route("/v1/{task}/proposals", "proposals", "POST", self._proposals),
                route("/v1/{task}/proposal/{digest}", "proposal", "POST", self._proposal),
                route("/v1/{task}/propose", "propose", "POST", self._propose),
                route("/health", "health", "GET", self._health),
            ],
            exception_handlers={404: _nothing_here, 405: _nothing_here},
        )
        made.router.redirect_slashes = False  # a path with one more is none, and closes its connection
        return made

    def _answering(
        self, name: str, answer: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """With errors as statuses, counted."""
        from starlette.requests import ClientDisconnect
        from starlette.responses import Response

        async def answered(request: Request) -> Response:
            started = time.monotonic()
            try:
                response = await answer(request)
            except SecureAggError as error:
                self._monitor.turned_away(kind_of(error))
                response = refusal(error)
                # What refusals are made of is in the metrics; whoever asks for thousands fills no disk with lines.
                _log.log(
                    logging.DEBUG if self._lines.take() else logging.WARNING,
                    "a request was refused: %s, %d %s: %s", name, response.status_code, kind_of(error), error.args[0],
                    extra={"route": name, "status": response.status_code, "error": type(error).__name__},
                )  # fmt: skip
            except ClientDisconnect:
                response = Response(status_code=400)
            self._monitor.answered(name, response.status_code)
            _log.debug(
                "%s %d", name, response.status_code,
                extra={"route": name, "status": response.status_code, "seconds": time.monotonic() - started},
            )  # fmt: skip
            return response

        return answered

    # --- requests ---------------------------------------------------------------------------------------------

    async def _hello(self, request: Request) -> Response:
        from starlette.responses import Response

        served = self._served(request)
        body = await small_body(request, wire.NONCE_BYTES)
        if len(body) != wire.NONCE_BYTES:
            raise MalformedMessage(f"a nonce of {len(body)} bytes, not {wire.NONCE_BYTES}", phase=wire.GREETING)
        greeting = served.gate.greet(body, self._certificate, self._whence(_connection(request).name))
        return Response(greeting, media_type="application/octet-stream")

    async def _next(self, request: Request) -> Response:
        from starlette.responses import Response, StreamingResponse

        served = self._served(request)
        member, _ = self._admit(request, served, 0)
        item = await served.post.next(member.name, POLL_S, in_rounds=member.is_current)
        waiting = await asyncio.to_thread(served.desk.waiting)
        told = {wire.OPEN: str(waiting)} if waiting else {}
        if item is None:
            return Response(status_code=204, headers=told)
        async with self._making:
            file, size = await asyncio.to_thread(made, item)
        headers = {
            wire.ITEM: item.id,
            wire.LEFT: str(math.ceil(item.left_s)),
            "content-length": str(size),
            **told,
            **({wire.MODEL: item.model.hex()} if item.model is not None else {}),
        }
        return StreamingResponse(pieces(file), headers=headers, media_type="application/octet-stream")

    async def _model(self, request: Request) -> Response:
        from starlette.responses import StreamingResponse

        served = self._served(request)
        member, _ = self._admit(request, served, 0)
        if not member.is_current:  # whoever has left, or holds a key that was replaced, learns no model
            raise WrongContext("models are for members of the epoch in force", phase=wire.REQUEST)
        handed = served.rounds.handed
        if handed is None:
            raise WrongContext("no model is handed out", phase=wire.REQUEST)
        served.post.fetch_model(member.name)
        digest, head, elements = handed

        async def parts() -> AsyncIterator[bytes]:
            yield head
            view = memoryview(elements)
            for start in range(0, len(view), PIECE):
                yield bytes(view[start : start + PIECE])

        headers = {wire.MODEL: digest.hex(), "content-length": str(len(head) + len(elements))}
        return StreamingResponse(parts(), headers=headers, media_type="application/octet-stream")

    async def _answer(self, request: Request) -> Response:
        from starlette.responses import Response

        served = self._served(request)
        member, digest = self._admit(request, served, None)
        item = served.post.item(member.name, request.path_params["item"], in_rounds=member.is_current)
        file = await served.post.taking(member.name, body_of(request, item.limit, digest, item.left_s))
        try:
            item = served.post.item(member.name, item.id, in_rounds=member.is_current)  # it may be over by now
        except WrongContext:
            file.close()
            raise
        served.post.answer(item, file)
        return Response(status_code=204)

    async def _refuse(self, request: Request) -> Response:
        from starlette.responses import Response

        served = self._served(request)
        member, digest = self._admit(request, served, wire.MAX_REASON)
        item = served.post.item(member.name, request.path_params["item"], in_rounds=member.is_current)
        with await body_of(request, wire.MAX_REASON, digest) as file:
            said = wire.reason(file.read())
        served.post.answer(item, said)
        return Response(status_code=204)

    async def _epochs(self, request: Request) -> Response:
        served, _, _, body = await self._signed(request, wire.MAX_PLACE)
        with body:
            return await self._said(served.desk.epochs, body.read())

    async def _proposals(self, request: Request) -> Response:
        served, _, _, body = await self._signed(request, 0)
        with body:
            return await self._said(served.desk.proposals)

    async def _proposal(self, request: Request) -> Response:
        served, _, _, body = await self._signed(request, 0)
        with body:
            return await self._said(served.desk.proposal, request.path_params["digest"])

    async def _propose(self, request: Request) -> Response:
        from starlette.responses import Response

        served, who, decides, body = await self._signed(request, None, newest=True)
        with body:
            served.desk.count(who)
            await self._in_turn(lambda: served.desk.propose(who.name, body.read(), decides=decides))
        return Response(status_code=204)

    async def _signed(
        self, request: Request, most: int | None, *, newest: bool = False
    ) -> tuple[Served, Admitted, bool, Files]:
        """A request of anybody who has a say in the task: whose, whether by a key that decides, and its body of at most
        so many bytes; None for as many as a proposal can have, which is looked up for no stranger.
        """
        served, decides = self._served(request), True
        try:
            who, digest = self._admit(request, served, most, newest=newest)
        except (UnknownSender, BadSignature):
            guests = await self._in_turn(served.desk.guests)
            digest = wire.read_digest(request.headers.get("content-digest", "")) if length_of(request) else _NO_BODY
            signed = request.headers.get("authorization", ""), _path(request), digest
            address = self._whence(_connection(request).name)
            try:
                who = served.gate.admit_guest(*signed, guests[DECIDES], address=address)
            except (UnknownSender, BadSignature):
                who, decides = served.gate.admit_guest(*signed, guests[ACCEPTS], address=address), False
        if most is None:
            most = await self._in_turn(lambda: served.desk.most)
        return served, who, decides, await body_of(request, most, digest)

    async def _said(self, make: Callable[..., bytes], *given: object) -> Response:
        from starlette.responses import Response

        made = await self._in_turn(lambda: make(*given))
        return Response(made, media_type="application/octet-stream")

    async def _in_turn(self, work: Callable[[], _Made]) -> _Made:
        """What a desk does, one request after the other; threads and turns of what rounds ask for are others."""
        async with self._asked:
            return await asyncio.to_thread(work)

    async def _health(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        # It asks nobody who they are, so each answer costs its asker a handshake.
        status = 200 if self.is_ready else 503
        return JSONResponse({"live": True}, status_code=status, headers={"connection": "close"})

    @property
    def is_ready(self) -> bool:
        """Whether every task's rounds can go on."""
        return all(served.rounds.is_well for served in self._tasks.values())

    # --- whose it is ------------------------------------------------------------------------------------------

    def _served(self, request: Request) -> Served:
        served = self._tasks.get(request.path_params["task"])
        if served is None:
            raise UnknownSender("no such task is coordinated here", phase=wire.REQUEST)
        return served

    def _admit(
        self, request: Request, served: Served, most: int | None, *, newest: bool = False
    ) -> tuple[Admitted, bytes]:
        """The member whose request this is, and the SHA-256 that its body has to have.

        Args:
            most: bytes that the body may have; 0 for none at all, None where that is not known yet.
            newest: see ``Gate.admit``.
        """
        length = length_of(request, most)
        digest = wire.read_digest(request.headers.get("content-digest", "")) if length else _NO_BODY
        connection = _connection(request)
        authorization = request.headers.get("authorization", "")
        known = connection.known
        address = self._whence(connection.name)
        member = served.gate.admit(authorization, _path(request), digest, known=known, newest=newest, address=address)
        if not known:
            connection.known, connection.lost = True, lambda: served.post.lost(member.name)
            served.post.connected(member.name)
            # A name is its task's: in another it may be somebody else's, whose connections are others.
            self._recognise(connection.name, f"{request.path_params['task']}/{member.name}")
        return member, digest


@dataclass
class Connection:
    """What is known of a connection.

    Attributes:
        name: of it towards the door.
        known: whether a member's request has come over it.
        lost: to be called when it ends.
    """

    name: str = ""
    known: bool = False
    lost: Callable[[], None] = lambda: None


def _connection(request: Request) -> Connection:
    found = request.scope.get("state", {}).get("connection")
    return found if isinstance(found, Connection) else Connection()


async def _nothing_here(request: Request, error: Exception) -> Response:
    """The answer to a path or method that there is not; its connection is closed as after any refusal."""
    from starlette.responses import Response

    return Response(status_code=getattr(error, "status_code", 404), headers={"connection": "close"})


def _path(request: Request) -> str:
    """The path as it was sent. That of ``request.url`` is pieced together with what a header says of the host."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    return bytes(raw).partition(b"?")[0].decode("latin-1")
