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
        header: of the message, as it was signed.
        committed: what it commits to.
        value: what it is known by.
        place: of the masked vector in the file, in vectors.
        proof: SHA-256 of its norm proof, where a norm is bounded.
    """

    header: Header
    committed: Committed
    value: bytes
    place: int
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
        weakref.finalize(self, self._file.close)
        self.items: dict[int, KeptInput] = {}

    def add(
        self, client: int, header: Header, committed: Committed, value: bytes, vector: memoryview, proof: bytes = b""
    ) -> None:
        """Keep one; nothing is kept if it raises.

        Raises:
            StoreError: the disk is full, or fails.
        """
        place = len(self.items)
        try:
            self._file.seek(place * self._elements * ELEMENT_BYTES)
            self._file.write(vector)
            self._file.flush()
        except OSError as error:
            raise StoreError(f"a masked input can't be kept: {error.strerror}", phase=MASKED_INPUT) from error
        self.items[client] = KeptInput(header, committed, value, place, proof)

    def vector(self, client: int) -> Vector:
        """A masked vector, read from the file as far as it is looked at."""
        offset = self.items[client].place * self._elements * ELEMENT_BYTES
        mapped = np.memmap(self._file, dtype="<u4", mode="r", offset=offset, shape=(self._elements,))
        return mapped.view(np.ndarray)

    def shown(self, client: int) -> ShownInput:
        """What it was known by, spelt out."""
        item = self.items[client]
        sketch = item.committed.sketch.to_bytes() if item.committed.sketch else b""
        return ShownInput(client, item.committed.hashed.to_bytes(), item.header.bulk_digest, sketch, item.proof)

    def message(self, client: int) -> bytes:
        """The whole message, as it was signed."""
        return pack(encode(self.items[client].header), self.vector(client).tobytes())
