"""How the proof's rows hold a client's secrets, and the equations that these have to satisfy.

Every row has 512 positions. Rows of bits, in this order:

* 2 for each block of s': row 2 j + k has bit k of coordinate i of block j at position i;
* κ + 11 for v: bit k of v_i + offset at position i, lowest bit first. The upper 11 are v_h + 1024;
* one *miscellaneous* row: numbers of ``zk.norm.bound`` bit by bit, from fixed positions on: the weight w (from 0),
  M − w (32), w − least weight (64), q (96), α w' − q M' (128), r² − ‖v_h‖² (160), the counts (192). Its other
  positions mean nothing.

Then one row that is not of bits: r at position 0, zeros after it.

Equations, in the order of their challenges: A_0 s' = t_0 (rank · 512, transform domain), A_1 s' + v = t_1 (512), A_2 s'
+ side = t_2, the three of weight and share, ‖v_h‖² = r² − (r² − ‖v_h‖²), and 512 of the last row. All of these are sums
over positions of products of a row with public weights, but for the squares, which are sums of squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.ntt import N
from mpc.ring import P, Vector
from zk.norm.bound import HIGH_BITS, OFFSET_R, SCALE_BITS, SHARE_BITS, SQUARE_BITS, NormBound
from zk.norm.code import product, transpose
from zk.norm.commitment import SketchCommitment, matrix
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

_P64: Final = np.uint64(P)
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

    sketch: Sketch
    randomness: Vector
    weight: int
    counts: tuple[int, ...] = ()


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


def weight_bits_of_limb(bound: NormBound, limb: int) -> range:
    """The bits of the weight that a limb is made of; none where the largest weight has no such bits."""
    first = limb * bound.limb_bits
    return range(min(first, bound.weight_bits), min(first + bound.limb_bits, bound.weight_bits))


def _bits(value: int, count: int) -> list[int]:
    return [value >> k & 1 for k in range(count)]


def _rounded(sketch: Sketch, bound: NormBound) -> npt.NDArray[np.int64]:
    """v_h."""
    return np.asarray(((sketch + bound.offset) >> bound.shift) - (1 << HIGH_BITS - 1))


def fill(layout: Layout, witness: Witness) -> Elements:
    """The rows: uint32, shape (512, rows), a column for each.

    Raises:
        NormExceeded: the weight, a count or the sketch is not what the bound allows. For its owner's eyes.
    """
    bound, weight = layout.bound, witness.weight
    if not bound.least_weight <= weight <= bound.most_weight or len(witness.counts) != bound.counts:
        raise NormExceeded(f"a weight of {weight} with {len(witness.counts)} counts is not what the bound is for")
    if any(count not in (0, 1) for count in witness.counts):
        raise NormExceeded(f"a count is 0 or 1, not {max(witness.counts, key=abs)}")
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


@dataclass(frozen=True)
class Equations:
    """All equations as one, weighted by their challenges.

    Attributes:
        weights: at each position and for each of the four parts of a challenge: the weights of the blocks of s', of v's
            shifted entries, of the miscellaneous row and of the last one; uint32, shape (512, 4, blocks + 3).
        square: the challenge of ‖v_h‖² − r²: shape (4,).
        value: what all of it has to come to: shape (4,).
    """

    weights: Elements
    square: Elements
    value: Elements


def combine(layout: Layout, commitment: SketchCommitment, challenges: Elements) -> Equations:
    """The equations for a commitment, weighted."""
    bound, blocks, parts = layout.bound, layout.blocks, challenges.shape[0]
    ring_end = (layout.rank + 1) * N
    ring = challenges[:, :ring_end].reshape(parts, layout.rank + 1, N)
    side, others, last = np.split(challenges[:, ring_end:], [bound.side, bound.side + 4], axis=1)
    public = matrix(layout.rank)

    weights = np.zeros((N, parts, blocks + 3), dtype=np.uint64)
    spread = np.zeros((N, parts, blocks + 1), dtype=np.uint64)
    for row in range(layout.rank + 1):
        spread[:, :, :blocks] += public.ring[row].T[:, None, :] * ring[:, row].T[:, :, None].astype(np.uint64) % _P64
    spread[:, :, blocks] = ring[:, -1].T
    flat = (spread % _P64).astype(np.uint32).reshape(N, -1)
    weights[:, :, : blocks + 1] = transpose(flat).reshape(N, parts, blocks + 1)
    plain = product(side, public.plain[: bound.side]).reshape(parts, blocks, N)
    weights[:, :, :blocks] += plain.transpose(2, 0, 1)
    weights[:, :, blocks + 1] = _miscellaneous(bound, side, others, last).T
    weights[:, :, blocks + 2] = last.T

    value = (ring.reshape(parts, -1).astype(np.uint64) * commitment.elements[:ring_end] % _P64).sum(axis=1)
    value += (side.astype(np.uint64) * commitment.plain % _P64).sum(axis=1)
    of_sketch = weights[:, :, blocks].sum(axis=0) % _P64
    value += of_sketch * np.uint64(bound.offset) % _P64
    for challenge, constant in (
        (others[:, 0], bound.most_weight),
        (others[:, 1], bound.least_weight),
        (last[:, 0], OFFSET_R),
    ):
        value += challenge.astype(np.uint64) * np.uint64(constant) % _P64
    return Equations((weights % _P64).astype(np.uint32), others[:, 3].copy(), (value % _P64).astype(np.uint32))


def _miscellaneous(bound: NormBound, side: Elements, others: Elements, last: Elements) -> npt.NDArray[np.uint64]:
    """The weights of the miscellaneous row: shape (4, 512)."""
    out = np.zeros((side.shape[0], N), dtype=np.uint64)

    def add(place: int, challenge: Elements, factor: int, count: int) -> None:
        """``challenge · factor`` times the number whose bits are there."""
        powers = np.array([(factor << k) % P for k in range(count)], dtype=np.uint64)
        out[:, place : place + count] += challenge[:, None].astype(np.uint64) * powers % _P64

    for limb in range(bound.limbs):
        part = weight_bits_of_limb(bound, limb)
        add(WEIGHT_AT + part.start, side[:, limb], 1, len(part))
    for count in range(bound.counts):
        add(COUNTS_AT + count, side[:, bound.limbs + count], 1, 1)
    most, least, share, square = (others[:, i] for i in range(4))
    add(WEIGHT_AT, most, 1, bound.weight_bits)  # w + (M − w) = M
    add(BELOW_MOST_AT, most, 1, bound.weight_bits)
    add(WEIGHT_AT, least, 1, bound.weight_bits)  # w − (w − m) = m
    add(ABOVE_LEAST_AT, least, -1, bound.weight_bits)
    add(WEIGHT_AT + bound.share_shift, share, bound.scale, bound.weight_bits - bound.share_shift)  # α w' − q M' − … = 0
    add(QUOTIENT_AT, share, -bound.share, SCALE_BITS)
    add(REST_AT, share, -1, REST_BITS)
    add(SQUARE_AT, square, 1, SQUARE_BITS)  # ‖v_h‖² − r² + (r² − ‖v_h‖²) = 0
    add(QUOTIENT_AT, last[:, 0], -1, SCALE_BITS)  # r − q = 13
    return out % _P64
