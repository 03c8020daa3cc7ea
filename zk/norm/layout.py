"""How the proof's rows hold a client's secrets.

Every row has 512 positions. Rows of bits, in this order:

* 2 for each block of s': row 2 j + k has bit k of coordinate i of block j at position i;
* κ + 11 for v: bit k of v_i + offset at position i, lowest bit first. The upper 11 are v_h + 1024;
* one *miscellaneous* row: numbers of ``zk.norm.bound`` bit by bit, from fixed positions on: the weight w (from 0),
  M − w (32), w − least weight (64), q (96), α w' − q M' (128), r² − ‖v_h‖² (160), the counts (192). Its other
  positions mean nothing.

Then one row that is not of bits: r at position 0, zeros after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.ntt import N
from mpc.ring import Vector
from zk.norm.bound import HIGH_BITS, OFFSET_R, SCALE_BITS, SHARE_BITS, SQUARE_BITS, NormBound
from zk.norm.sketch import Sketch
from zk.parameters import SKETCH_BLOCKS, SKETCH_NOISE_BITS, sketch_rank

WEIGHT_AT: Final = 0
BELOW_MOST_AT: Final = 32
ABOVE_LEAST_AT: Final = 64
QUOTIENT_AT: Final = 96
REST_AT: Final = 128
SQUARE_AT: Final = 160
COUNTS_AT: Final = 192
REST_BITS: Final = SCALE_BITS + SHARE_BITS

Elements = npt.NDArray[np.uint32]


class NormExceeded(ValueError):
    """A vector or a weight of one's own that the bound does not allow: there is no proof of it."""


@dataclass(frozen=True)
class Witness:
    """What a client proves its statement from.

    Attributes:
        sketch: v, int64, shape (512,).
        randomness: s', uint32.
        weight: w.
        counts: each 0 or 1.
    """

    sketch: Sketch = field(repr=False)
    randomness: Vector = field(repr=False)
    weight: int = field(repr=False)
    counts: tuple[int, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Layout:
    """The rows of a bound.

    Attributes:
        bound: what is proved.
        rank: of C'.
    """

    bound: NormBound
    rank: int

    @staticmethod
    def of(bound: NormBound) -> Layout:
        """The layout for a bound."""
        return Layout(bound, sketch_rank(bound.clients))

    @property
    def blocks(self) -> int:
        """Of s'."""
        return SKETCH_BLOCKS[self.rank]

    @property
    def first_of_sketch(self) -> int:
        """The row with the lowest bit of v."""
        return SKETCH_NOISE_BITS * self.blocks

    @property
    def miscellaneous(self) -> int:
        """The row of numbers bit by bit."""
        return self.first_of_sketch + self.bound.rows

    @property
    def rows(self) -> int:
        """All of them."""
        return self.miscellaneous + 2

    @property
    def equations(self) -> int:
        """All of them."""
        return (self.rank + 2) * N + self.bound.side + 4

    def side(self, weight: int, counts: tuple[int, ...] = ()) -> Vector:
        """The coordinates beside the sketch: limbs of the weight, counts."""
        bits = self.bound.limb_bits
        limbs = [weight >> bits * i & (1 << bits) - 1 for i in range(self.bound.limbs)]
        return np.array([*limbs, *counts], dtype=np.uint32)


def _bits(value: int, count: int) -> list[int]:
    return [value >> k & 1 for k in range(count)]


def _rounded(sketch: Sketch, bound: NormBound) -> npt.NDArray[np.int64]:
    """v_h."""
    return np.asarray(((sketch + bound.offset) >> bound.shift) - (1 << HIGH_BITS - 1))


def fill(layout: Layout, witness: Witness) -> Elements:
    """The rows: uint32, shape (512, rows), a column for each.

    Raises:
        NormExceeded: the weight, a count, the randomness or the sketch is not what the bound allows. For its owner's
            eyes.
    """
    bound, weight = layout.bound, witness.weight
    if not bound.least_weight <= weight <= bound.most_weight or len(witness.counts) != bound.counts:
        raise NormExceeded(f"a weight of {weight} with {len(witness.counts)} counts is not what the bound is for")
    if any(count not in (0, 1) for count in witness.counts):
        raise NormExceeded(f"a count is 0 or 1, not {max(witness.counts, key=abs)}")
    if witness.randomness.size != layout.blocks * N or int(witness.randomness.max()) >= 1 << SKETCH_NOISE_BITS:
        raise NormExceeded(f"s' has {layout.blocks * N} coordinates of {SKETCH_NOISE_BITS} bits each, not others")
    shifted = witness.sketch + bound.offset
    if int(shifted.min()) < 0 or int(shifted.max()) >= 1 << bound.rows:
        raise NormExceeded(f"an entry of the sketch is {int(np.abs(witness.sketch).max())}, above {bound.offset}")
    quotient = bound.quotient(weight)
    radius = OFFSET_R + quotient
    square = radius * radius - int((_rounded(witness.sketch, bound) ** 2).sum())
    if square < 0:
        raise NormExceeded(
            f"the sketch's norm is {float(np.linalg.norm(witness.sketch)):.6g}, above "
            f"{radius << bound.shift}, what weight {weight} allows"
        )
    out = np.zeros((N, layout.rows), dtype=np.uint32)
    blocks = witness.randomness.reshape(layout.blocks, N)
    for k in range(SKETCH_NOISE_BITS):
        out[:, k : layout.first_of_sketch : SKETCH_NOISE_BITS] = (blocks >> np.uint32(k) & 1).T
    for k in range(bound.rows):
        out[:, layout.first_of_sketch + k] = shifted >> k & 1
    rest = bound.scale * (weight >> bound.share_shift) - quotient * bound.share
    for place, value, count in (
        (WEIGHT_AT, weight, bound.weight_bits),
        (BELOW_MOST_AT, bound.most_weight - weight, bound.weight_bits),
        (ABOVE_LEAST_AT, weight - bound.least_weight, bound.weight_bits),
        (QUOTIENT_AT, quotient, SCALE_BITS),
        (REST_AT, rest, REST_BITS),
        (SQUARE_AT, square, SQUARE_BITS),
    ):
        out[place : place + count, layout.miscellaneous] = _bits(value, count)
    out[COUNTS_AT : COUNTS_AT + bound.counts, layout.miscellaneous] = witness.counts
    out[0, -1] = radius
    return out
