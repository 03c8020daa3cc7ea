"""A member's way to a service: requests, each tried again until it is answered or patience is over.

A connection is known by who stands behind it: whichever certificate it shows has to be signed, for random bytes of this
client, by the server that the home pins. Nothing but these bytes is sent before.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import re
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from secure_agg import extras
from secure_agg.errors import ConfigError, MalformedMessage, OperatorLost, WrongContext
from secure_agg.plugins.core.phases import one_line
from secure_agg.protocol.identity import Identity
from secure_agg.roles.epochs.following import MAX_STEP_ANSWER
from secure_agg.roles.trust import Trust
from secure_agg.service import wire
from secure_agg.service.certificate import client_context, shown_certificate
from secure_agg.service.interface.refusals import MAX_REFUSAL, read_refusal
from secure_agg.service.wire import Greeted

if TYPE_CHECKING:
    import httpcore

    from secure_agg.service.paced import Pace

PATIENCE_S: Final = 600.0
"""How long a service that does not answer is asked again."""
_REST_S: Final = (0.1, 5.0)
_PIECE: Final = 1 << 18
_ALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 30),
)
_URL: Final = re.compile(r"https://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:(?P<port>[0-9]{1,5}))?/?")

_log = logging.getLogger("secure_agg.service")


class Party(Protocol):
    """Whose requests they are: a member's home, or ``changes.Outsider``."""

    @property
    def name(self) -> str:
        """Its id."""

    @property
    def task(self) -> str:
        """The task's id."""

    @property
    def identity(self) -> Identity:
        """The key that signs its requests."""

    @property
    def trust(self) -> Trust:
        """What it pins, as far as it has come."""


@dataclass(frozen=True)
class Arrived:
    """A payload that this member has to answer.

    Attributes:
        item: what the answer names.
        data: the payload.
        model: digest of the model that goes with it; None where none does.
    """

    item: str
    data: bytes
    model: bytes | None


class _Again(Exception):
    """A request has to be made again, after ``seconds``."""

    def __init__(self, why: str, seconds: float = 0.0) -> None:
        super().__init__(why)
        self.seconds = seconds


