"""Whose request it is: signatures, counters and rates. Nothing of a body is read before that is known.

A counter is taken once, so a request that was sent again, by whomever, is refused. It is kept in memory only: another
process has another challenge, for which no earlier request is signed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from secure_agg.errors import RequestRepeated, SecureAggError, TooManyRequests
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.service import wire
from secure_agg.service.wire import Greeted

OF_MEMBER: Final = (50.0, 250)
"""Requests of one member a second, in the long run and at once: a round takes some twenty."""
OF_STRANGERS: Final = (200.0, 1000)
"""Requests that no member has signed, from all strangers together: greetings among them, of which each costs a
signature. Where they are used up, members whose connection was recognised go on.
"""
MOST_GUESTS: Final = 1024
"""Counters that are kept of parties that are no members, the last used."""


@dataclass
class Bucket:
    """Tokens: ``rate`` more a second, at most ``room``."""

    rate: float
    room: float
    clock: Callable[[], float] = time.monotonic
    _left: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._at = self.room, self.clock()

    def take(self) -> float:
        """Take one; 0 where there was one, else the seconds until there is."""
        now = self.clock()
        self._left, self._at = min(self.room, self._left + (now - self._at) * self.rate), now
        if self._left < 1:
            return (1 - self._left) / self.rate
        self._left -= 1
        return 0.0


class Strangers:
    """What nobody has signed; one for all tasks of a server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._bucket = Bucket(*OF_STRANGERS, clock)

    def take(self) -> None:
        """Count one request.

        Raises:
            TooManyRequests: there are too many.
        """
        if wait := self._bucket.take():
            raise TooManyRequests("too many requests that no member has signed", wait, phase=wire.REQUEST)


class Gate:
    """Of one task."""

    def __init__(
        self,
        server: Identity,
        task: str,
        rosters: Callable[[], Sequence[Roster]],
        strangers: Strangers,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            server: who the task's server is.
            task: its id.
            rosters: members by epoch, newest first: who has not heard of the last one signs by an earlier's key.
            strangers: counts what is not signed.
            clock: seconds.
        """
        self._task, self._rosters, self._strangers, self._clock = task, rosters, strangers, clock
        self._server = server
        self._greeted = Greeted(server.name, server.public, secrets.token_bytes(wire.NONCE_BYTES))
        self._last: dict[str, int] = {}
        self._buckets: dict[str, Bucket] = {}
        self._guests: dict[tuple[str, str], int] = {}

    def greet(self, nonce: bytes, certificate: bytes) -> bytes:
        """Say who this server is, to whoever asks.

        Raises:
            TooManyRequests: too many ask.
        """
        self._strangers.take()
        return wire.greet(self._server, nonce, self._task, certificate, self._greeted.challenge)

    def admit(self, authorization: str, path: str, body: bytes, *, known: bool = False, newest: bool = False) -> str:
        """The member whose request this is.

        Args:
            authorization: the header.
            path: of the request.
            body: SHA-256 of what will come, as the request says.
            known: whether a member's request came over the same connection before.
            newest: whether it has to be signed by the key of the epoch in force.

        Raises:
            MalformedMessage, UnknownSender, BadSignature: it is no member's.
            RequestRepeated: it was made before.
            TooManyRequests: the member, or strangers, ask too much.
        """
        said = wire.claim(authorization)
        try:
            if not known:
                self._strangers.take()
            rosters = self._rosters()[:1] if newest else self._rosters()
            wire.check_request(said, self._greeted, self._task, path, body, rosters)
        except TooManyRequests:
            raise
        except SecureAggError:
            if known:
                self._strangers.take()
            raise
        # From here on it is a member's, so what is kept by name is bounded by the rosters.
        bucket = self._buckets.setdefault(said.name, Bucket(*OF_MEMBER, self._clock))
        if wait := bucket.take():
            raise TooManyRequests(
                f"{said.name!r} sends more than {OF_MEMBER[0]:g} requests a second", wait,
                phase=wire.REQUEST, culprit=said.name,
            )  # fmt: skip
        last = self._last.get(said.name, -1)
        if said.counter <= last:
            raise RequestRepeated(
                f"a request with counter {said.counter}, not above {last}", last, phase=wire.REQUEST, culprit=said.name
            )
        self._last[said.name] = said.counter
        return said.name

    def admit_guest(self, authorization: str, path: str, body: bytes, kind: str, rosters: Sequence[Roster]) -> str:
        """Whose request this is, who is no member and has a say in what is proposed. It counts as a stranger's.

        Args:
            authorization, path, body: see ``admit``.
            kind: of guests, for each of which names are names of their own.
            rosters: of who may be admitted.

        Raises:
            MalformedMessage, UnknownSender, BadSignature: it is nobody's of these.
            RequestRepeated: it was made before.
            TooManyRequests: strangers ask too much.
        """
        said = wire.claim(authorization)
        self._strangers.take()
        wire.check_request(said, self._greeted, self._task, path, body, rosters)
        last = self._guests.pop((kind, said.name), -1)
        self._guests[kind, said.name] = max(last, said.counter)
        if said.counter <= last:
            raise RequestRepeated(
                f"a request with counter {said.counter}, not above {last}", last, phase=wire.REQUEST, culprit=said.name
            )
        while len(self._guests) > MOST_GUESTS:  # who is forgotten could at most have something repeated
            del self._guests[next(iter(self._guests))]
        return said.name
