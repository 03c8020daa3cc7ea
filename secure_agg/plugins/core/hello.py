"""Which node is which member of the roster: a signed answer to a challenge, once for each node and run.

Frameworks number their nodes anew whenever they start; a roster names owners of keys. Nothing else depends on this: who
answers for somebody else can't sign for it later.

With its name a node says in which surroundings its app runs, as far as they are the run's and not its own: settings and
code that the framework has brought, see ``instructions``. It is a digest of what everybody should have been given.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from secure_agg.errors import BadSignature, MalformedMessage, UnknownSender
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import NO_BULK, Received, read, write
from zk.transcript import DIGEST_BYTES

HELLO: Final = "hello"
CHALLENGE_BYTES: Final = 32
_LIMIT: Final = 4096

_log = logging.getLogger("secure_agg.plugins")


def make_challenge(server: Identity, challenge: bytes) -> bytes:
    """The server's message; ``challenge`` is 32 random bytes of this run."""
    return write(server, challenge, HELLO, "", b"")


def answer_challenge(node: Identity, operators: Roster, request: bytes | memoryview, surroundings: bytes) -> bytes:
    """A node's answer, to a pinned server only.

    Args:
        surroundings: 32 bytes, see ``Instructions.digest``.

    Raises:
        RemoteProtocolError: not a challenge, or not from a pinned operator.
    """
    received = Received.of(request, _LIMIT)
    session = received.header.session
    message = read(
        received, limit=_LIMIT, bulk_sizes=NO_BULK, session=session, phase=HELLO, recipients=("",), keys=dict(operators)
    )
    return write(node, session, HELLO, message.header.sender, surroundings)


def check_answer(answer: bytes | memoryview, challenge: bytes, server: str, roster: Roster) -> tuple[str, bytes]:
    """The id of the member that has signed an answer to this challenge, and the surroundings that it names.

    Raises:
        RemoteProtocolError: it is no such answer, or not of a member.
    """
    message = read(
        answer,
        limit=_LIMIT,
        bulk_sizes=NO_BULK,
        session=challenge,
        phase=HELLO,
        recipients=(server,),
        keys=dict(roster),
    )
    sender = message.header.sender
    if len(message.body) != DIGEST_BYTES:
        raise MalformedMessage(f"surroundings of {len(message.body)} bytes", phase=HELLO, culprit=sender)
    return sender, message.body


class Introductions:
    """Of one run, to its server: the challenge, and who has answered it in which surroundings."""

    def __init__(self, server: Identity, rosters: Callable[[], Iterator[Roster]]) -> None:
        """``rosters``: by epoch, newest first: who has not heard of the last one answers under an earlier key."""
        self._server, self._rosters = server, rosters
        self._challenge = secrets.token_bytes(CHALLENGE_BYTES)
        self._said: dict[str, bytes] = {}

    def challenge(self) -> bytes:
        """The message that asks a node who it is."""
        return make_challenge(self._server, self._challenge)

    def identify(self, message: bytes | memoryview) -> str:
        """The roster id of the node that has answered, under the key that it has in the newest epoch that it may know.

        Raises:
            RemoteProtocolError: it has not signed this challenge, or is no member.
        """
        name, self._said[name] = self._check(message)
        return name

    def _check(self, message: bytes | memoryview) -> tuple[str, bytes]:
        newest, *earlier = self._rosters()
        try:
            return check_answer(message, self._challenge, self._server.name, newest)
        except (UnknownSender, BadSignature):
            for roster in earlier:
                with contextlib.suppress(UnknownSender, BadSignature):
                    return check_answer(message, self._challenge, self._server.name, roster)
            raise

    def surroundings(self, names: Iterable[str]) -> bytes:
        """The surroundings in which most of these members have said that their apps run.

        The others will find that their instructions are not those of the round, and stay out of it: a warning names
        them.

        Returns:
            32 bytes; zeros where nobody has said anything.
        """
        said = {name: self._said[name] for name in sorted(names) if name in self._said}
        if not said:
            return NO_DIGEST
        (most, _), *_ = Counter(said.values()).most_common(1)
        for name, other in said.items():
            if other != most:
                _log.warning("%s has other settings or another app of this run than most, and can't join them", name)
        return most
