"""Which node is which member of the roster: a signed answer to a challenge, once for each node and run.

Frameworks number their nodes anew whenever they start; a roster names owners of keys. Nothing else depends on this: who
answers for somebody else can't sign for it later.

With its name a node says in which surroundings its app runs, as far as they are the run's and not its own: settings and
code that the framework has brought, see ``instructions``. It is a digest of what everybody should have been given.
"""

from __future__ import annotations

from typing import Final

from secure_agg.errors import MalformedMessage
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import NO_BULK, Received, read, write
from zk.transcript import DIGEST_BYTES

HELLO: Final = "hello"
CHALLENGE_BYTES: Final = 32
_LIMIT: Final = 4096


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
