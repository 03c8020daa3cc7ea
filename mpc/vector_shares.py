"""Sharing long vectors of Z_p among a few parties, compressed: most shares are 32-byte keys.

Two linear schemes, one form. A share of the vector x is

* *additive* (threshold = parties): the shares sum up to x;
* *Shamir's* (1979; threshold < parties): party i (from 0) has f(i + 1) for a polynomial f of degree threshold − 1
  with vector coefficients and f(0) = x.

In both, threshold − 1 shares may be chosen freely, and then fix all others: the free ones are key streams, sent as
keys (seed compression as in Prio, Corrigan-Gibbs and Boneh 2017, appendix I), the others are linear in x and them. So
``parties − threshold + 1`` parties get a *long* share. Fewer than ``threshold`` shares say nothing about x, as long as
the key stream looks random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpc import parallel
from mpc.kernels.compiled import compiled
from mpc.keystream import CHUNK, KeyStream
from mpc.ring import P, Vector, add_into, subtract_from
from mpc.shamir import lagrange

_P64 = np.uint64(P)
MAX_PARTIES = 16


def _plain_add_scaled(total: Vector, values: Vector, factor: int) -> None:
    total[:] = (values * np.uint64(factor) + total) % _P64


@compiled(or_else=_plain_add_scaled)
def _add_scaled(total: Vector, values: Vector, factor: int) -> None:
    c = np.uint64(factor)
    for i in range(total.size):
        total[i] = np.uint32((np.uint64(total[i]) + c * np.uint64(values[i])) % _P64)  # below p² + p < 2^62 before


def add_scaled(total: Vector, values: Vector, factor: int) -> None:
    """``total += factor · values`` modulo p, in place; factor in [0, p). All canonical."""
    if total.shape != values.shape:
        raise ValueError(f"vectors of {total.size} and {values.size} elements cannot be added")
    if factor == 1:
        add_into(total, values)
    elif factor == P - 1:
        subtract_from(total, values)
    elif factor:
        _add_scaled(total, values, factor)


@dataclass(frozen=True)
class Scheme:
    """Who can rebuild a shared vector: any ``threshold`` of ``parties``."""

    parties: int
    threshold: int

    def __post_init__(self) -> None:
        if not 2 <= self.threshold <= self.parties <= MAX_PARTIES:
            raise ValueError(f"a threshold of {self.threshold} among {self.parties} parties")

    @property
    def additive(self) -> bool:
        """Whether the shares just sum up."""
        return self.threshold == self.parties

    def long_holders(self, start: int) -> tuple[int, ...]:
        """The parties with a long share, beginning at ``start`` modulo parties, in order."""
        return tuple(sorted((start + i) % self.parties for i in range(self.parties - self.threshold + 1)))

    def weights(self, parties: Sequence[int]) -> tuple[int, ...]:
        """Factors with which these parties' shares sum up to the vector.

        Raises:
            ValueError: not exactly ``threshold`` different parties.
        """
        self._check(parties, self.threshold)
        if self.additive:
            return (1,) * self.parties
        return lagrange([i + 1 for i in parties], 0)

    def factors(self, party: int, free: Sequence[int]) -> tuple[int, tuple[int, ...]]:
        """A long share as a combination of the vector and the free shares.

        Returns:
            The vector's factor, and one for each of ``free`` in its order.
        """
        self._check([party, *free], self.threshold)
        if self.additive:
            return 1, (P - 1,) * len(free)
        first, *others = lagrange([0, *(i + 1 for i in free)], party + 1)
        return first, tuple(others)

    def implied(self, party: int, parties: Sequence[int]) -> tuple[int, ...]:
        """Factors with which the shares of ``threshold`` parties give another party's: what makes too many shares
        checkable.

        Raises:
            ValueError: not exactly ``threshold`` different parties, or the shares are additive: none is implied.
        """
        if self.additive:
            raise ValueError("no additive share follows from others")
        self._check(parties, self.threshold)
        return lagrange([i + 1 for i in parties], party + 1)

    def _check(self, parties: Sequence[int], count: int) -> None:
        if len(set(parties)) != count or len(parties) != count or not all(0 <= i < self.parties for i in parties):
            raise ValueError(f"parties {list(parties)} are not {count} different ones of {self.parties}")


def expand(key: bytes, length: int, added: Sequence[tuple[Vector, int]] = (), *, out: Vector | None = None) -> Vector:
    """The vector that a free share's key stands for. On all cores.

    Args:
        key: 32 bytes.
        length: of the vector.
        added: vectors of that length to which it is added, and with which factors: cheapest at once, while a chunk is
            in a core's cache.
        out: is filled and returned: memory that was used before takes half the time of new.
    """
    share = np.empty(length, dtype=np.uint32) if out is None else out

    def work(first: int, last: int) -> None:
        stream = KeyStream(key)
        for chunk in range(first, last):
            span = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
            stream.residues(chunk, share[span])
            for total, factor in added:
                add_scaled(total[span], share[span], factor)

    parallel.map_ranges(work, -(-length // CHUNK))
    return share


def weighted_sum(vectors: Sequence[Vector], factors: Sequence[int]) -> Vector:
    """``sum of factor · vector`` modulo p."""
    if len(vectors) != len(factors) or not vectors:
        raise ValueError(f"{len(vectors)} vectors and {len(factors)} factors")
    rest = list(zip(vectors, factors, strict=True))
    total = rest.pop(0)[0].copy() if factors[0] == 1 else np.zeros_like(vectors[0])
    for vector, factor in rest:
        add_scaled(total, vector, factor)
    return total