class Link:
    """One party's.

    Attributes:
        waiting: how many proposals lie open, as the service has said last.
    """

    def __init__(
        self,
        url: str,
        party: Party,
        *,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """
        Args:
            url: ``https://HOST[:PORT]``.
            party: whose key signs requests, and whose pins say who the server is.
            patience_s: see ``PATIENCE_S``.
            clock: nanoseconds; requests are counted by it, so that a new process goes on above the last one's.

        Raises:
            ConfigError: another kind of URL, or a package is missing.
        """
        extras.require("service")
        found = _URL.fullmatch(url)
        if found is None or not 0 < int(found["port"] or 443) < 1 << 16:
            raise ConfigError(f"{url!r} is no URL of a service: https://HOST:PORT")
        self._host, self._port = found["host"].strip("[]"), int(found["port"] or 443)
        self._base = f"https://{found['host']}:{self._port}"
        self._party, self._patience_s, self._clock = party, patience_s, clock
        self._place = f"/v1/{wire.place(party.task)}"
        self._client: httpcore.ConnectionPool | None = None
        self._pace: Pace | None = None
        self._to: Greeted | None = None
        self._counter = 0
        self.until = math.inf
        """When to give up at the latest, by ``time.monotonic``, however long patience would last."""
        self.waiting = 0

    def __repr__(self) -> str:
        return f"Link({self._base!r}, {self._party.name!r})"

    def close(self) -> None:
        """End the connection; harmless when it has ended."""
        if self._client is not None:
            self._client.close()
        self._client = self._to = None

    # --- what a session asks for ------------------------------------------------------------------------------

    def next(self, most: int) -> Arrived | None:
        """What this member has to answer; None where it is nothing for a while.

        Args:
            most: bytes that it can have, see ``bounds``.

        Raises:
            OperatorLost: the service does not answer, for longer than patience lasts.
            RemoteProtocolError: it is another's, or does not keep to the protocol.
        """
        status, headers, body = self._ask("next", most)
        said = headers.get(wire.OPEN, "0")
        self.waiting = int(said) if re.fullmatch(r"[0-9]{1,6}", said) else 0
        if status == 204:
            return None
        model = wire.header(headers, wire.MODEL, len(self._party.identity.public)) if wire.MODEL in headers else None
        return Arrived(wire.header(headers, wire.ITEM, wire.ITEM_BYTES).hex(), body, model)

    def answer(self, item: str, payload: bytes) -> bool:
        """Send an answer; whether it still is one: the service may have gone on meanwhile.

        Raises:
            OperatorLost, RemoteProtocolError: see ``next``.
        """
        return self._told(f"answer/{item}", payload)

    def refuse(self, item: str, error: Exception) -> bool:
        """Say that this member does not answer, by the name of its error and nothing else.

        Raises:
            OperatorLost, RemoteProtocolError: see ``next``.
        """
        return self._told(f"refuse/{item}", type(error).__name__.strip("_").encode()[: wire.MAX_REASON])

    def model(self, most: int) -> bytes:
        """The model that is handed out, encoded.

        Raises:
            OperatorLost, RemoteProtocolError: see ``next``; or it is longer than ``most`` bytes.
        """
        return self._ask("model", most)[2]

    def epochs(self, where: bytes) -> bytes:
        """The epochs since ``where``, which says how far this party has come, encoded; as many as are sent at once.

        Raises:
            OperatorLost, RemoteProtocolError: see ``next``.
        """
        return self._ask("epochs", MAX_STEP_ANSWER, where)[2]

    def proposals(self, most: int) -> bytes:
        """The list of what is proposed, encoded, of at most so many bytes.

        Raises:
            OperatorLost, RemoteProtocolError: see ``next``.
        """
        return self._ask("proposals", most)[2]

    def proposal(self, digest: bytes, most: int) -> bytes:
        """What the service has under a proposal's digest, encoded, of at most so many bytes.

        Raises:
            WrongContext: nothing.
            OperatorLost, RemoteProtocolError: see ``next``.
        """
        return self._ask(f"proposal/{digest.hex()}", most)[2]

    def propose(self, proposal: bytes) -> None:
        """Bring a proposal, or signatures of one.

        Raises:
            RequestRefused: the service says why.
            OperatorLost, RemoteProtocolError: see ``next``.
        """
        self._ask("propose", 0, proposal)

    def _told(self, what: str, body: bytes) -> bool:
        try:
            self._ask(what, 0, body)
        except WrongContext as error:
            _log.info("an answer has come too late: %s", one_line(error))
            return False
        return True

    # --- requests ---------------------------------------------------------------------------------------------

    def _ask(self, what: str, most: int, body: bytes = b"") -> tuple[int, Mapping[str, str], bytes]:
        """Make a request until it is answered."""
        patience_s = min(self._patience_s, max(0.0, self.until - time.monotonic()))
        ends, rest = time.monotonic() + patience_s, _REST_S[0]
        while True:
            try:
                return self._once(f"{self._place}/{what}", most, body)
            except _Again as again:
                if time.monotonic() + max(again.seconds, rest) > ends:
                    raise OperatorLost(
                        f"{self._base} has not answered for {patience_s:g} s: {again}", phase=wire.REQUEST
                    ) from None
                _log.info("%s is asked again: %s", self._base, again)
                time.sleep(max(again.seconds, rest))
                rest = min(2 * rest, _REST_S[1])

    def _once(self, path: str, most: int, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        from secure_agg.service import paced

        try:
            client, to = self._connected()
            self._counter = max(self._counter + 1, self._clock())
            sha256 = hashlib.sha256(body).digest()
            headers = {
                "authorization": wire.authorize(
                    self._party.identity, to, self._party.task, path, self._counter, sha256
                ),
                "content-length": str(len(body)),
                **({"content-digest": wire.written_digest(sha256)} if body else {}),
            }
            with self._request(client, path, headers, body, most) as answer:
                found = _headers(answer)
                if answer.status not in (200, 204):
                    self._refused(answer.status, found, _read(answer, found, MAX_REFUSAL), path, to)
                return answer.status, found, _read(answer, found, most)
        except paced.LOST as error:
            self.close()
            raise _Again(f"{type(error).__name__}: {one_line(error)}") from None

    def _request(
        self, client: httpcore.ConnectionPool, path: str, headers: Mapping[str, str], body: bytes, most: int
    ) -> AbstractContextManager[httpcore.Response]:
        from secure_agg.service import paced

        if self._pace is not None:
            # Who waits for nothing any more leaves a poll; what it has begun to send it sends to the end.
            grace = 0.0 if path == f"{self._place}/next" else paced.ANSWER_S
            self._pace.begin(max(most, MAX_REFUSAL), self.until + grace)
        content = (body[start : start + _PIECE] for start in range(0, len(body), _PIECE)) if body else b""
        return client.stream(
            "POST",
            self._base + path,
            headers=[(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
            content=content,
            extensions={"timeout": paced.TIMEOUTS},
        )

    def _refused(self, status: int, headers: Mapping[str, str], body: bytes, path: str, to: Greeted) -> NoReturn:
        """Say what a refusal means.

        Raises:
            _Again: it passes, or is of another process than this link knows.
            WrongContext: what was answered is not asked any more.
            RequestRefused: any other.
        """
        refused = read_refusal(status, body, path.removeprefix(self._place).lstrip("/").partition("/")[0])
        if status == 401:  # the server may be another process since
            self.close()
            if self._connected()[1] != to:
                raise _Again("the service was started anew")
        elif status == 409:
            with contextlib.suppress(ValueError):
                self._counter = max(self._counter, min(int(headers.get(wire.AGAIN, "")), (1 << 62)))
            raise _Again("the clock of this machine was set back")
        elif status == 410:
            raise WrongContext(str(refused.args[0]), phase=wire.REQUEST)
        elif status == 429:
            with contextlib.suppress(ValueError):
                raise _Again("too many requests", min(60.0, float(headers.get("retry-after", "1"))))
        elif status >= 500 or status == 408:
            raise _Again(str(refused.args[0]))
        raise refused

    # --- who stands behind it ---------------------------------------------------------------------------------

    def _connected(self) -> tuple[httpcore.ConnectionPool, Greeted]:
        """A connection to the pinned server.

        Raises:
            RemoteProtocolError: it is somebody else's.
        """
        if self._client is not None and self._to is not None:
            return self._client, self._to
        from secure_agg.service import paced

        certificate = shown_certificate(self._host, self._port, paced.CONNECT_S)
        # One connection, which stays open while this member trains: by it the service sees that it is there.
        self._pace = paced.Pace()
        client = paced.connection(client_context(certificate), self._pace, _ALIVE)
        try:
            nonce = secrets.token_bytes(wire.NONCE_BYTES)
            size = {"content-length": str(len(nonce))}
            with self._request(client, f"{self._place}/hello", size, nonce, wire.MAX_GREETING) as answer:
                greeting = _read(answer, _headers(answer), wire.MAX_GREETING)
                if answer.status == 429 or answer.status >= 500:
                    raise _Again(f"status {answer.status}", 1.0)
                if answer.status == 403:
                    raise WrongContext(f"{self._base} coordinates no task {self._party.task!r}", phase=wire.GREETING)
                if answer.status != 200:
                    raise MalformedMessage(f"a greeting of status {answer.status}", phase=wire.GREETING)
            to = wire.check_greeting(greeting, nonce, self._party.task, certificate, self._party.trust.operators)
        except BaseException:
            client.close()
            raise
        self._client, self._to = client, to
        _log.info("%s is %s, and coordinates %r", self._base, to.server, self._party.task)
        return client, to


def _headers(answer: httpcore.Response) -> dict[str, str]:
    """By name, in lower case; of two with one name the last."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}


def _read(answer: httpcore.Response, headers: Mapping[str, str], most: int) -> bytes:
    """The body of an answer, of at most so many bytes.

    Raises:
        MalformedMessage: it is longer, or encoded.
    """
    length = headers.get("content-length", "")
    if headers.get("content-encoding"):
        raise MalformedMessage("an answer is encoded in a way that was not asked for", phase=wire.REQUEST)
    if length.isascii() and length.isdecimal() and int(length[:20]) > most:
        raise wire.AnswerTooLong(f"an answer of {length[:20]} bytes, above {most}", phase=wire.REQUEST)
    data = bytearray()
    for piece in answer.iter_stream():
        data += piece
        if len(data) > most:
            raise wire.AnswerTooLong(f"an answer of more than {most} bytes", phase=wire.REQUEST)
    return bytes(data)
