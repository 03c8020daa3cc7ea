"""Which node is which member of the roster: a signed answer to a challenge, once for each node and run.

Frameworks number their nodes anew whenever they start; a roster names owners of keys. Nothing else depends on this: who
answers for somebody else can't sign for it later.
"""

from __future__ import annotations

from typing import Final

from secure_agg.identity import Identity, Roster
from secure_agg.messages import NO_BULK, peek, read, write

HELLO: Final = "hello"
CHALLENGE_BYTES: Final = 32
_LIMIT: Final = 4096


def make_challenge(server: Identity, challenge: bytes) -> bytes:
    """The server's message; ``challenge`` is 32 random bytes of this run."""
    return write(server, challenge, HELLO, "", b"")


def answer_challenge(node: Identity, operators: Roster, request: bytes | memoryview) -> bytes:
    """A node's answer, to a pinned server only.

    Raises:
        RemoteProtocolError: not a challenge, or not from a pinned operator.
    """
    session = peek(request, _LIMIT).session
    message = read(
        request, limit=_LIMIT, bulk_sizes=NO_BULK, session=session, phase=HELLO, recipients=("",), keys=dict(operators)
    )
    return write(node, session, HELLO, message.header.sender, b"")


def check_answer(answer: bytes | memoryview, challenge: bytes, server: str, roster: Roster) -> str:
    """The id of the member that has signed an answer to this challenge.

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
    return message.header.sender
