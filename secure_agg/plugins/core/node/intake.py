"""How large what comes to a node may be, part by part: nothing larger is copied or parsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from secure_agg.errors import MalformedMessage
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import MAX_CONFIG, MAX_SETUP, Received, header_limit, unpack

MAX_FIRST: Final = 4 + MAX_CONFIG + MAX_SETUP.stop
"""Most bytes of a round's first request."""
_MEMBER: Final = 1 << 16
"""Most bytes of evidence about one member of the cohort."""


def bounded(part: bytes | memoryview, limit: int) -> bytes:
    """A copy of a part that is not too large for what it has to be.

    Raises:
        MalformedMessage: it is.
    """
    if len(part) > limit:
        raise MalformedMessage(f"a part of {len(part)} bytes, above {limit}")
    return bytes(part)


def copied(home: ClientHome, parts: Sequence[bytes | memoryview]) -> list[bytes]:
    """Copies of messages that a node may be sent after the first.

    Raises:
        MalformedMessage: one is too large.
    """
    return [bounded(part, 4 + header_limit(home.epochs.most_members)) for part in parts]


def received(home: ClientHome, part: bytes | memoryview) -> Received:
    """Such a message, parsed.

    Raises:
        MalformedMessage: it is none.
    """
    return Received.of(part, header_limit(home.epochs.most_members))


def read_evidence(home: ClientHome, data: bytes | memoryview) -> Evidence:
    """Evidence of no more members than are pinned: of the largest epoch that the node knows, so that none is refused.

    Raises:
        MalformedMessage: it is none.
    """
    unpack(data, MAX_CONFIG + MAX_SETUP.stop + (home.epochs.most_members + 1) * _MEMBER)
    return Evidence.from_bytes(data)
