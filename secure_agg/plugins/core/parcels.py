"""What a framework carries between a node and the server: opaque payloads, in pieces that fit its messages.

A parcel's parts are messages of the protocol, which are signed and checked by the roles; a parcel itself is neither, so
nothing in it is believed but where a part begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from secure_agg.errors import MalformedMessage
from secure_agg.protocol.messages import Wire, decode, encode, unpack

PIECE: Final = 8 << 20
"""Most bytes of one piece; frameworks limit single values or messages, none below this."""
MAX_PARTS: Final = 64
MAX_PAYLOAD: Final = 1 << 36
"""Most bytes of a payload: what the largest model's update takes."""

SMALL: Final = 1 << 20
"""Most bytes of an answer that holds no vector."""

HELLO: Final = "hello"
JOIN: Final = "join"
STEP: Final = "step"
RESULT: Final = "result"
JOINED: Final = "joined"
ANSWER: Final = "answer"
VERIFIED: Final = "verified"
LEARN: Final = "learn"
"""A result that a node has missed, and with the first one the model that it started from."""
HELD: Final = "held"
"""Over a channel beside a framework's messages: the server asks for the answer to the message that a node holds, or
says that the round is over; a node says in its reply that it has answered there.
"""
KNOWN: Final = "known"
EPOCH: Final = "epoch"
"""Epochs that a node has to follow; without any it says how far it has come."""
EPOCHS: Final = "epochs"
CLOSE: Final = "close"
"""An epoch that is authorised, and what its members renounce in the one in force."""
CLOSED: Final = "closed"
RENOUNCE: Final = "renounce"
"""A request to give up what may still open a sum, so that the task goes on from the same model."""

_VERSION: Final = 2
_MAX_HEADER: Final = 4096
FRAME: Final = 4 + _MAX_HEADER
"""Most bytes of a parcel beside its parts."""


class _Header(Wire, frozen=True):
    version: int
    kind: str
    sizes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Parcel:
    """One payload.

    Attributes:
        kind: what it asks for, or answers.
        parts: raw bytes each; views of the payload that was received.
    """

    kind: str
    parts: tuple[bytes | memoryview, ...]

    def __repr__(self) -> str:
        return f"Parcel({self.kind!r}, {[len(part) for part in self.parts]} bytes)"

    def to_bytes(self) -> bytes:
        """``length ‖ header ‖ parts``."""
        header = encode(_Header(_VERSION, self.kind, tuple(map(len, self.parts))))
        return b"".join((len(header).to_bytes(4, "little"), header, *self.parts))

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> Parcel:
        """Decode strictly; the parts stay views of ``data``.

        Raises:
            MalformedMessage: not a parcel of this version, or its sizes are not those of its parts.
        """
        header, bulk = unpack(data, _MAX_HEADER)
        known = decode(_Header, header, _MAX_HEADER)
        if known.version != _VERSION:
            raise MalformedMessage(f"a parcel of version {known.version}, not {_VERSION}")
        if len(known.sizes) > MAX_PARTS or any(size < 0 for size in known.sizes) or sum(known.sizes) != len(bulk):
            raise MalformedMessage(f"a parcel of {len(bulk)} bytes says it has {len(known.sizes)} parts of other sizes")
        parts, start = [], 0
        for size in known.sizes:
            parts.append(bulk[start : start + size])
            start += size
        return Parcel(known.kind, tuple(parts))

    def expect(self, kind: str, least: int, most: int | None = None) -> tuple[memoryview | bytes, ...]:
        """The parts, if they are of this kind and so many.

        Raises:
            MalformedMessage: they aren't.
        """
        most = least if most is None else most
        if self.kind != kind or not least <= len(self.parts) <= most:
            raise MalformedMessage(
                f"a parcel {self.kind!r} of {len(self.parts)} parts came, awaited was {kind!r} of {least} to {most}"
            )
        return self.parts


def split(payload: bytes) -> list[memoryview]:
    """A payload in pieces of at most ``PIECE`` bytes; at least one. Nothing is copied."""
    view = memoryview(payload)
    return [view[start : start + PIECE] for start in range(0, max(1, len(view)), PIECE)]


def join(pieces: Sequence[bytes | memoryview], limit: int = MAX_PAYLOAD) -> bytes:
    """What ``split`` cut up.

    Raises:
        MalformedMessage: above ``limit`` bytes.
    """
    total = sum(map(len, pieces))
    if total > limit:
        raise MalformedMessage(f"a payload has {total} bytes, above {limit}")
    return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
