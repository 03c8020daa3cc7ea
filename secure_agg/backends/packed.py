"""How a vector rides where everything that is done to it is addition: packed into words if they hold three values or
more, else as it is.

Packed, the words of x are followed by those of s and of s', whose coordinates have widths of their own; each word
holds as many digits in base B = n_max · top + 1 as 64 bits do, so that sums never carry, and is added modulo 2^64: a
mask is then uniform without rejection. Where a word holds two values or one, four bytes a value are as short, and the
vector stays one of Z_p, linear over what is committed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

import numpy as np

from mpc import ring
from mpc.digits import Runs
from mpc.ring import ELEMENT_BYTES, Vector
from mpc.words import Words, words_from_bytes, words_to_bytes
from secure_agg.backends.contract import Hidden, hidden_vector
from secure_agg.errors import BadInput, VerificationError
from secure_agg.executing.vectors import Carried
from secure_agg.protocol.config import RoundConfig
from zk.norm.commitment import NOISE_TOP

_WORD_BITS: Final = 64
_WORD_BYTES: Final = 8
_FEWEST: Final = 3
"""Values in a word from which on packing is shorter than 4 bytes a value."""


class Carrier(ABC):
    """The form of one round's vectors while they are summed.

    Attributes:
        size: bytes on the wire.
        elements: that are added, and masked.
    """

    size: int
    elements: int

    @abstractmethod
    def load(self, vector: Vector) -> Carried:
        """A client's x ‖ s ‖ s' in this form; may be the vector itself."""

    @abstractmethod
    def zero(self) -> Carried:
        """The sum of no vectors."""

    @abstractmethod
    def read(self, hidden: memoryview, *, phase: str, culprit: str) -> Carried:
        """One that was sent: a view of it, to be added to the total in its ring.

        Raises:
            BadInput: it has no such form.
        """

    @abstractmethod
    def unload(self, total: Carried, *, phase: str) -> Vector:
        """The sum X ‖ T ‖ T'.

        Raises:
            VerificationError: it is none of this form: somebody has sent something else than a packed vector.
        """

    def from_bytes(self, data: bytes, *, phase: str) -> Carried:
        """A total that ``to_bytes`` has encoded.

        Raises:
            BadInput: it is none.
        """
        return self.read(memoryview(data), phase=phase, culprit="").copy()

    def to_bytes(self, loaded: Carried) -> Hidden:
        """As it is sent."""
        return words_to_bytes(loaded) if loaded.dtype == np.uint64 else ring.byte_view(loaded)


class Residues(Carrier):
    """Each coordinate an element of Z_p."""

    def __init__(self, total: int) -> None:
        self.elements, self.size = total, total * ELEMENT_BYTES

    def load(self, vector: Vector) -> Vector:
        """The vector itself."""
        return vector

    def zero(self) -> Vector:
        """Zeros."""
        return np.zeros(self.elements, dtype=np.uint32)

    def read(self, hidden: memoryview, *, phase: str, culprit: str) -> Vector:
        """Elements of Z_p; every one has to be canonical."""
        return hidden_vector(hidden, phase=phase, culprit=culprit)

    def unload(self, total: Carried, *, phase: str) -> Vector:
        """The total itself."""
        vector: Vector = total
        return vector


class PackedWords(Carrier):
    """Several coordinates in each word, added modulo 2^64."""

    def __init__(self, runs: Runs) -> None:
        """``runs``: those of x, then s, and s'."""
        self._runs = runs
        self.elements = runs.elements
        self.size = self.elements * _WORD_BYTES

    def load(self, vector: Vector) -> Words:
        """The words of x, then those of s, and of s'."""
        return self._runs.pack(vector)

    def zero(self) -> Words:
        """Zeros."""
        return np.zeros(self.elements, dtype=np.uint64)

    def read(self, hidden: memoryview, *, phase: str, culprit: str) -> Words:
        """Modulo 2^64: every word is a masked one."""
        try:
            return words_from_bytes(hidden, self.elements)
        except ValueError as error:
            raise BadInput(str(error), phase=phase, culprit=culprit) from error

    def unload(self, total: Carried, *, phase: str) -> Vector:
        """The digits; whether each is in range and what was committed to is the aggregate check's to say."""
        sums = np.empty(self._runs.values, dtype=np.uint32)
        try:
            self._runs.unpack(total, sums)
        except ValueError as error:
            raise VerificationError(f"the sum is none of packed vectors: {error}", phase=phase) from error
        return sums


class Committed(Carrier):
    """The elements of Z_p that x ‖ s is committed to as, then s': what is linear over commitments is so over these."""

    def __init__(self, config: RoundConfig) -> None:
        self._layout, self._parameters = config.layout, config.commitment
        self.elements = self._layout.hashed + self._layout.sketch
        self.size = self.elements * ELEMENT_BYTES

    def load(self, vector: Vector) -> Vector:
        """The elements of x, then s, and s'."""
        committed = self._layout.committed
        return np.concatenate((self._parameters.pack(vector[:committed]), vector[committed:]))

    def zero(self) -> Vector:
        """Zeros."""
        return np.zeros(self.elements, dtype=np.uint32)

    def read(self, hidden: memoryview, *, phase: str, culprit: str) -> Vector:
        """Elements of Z_p; every one has to be canonical."""
        return hidden_vector(hidden, phase=phase, culprit=culprit)

    def unload(self, total: Carried, *, phase: str) -> Vector:
        """The digits; whether each is in range and what was committed to is the aggregate check's to say."""
        layout = self._layout
        if self._parameters.runs is None:
            vector: Vector = total
            return vector
        sums = np.empty(layout.total, dtype=np.uint32)
        sums[layout.committed :] = total[layout.elements :]
        try:
            self._parameters.unpack(total[: layout.elements], sums[: layout.committed])
        except ValueError as error:
            raise VerificationError(f"the sum is none of packed vectors: {error}", phase=phase) from error
        return sums


def carrier(config: RoundConfig) -> Carrier:
    """The shorter form for this round's vectors."""
    layout, policy = config.layout, config.policy
    packed = Runs.fitting(((run.length, policy.base_of(run.top)) for run in config.layout.runs), _WORD_BITS)
    if packed.most < _FEWEST:
        return Residues(layout.total)
    beside = [(layout.randomness, policy.noise_base)]
    if layout.sketch:
        beside.append((layout.sketch, policy.base_of(NOISE_TOP)))
    return PackedWords(Runs((*packed.parts, *Runs.fitting(beside, _WORD_BITS).parts)))
