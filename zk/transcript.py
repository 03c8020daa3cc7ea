"""Domain-separated hashing: a digest covers a label and every field of the statement, each with its length."""

from __future__ import annotations

import hashlib
from typing import Final

from mpc.framing import frame

DIGEST_BYTES: Final = 32


def digest(label: str, *parts: bytes | memoryview) -> bytes:
    """SHA-256 over the frame of a label and byte strings. Two different statements never hash the same bytes."""
    return hashlib.sha256(frame(label, *parts)).digest()


class Transcript:
    """Collects a statement field by field, each under a name, and hashes all of it.

    The digest of a transcript is ``digest(label, name_1, value_1, name_2, value_2, …)``.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._parts: list[bytes | memoryview] = []

    def absorb(self, name: str, value: bytes | memoryview) -> Transcript:
        """Add one named field; returns itself, so that a statement reads as one expression."""
        self._parts += (name.encode(), value)
        return self

    def digest(self) -> bytes:
        """32 bytes that bind the label and all fields absorbed so far."""
        return digest(self._label, *self._parts)
