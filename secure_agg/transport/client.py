"""Connections from one party to several operators: every call has a deadline, and a process that is gone is noticed.

Nothing is sent again by itself: an operator that was lost in the middle of a call may have processed the message.
Whether the same message may be repeated is the role's rule: share holders answer a repeated one with the same bytes,
key holders never answer twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from secure_agg import extras
from secure_agg.errors import (
    BadKey,
    ConfigError,
    MalformedMessage,
    OperatorLost,
    RoundAborted,
    SecureAggError,
)
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import Envelope, decode, encode
from secure_agg.roles.epochs.following import Where
from secure_agg.transport.channel import (
    DEFAULT_LIMIT,
    FAILURE_KEY,
    FOLLOW,
    PING,
    RECEIVE,
    SERVICE,
    Endpoint,
    Following,
    Pong,
    check_address,
    check_limit,
    client_options,
    grpc,
)
from secure_agg.transport.credentials import CONNECT, OperatorKeys
from secure_agg.transport.failure import Failure

DEADLINE_S: Final = 120.0
"""How long an operator has for one answer, unless said otherwise."""
PING_S: Final = 5.0
_AT_ONCE: Final = 4  # calls to one operator; it works on one while others are on their way
_PAUSE_S: Final = 0.1  # between attempts to connect
_MAX_PONG: Final = 1024
_MAX_DETAILS: Final = 300


class _Link:
    """The connection to one operator."""

    def __init__(self, keys: OperatorKeys, endpoint: Endpoint, limit: int) -> None:
        extras.require("operators")
        card = endpoint.card
        key, certificate = keys.tls_pair()
        tls = grpc.ssl_channel_credentials(card.pem, key, certificate)
        target = f"dns:///{check_address(endpoint.address)}"
        self.channel = grpc.aio.secure_channel(target, tls, options=client_options(limit, card.host))
        self.receive = self.channel.unary_unary(f"/{SERVICE}/{RECEIVE}")
        self.ping = self.channel.unary_unary(f"/{SERVICE}/{PING}")
        self.follow = self.channel.unary_unary(f"/{SERVICE}/{FOLLOW}")
        self.turns = asyncio.Semaphore(_AT_ONCE)


class Operators:
    """Connections to operators, as an asynchronous context manager.

    The connections open themselves when they are needed, again after a loss too; ``connect`` waits until they are
    there.
    """

    def __init__(
        self,
        keys: OperatorKeys,
        endpoints: Iterable[Endpoint],
        operators: Roster,
        *,
        deadline: float = DEADLINE_S,
        limit: int = DEFAULT_LIMIT,
    ) -> None:
        """
        Args:
            keys: of whoever connects; its card is known to the operators.
            endpoints: of the operators.
            operators: what is pinned; every card is checked against it.
            deadline: seconds that an operator has for an answer, the way there and back included.
            limit: most bytes of a message and of an answer.

        Raises:
            ConfigError: an operator is named twice, an address or the limit is unfit.
            RemoteProtocolError: a card is not its operator's.
        """
        self._keys, self._deadline, self._limit = keys, deadline, check_limit(limit)
        self._endpoints: dict[str, Endpoint] = {}
        for endpoint in endpoints:
            endpoint.card.check(operators)
            check_address(endpoint.address)
            if endpoint.card.name in self._endpoints:
                raise ConfigError(f"operator {endpoint.card.name!r} is named twice")
            self._endpoints[endpoint.card.name] = endpoint
        self._links: dict[str, _Link] = {}

    def __repr__(self) -> str:
        where = ", ".join(f"{name} at {endpoint.address}" for name, endpoint in self._endpoints.items())
        return f"Operators({where})"

    @property
    def names(self) -> tuple[str, ...]:
        """Ids, in the order given."""
        return tuple(self._endpoints)

    async def __aenter__(self) -> Self:
        self._links = {name: _Link(self._keys, item, self._limit) for name, item in self._endpoints.items()}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        links, self._links = self._links, {}
        await asyncio.gather(*(link.channel.close() for link in links.values()))

    async def connect(self, timeout: float = 30.0, least: int | None = None) -> None:
        """Wait until every operator answers.

        Args:
            timeout: seconds for all of them.
            least: how many are enough when the time is over; all by default.

        Raises:
            OperatorLost: fewer do, within the time; names the first that does not.
            BadKey: whoever answers at an operator's address does not hold the key of its card.
        """
        until = asyncio.get_running_loop().time() + timeout
        outcomes = await asyncio.gather(*(self._reach(name, until) for name in self.names), return_exceptions=True)
        failures = [outcome for outcome in outcomes if outcome is not None]
        for failure in failures:
            if not isinstance(failure, OperatorLost):
                raise failure
        if failures and len(outcomes) - len(failures) < (len(outcomes) if least is None else least):
            raise failures[0]

    async def _reach(self, name: str, until: float) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            try:
                return await self.ping(name, timeout=max(0.1, min(PING_S, until - clock())))
            except OperatorLost:
                if clock() >= until:
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def ping(self, name: str, timeout: float = PING_S) -> None:
        """Ask whether an operator's process is there and live, whatever its role is doing.

        Raises:
            OperatorLost: it is not, or does not answer in time.
            BadKey: somebody else answers.
        """
        pong = await self._call(self._link(name).ping, name, b"", CONNECT, timeout)
        if decode(Pong, pong, _MAX_PONG, phase=CONNECT, culprit=name).name != name:
            raise BadKey("an operator says that it is another", phase=CONNECT, culprit=name)

    async def call(
        self, name: str, message: bytes, *, phase: str | None = None, deadline: float | None = None
    ) -> bytes:
        """Send one message and wait for the answer. Any number of calls may be under way.

        Args:
            name: of the operator.
            message: as its role takes it.
            phase: of the protocol; for errors.
            deadline: seconds, counted once it is this message's turn; by default that of the connections.

        Returns:
            The role's answer: bytes that nobody has checked yet.

        Raises:
            OperatorLost: the process is gone, or did not answer in time; names it. It may have processed the message.
            SecureAggError: what the role has answered, of the class that it raised; a note names the operator, and a
                culprit is named by that operator's word only.
            MalformedMessage: an answer above the limit, or an error that is none.
            ConfigError: the message is above this side's or the operator's limit.
            RoundAborted: the operator failed in a way that it has no words for, or takes in no more messages now.
        """
        link = self._link(name)
        if len(message) > self._limit:
            raise ConfigError(f"a message of {len(message)} bytes is above the limit of {self._limit}", phase=phase)
        async with link.turns:
            return await self._call(
                link.receive, name, message, phase, self._deadline if deadline is None else deadline
            )

    async def follow(self, name: str, task: str, steps: bytes = b"") -> Where:
        """Have an operator follow epochs of a task, which it checks by its own pins.

        Args:
            name: of the operator.
            task: the root task.
            steps: encoded ``Steps``; empty to ask how far it has come.

        Returns:
            How far it has come, by its own word.

        Raises:
            SecureAggError: see ``call``; what it refuses of the epochs with.
        """
        link = self._link(name)
        async with link.turns:
            answer = await self._call(link.follow, name, encode(Following(task, steps)), None, self._deadline)
        return Where.from_bytes(answer)

    async def exchange(
        self, requests: Sequence[Envelope], *, phase: str | None = None, deadline: float | None = None
    ) -> list[bytes | SecureAggError]:
        """Send messages to their operators, all at once, and wait for every answer or its deadline.

        Args:
            requests: any number for each operator. Those for one may reach it in any order.
            phase: of the protocol; for errors.
            deadline: see ``call``.

        Returns:
            For each request, in order, the answer, or the error that ``call`` would have raised: what the loss of one
                operator means is the caller's to say.
        """

        async def one(request: Envelope) -> bytes | SecureAggError:
            try:
                return await self.call(request.recipient, request.data, phase=phase, deadline=deadline)
            except SecureAggError as error:
                return error

        return list(await asyncio.gather(*map(one, requests)))

    def _link(self, name: str) -> _Link:
        try:
            return self._links[name]
        except KeyError:
            what = "is no operator here" if name not in self._endpoints else "is not connected: use 'async with'"
            raise ConfigError(f"{name!r} {what}") from None

    async def _call(self, method: Any, name: str, message: bytes, phase: str | None, timeout: float) -> bytes:
        try:
            answer: bytes = await method(message, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise _typed(error, name, phase, timeout) from error
        return answer


def _typed(error: Any, name: str, phase: str | None, timeout: float) -> SecureAggError:
    """Our error for one of gRPC's."""
    code, details = error.code(), _shown(error.details())
    if code is grpc.StatusCode.ABORTED:
        with contextlib.suppress(KeyError):
            try:
                return Failure.read(dict(error.trailing_metadata() or ())[FAILURE_KEY], name)
            except MalformedMessage as unreadable:
                return unreadable
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return OperatorLost(f"no answer within {timeout:g} s", phase=phase, culprit=name)
    if "CERTIFICATE_VERIFY_FAILED" in details or "Hostname Verification Check failed" in details:
        return BadKey("whoever listens there has not the certificate of the card", phase=CONNECT, culprit=name)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return OperatorLost(
            f"the process is gone, can't be reached, or does not know us ({details})", phase=phase, culprit=name
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if "SERVER: Received message larger" in details:
            return ConfigError(f"the message is above the operator's limit ({details})", phase=phase)
        if "CLIENT: Received message larger" in details:
            return MalformedMessage(f"an answer is above the limit ({details})", phase=phase, culprit=name)
    return RoundAborted(f"an operator has failed: {code.name}, {details}", phase=phase, culprit=name)


def _shown(details: str | None) -> str:
    return "".join(char if char.isprintable() else " " for char in details or "")[:_MAX_DETAILS]
