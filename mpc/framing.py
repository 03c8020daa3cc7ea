"""One injective encoding of a labelled list of byte strings.

Every hash, key derivation and signature in the project is over such a frame, so two different
statements can never be the same bytes.
"""

from __future__ import annotations

PROTOCOL = b"secure-agg/1"


def frame(label: str, *parts: bytes | memoryview) -> bytes:
    """Return ``PROTOCOL``, the label and the parts, each preceded by its length (8 bytes, little endian)."""
    pieces: list[bytes | memoryview] = []
    for part in (PROTOCOL, label.encode(), *parts):
        pieces.append(memoryview(part).nbytes.to_bytes(8, "little"))
        pieces.append(part)
    return b"".join(pieces)


def integer(value: int) -> bytes:
    """An unsigned integer as 8 bytes, little endian, for use as a part of a frame."""
    return value.to_bytes(8, "little")
