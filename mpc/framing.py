"""One injective encoding of a labelled list of byte strings.

Every hash, key derivation and signature in the project is over such a frame, so two different
statements can never be the same bytes.
"""

from __future__ import annotations

from functools import lru_cache

PROTOCOL = b"secure-agg/2"


@lru_cache(maxsize=256)
def _opening(label: str) -> bytes:
    """``PROTOCOL`` and the label, each with its length: a protocol has a few dozen labels."""
    name = label.encode()
    return b"".join((integer(len(PROTOCOL)), PROTOCOL, integer(len(name)), name))


def frame(label: str, *parts: bytes | memoryview) -> bytes:
    """Return ``PROTOCOL``, the label and the parts, each preceded by its length (8 bytes, little endian)."""
    pieces: list[bytes | memoryview] = [_opening(label)]
    for part in parts:
        size = len(part) if type(part) is bytes else memoryview(part).nbytes
        pieces += (_LENGTHS[size] if size < _SHORT else integer(size), part)
    return b"".join(pieces)


def integer(value: int) -> bytes:
    """An unsigned integer as 8 bytes, little endian, for use as a part of a frame."""
    return value.to_bytes(8, "little")


_SHORT = 1 << 10
_LENGTHS = tuple(map(integer, range(_SHORT)))
"""Of nearly all parts there are: a round frames thousands."""
