"""What the homomorphic backends ask of an encryption scheme, for one round's vectors under one public key.

So many coordinates of so many bits, summed over so many clients at most: a scheme is refused at construction where the
decrypted sums would not equal the exact ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from mpc.ring import Vector
from secure_agg.protocol.config import RoundConfig


class Summing(ABC):
    """Adds up ciphertext vectors as they arrive; memory is that of one."""

    @abstractmethod
    def add(self, data: bytes | memoryview) -> None:
        """Check a ciphertext vector, then add it.

        Raises:
            RemoteProtocolError: it is none of this round; the sum is as it was.
        """

    @abstractmethod
    def total(self) -> bytes:
        """The encrypted sum."""


class Scheme(ABC):
    """A scheme under one public key.

    Attributes:
        config: the round's.
        repeatable: whether the same randomness gives the same ciphertext; else the client keeps it until it is sent.
    """

    config: RoundConfig
    repeatable: ClassVar[bool] = True

    @abstractmethod
    def encrypt(self, vector: Vector, randomness: bytes) -> bytes:
        """Encrypt a vector x ‖ s.

        Args:
            randomness: 32 secret bytes for this vector alone; a scheme whose library has its own source ignores them.
        """

    @abstractmethod
    def summing(self) -> Summing:
        """An empty sum."""
