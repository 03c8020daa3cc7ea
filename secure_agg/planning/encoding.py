"""Sizes of encoded messages without encoding any: MessagePack as ``secure_agg.protocol.messages`` uses it."""

from __future__ import annotations

from typing import Final

DIGEST: Final = 32
SIGNATURE: Final = 64
KEY: Final = 32
_LENGTH: Final = 4


def number(value: int) -> int:
    """Bytes of an unsigned integer."""
    return 1 + next(width for width, limit in ((0, 7), (1, 8), (2, 16), (4, 32), (8, 64)) if value >> limit == 0)


def numbers(count: int) -> int:
    """Bytes of all the integers in range(count): indices of clients."""
    return sum(max(0, min(count, end) - start) * number(start) for start, end in _SPANS)


_SPANS: Final = ((0, 1 << 7), (1 << 7, 1 << 8), (1 << 8, 1 << 16), (1 << 16, 1 << 32))


def binary(size: int) -> int:
    """Bytes of a byte string of ``size`` bytes."""
    return size + (2 if size < 1 << 8 else 3 if size < 1 << 16 else 5)


def text(size: int) -> int:
    """Bytes of a string of ``size`` bytes."""
    return size + (1 if size < 32 else 2 if size < 1 << 8 else 3)


def listed(count: int) -> int:
    """Bytes that precede ``count`` elements of an array."""
    return 1 if count < 16 else 3 if count < 1 << 16 else 5


def repeated(count: int, each: float) -> float:
    """Bytes of an array of ``count`` elements of ``each`` bytes on average."""
    return listed(count) + count * each


def fields(*sizes: float) -> float:
    """Bytes of a wire struct, from those of its fields."""
    return listed(len(sizes)) + sum(sizes)


def message(phase: str, sender: int, recipient: int, body: float, bulk: float = 0) -> float:
    """Bytes of a signed message.

    Args:
        phase: its name.
        sender, recipient: bytes of their ids; 0 for everybody.
        body: bytes of the phase's own content, encoded.
        bulk: bytes of the vector that follows.
    """
    header = fields(
        number(1),
        binary(DIGEST),
        text(len(phase)),
        text(sender),
        text(recipient),
        binary(round(body)),
        binary(DIGEST if bulk else 0),
        binary(SIGNATURE),
    )
    return _LENGTH + header + bulk
