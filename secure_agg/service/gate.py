"""Whose request it is: signatures, counters and rates. Nothing of a body is read before that is known.

A counter is taken once, so a request that was sent again, by whomever, is refused. It is kept in memory only: another
process has another challenge, for which no earlier request is signed.

Keys change by epochs, often since one was stolen. An earlier one is good for hearing of the epoch and for nothing else,
until its member has signed by a later one; counters and rates are each key's own, so that a stolen one uses up nothing
of its successor's.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from secure_agg.admission import neighbourhood
from secure_agg.errors import BadSignature, RequestRepeated, SecureAggError, TooManyRequests
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.service import wire
from secure_agg.service.wire import Greeted

OF_MEMBER: Final = (50.0, 250)
"""Requests of one member a second, in the long run and at once: a round takes some twenty."""
OF_STRANGERS: Final = (200.0, 1000)
"""Requests that no member has signed, from all strangers together: greetings among them, of which each costs a
signature. Where they are used up, members whose connection was recognised go on.
"""
OF_ADDRESS: Final = (100.0, 500)
"""Of those from one address, half: whoever asks over and over from one leaves the others theirs."""
_MOST_ADDRESSES: Final = 1024
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
        self._clock, self._bucket = clock, Bucket(*OF_STRANGERS, clock)
        self._addresses: dict[str, Bucket] = {}  # the last used at the end

    def take(self, address: str = "") -> None:
        """Count one request.

        Args:
            address: that it comes from; empty where that is not known.

        Raises:
            TooManyRequests: there are too many.
        """
        if address:
            group = neighbourhood(address)
            own = self._addresses.pop(group, None) or Bucket(*OF_ADDRESS, self._clock)
            self._addresses[group] = own
            if len(self._addresses) > _MOST_ADDRESSES:
                del self._addresses[next(iter(self._addresses))]
            if wait := own.take():
                raise TooManyRequests(
                    "too many requests of one address that no member has signed", wait, phase=wire.REQUEST
                )
        if wait := self._bucket.take():
            raise TooManyRequests("too many requests that no member has signed", wait, phase=wire.REQUEST)


class Admitted(NamedTuple):
    """Whose request it is.

    Attributes:
        name: of the member, or of who has a say in what is proposed.
        key: that has signed it. What is counted is a key's: anybody may propose a key of its own for any name.
        is_current: whether that is the one which the member has in the epoch in force.
    """

    name: str
    key: bytes
    is_current: bool


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
        # By member and key: the last counter, and what is left of the rate.
        self._last: dict[tuple[str, bytes], int] = {}
        self._buckets: dict[tuple[str, bytes], Bucket] = {}
        self._reached: dict[str, int] = {}  # the newest epoch by whose key a member has signed
        self._guests: dict[tuple[str, bytes], int] = {}  # by name and key: anybody may propose a key for any name

    def greet(self, nonce: bytes, certificate: bytes, address: str = "") -> bytes:
        """Say who this server is, to whoever asks, from this address.

        Raises:
            TooManyRequests: too many ask.
        """
        self._strangers.take(address)
        return wire.greet(self._server, nonce, self._task, certificate, self._greeted.challenge)

    def admit(
        self,
        authorization: str,
        path: str,
        body: bytes,
        *,
        known: bool = False,
        newest: bool = False,
        address: str = "",
    ) -> Admitted:
        """The member whose request this is.

        Args:
            authorization: the header.
            path: of the request.
            body: SHA-256 of what will come, as the request says.
            known: whether a member's request came over the same connection before.
            newest: whether it has to be signed by the key of the epoch in force.
            address: where it comes from.

        Raises:
            MalformedMessage, UnknownSender, BadSignature: it is no member's.
            RequestRepeated: it was made before.
            TooManyRequests: the member, or strangers, ask too much.
        """
        said = wire.claim(authorization)
        rosters = self._rosters()
        try:
            if not known:
                self._strangers.take(address)
            place = wire.check_request(said, self._greeted, self._task, path, body, rosters)
            epoch = len(rosters) - 1 - place  # the newest with this key: by one that stays nobody is behind
            if epoch < self._reached.get(said.name, 0):
                raise BadSignature("a signature by a key that its member has replaced since", phase=wire.REQUEST)
            if newest and place:
                raise BadSignature("a signature by no key of the epoch in force", phase=wire.REQUEST)
        except TooManyRequests:
            raise
        except SecureAggError:
            if known:
                self._strangers.take(address)
            raise
        # From here on it is a member's, so what is kept by name is bounded by the rosters.
        self._reached[said.name] = epoch
        who = said.name, rosters[place][said.name]
        # Whoever sends a recorded request again need not be who has signed it: it names nobody, and costs the member no
        # request of its own.
        last = self._last.get(who, -1)
        if said.counter <= last:
            if known:
                self._strangers.take(address)
            raise RequestRepeated(
                f"a request with counter {said.counter}, not above {last}", last, phase=wire.REQUEST, culprit=None
            )
        self._last[who] = said.counter
        bucket = self._buckets.setdefault(who, Bucket(*OF_MEMBER, self._clock))
        if wait := bucket.take():
            raise TooManyRequests(
                f"{said.name!r} sends more than {OF_MEMBER[0]:g} requests a second", wait,
                phase=wire.REQUEST, culprit=said.name,
            )  # fmt: skip
        return Admitted(*who, place == 0)

    def admit_guest(
        self, authorization: str, path: str, body: bytes, rosters: Sequence[Roster], *, address: str = ""
    ) -> Admitted:
        """Whose request this is, who is no member and has a say in what is proposed. It counts as a stranger's, and
        its counter is the key's: whoever proposes a key of its own for somebody's name takes no counter from them.

        Args:
            authorization, path, body, address: see ``admit``.
            rosters: of who may be admitted.

        Raises:
            MalformedMessage, UnknownSender, BadSignature: it is nobody's of these.
            RequestRepeated: it was made before.
            TooManyRequests: strangers ask too much.
        """
        said = wire.claim(authorization)
        self._strangers.take(address)
        place = wire.check_request(said, self._greeted, self._task, path, body, rosters)
        who = said.name, rosters[place][said.name]
        last = self._guests.pop(who, -1)
        self._guests[who] = max(last, said.counter)
        if said.counter <= last:  # whoever sends it again need not be who has signed it
            raise RequestRepeated(
                f"a request with counter {said.counter}, not above {last}", last, phase=wire.REQUEST, culprit=None
            )
        while len(self._guests) > MOST_GUESTS:  # who is forgotten could at most have something repeated
            del self._guests[next(iter(self._guests))]
        return Admitted(*who, False)
