"""The inputs that an aggregator has accepted, kept until the round is over: on disk, since together they are n models.

They are masked, and so no secret; the file has no name and is gone with the round.
"""

from __future__ import annotations

import tempfile
import weakref
from typing import NamedTuple

import numpy as np

from mpc.ring import ELEMENT_BYTES, Vector
from secure_agg.backends.masking.rules import MASKED_INPUT
from secure_agg.backends.masking.screening import Committed
from secure_agg.backends.masking.wire import ShownInput
from secure_agg.errors import StoreError
from secure_agg.protocol.messages import Header, encode, pack


class KeptInput(NamedTuple):
    """One input.

    Attributes:
        committed: what it commits to.
        value: what it is known by.
        place: of the masked vector in its file, in vectors.
        header: of the message, as it was signed: where it begins in its file, and its bytes. A norm proof is in it,
            which the aggregator has in memory once, and not twice.
        hidden: SHA-256 of the masked vector.
        proof: SHA-256 of its norm proof, where a norm is bounded.
    """

    committed: Committed
    value: bytes
    place: int
    header: tuple[int, int]
    hidden: bytes
    proof: bytes = b""


class KeptInputs:
    """By the client's index."""

    def __init__(self, elements: int) -> None:
        """
        Args:
            elements: of each masked vector.
        """
        self._elements = elements
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as this object lives
        self._headers = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        weakref.finalize(self, self._headers.close)
        self._end = 0
        self.items: dict[int, KeptInput] = {}

    def add(
        self, client: int, header: Header, committed: Committed, value: bytes, vector: memoryview, proof: bytes = b""
    ) -> None:
        """Keep one; nothing is kept if it raises.

        Raises:
            StoreError: the disk is full, or fails.
        """
        place, said = len(self.items), encode(header)
        try:
            self._file.seek(place * self._elements * ELEMENT_BYTES)
            self._file.write(vector)
            self._file.flush()
            self._headers.seek(self._end)
            self._headers.write(said)
            self._headers.flush()
        except OSError as error:
            raise StoreError(f"a masked input can't be kept: {error.strerror}", phase=MASKED_INPUT) from error
        self.items[client] = KeptInput(committed, value, place, (self._end, len(said)), header.bulk_digest, proof)
        self._end += len(said)

    def vector(self, client: int) -> Vector:
        """A masked vector, read from the file as far as it is looked at."""
        offset = self.items[client].place * self._elements * ELEMENT_BYTES
        mapped = np.memmap(self._file, dtype="<u4", mode="r", offset=offset, shape=(self._elements,))
        return mapped.view(np.ndarray)

    def shown(self, client: int) -> ShownInput:
        """What it was known by, spelt out."""
        item = self.items[client]
        sketch = item.committed.sketch.to_bytes() if item.committed.sketch else b""
        return ShownInput(client, item.committed.hashed.to_bytes(), item.hidden, sketch, item.proof)

    def message(self, client: int) -> bytes:
        """The whole message, as it was signed."""
        begin, size = self.items[client].header
        self._headers.seek(begin)
        return pack(self._headers.read(size), self.vector(client).tobytes())
