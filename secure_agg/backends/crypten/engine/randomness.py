"""Random words of 64 bits from key streams, and the keys of one job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mpc.keystream import KeyStream, derive_key
from mpc.words import Words

__all__ = ["JobKeys", "Stream", "Words", "combine_coins"]


class Stream:
    """Draws from one 32-byte key: the i-th draw is stream i of the key stream. Not thread-safe."""

    def __init__(self, key: bytes) -> None:
        self._stream = KeyStream(key)
        self._draws = 0

    def __repr__(self) -> str:
        return "Stream(<secret>)"

    def draw(self, *shape: int) -> Words:
        """Uniform words."""
        out = np.empty(shape, dtype=np.uint64)
        self._stream.words(self._draws, out.reshape(-1).view(np.uint32))
        self._draws += 1
        return out

    def skip(self) -> None:
        """Leave a draw out: whoever holds the same key makes it."""
        self._draws += 1


@dataclass(frozen=True)
class JobKeys:
    """One party's keys for one job; never used for another.

    Attributes:
        rank: the party.
        local: known to this party alone.
        pairs: with each other party, in order of rank; both hold it.
        coins: known to all parties, made of a part from each after they had their shares.
        provider: known to this party and the provider.
    """

    rank: int
    local: Stream = field(repr=False)
    pairs: Sequence[Stream] = field(repr=False)
    coins: Stream = field(repr=False)
    provider: Stream = field(repr=False)

    def zero_sum(self, shape: tuple[int, ...]) -> Words:
        """This party's share of zero modulo 2^64: uniform even to k − 2 others."""
        total = np.zeros(shape, dtype=np.uint64)
        for place, stream in enumerate(self.pairs):
            if place < self.rank:  # the party with the smaller rank adds, the other subtracts
                total -= stream.draw(*shape)
            else:
                total += stream.draw(*shape)
        return total

    def zero_xor(self, shape: tuple[int, ...]) -> Words:
        """This party's exclusive-or share of zero."""
        total = np.zeros(shape, dtype=np.uint64)
        for stream in self.pairs:
            total ^= stream.draw(*shape)
        return total


def combine_coins(parts: Sequence[bytes]) -> bytes:
    """The key of the public coins, unpredictable before the last party has given its part (32 bytes each)."""
    return derive_key(b"".join(parts), "crypten-coins")
