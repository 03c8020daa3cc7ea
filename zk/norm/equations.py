"""The equations that a proof's rows have to satisfy, and what rows say of them at single columns.

In the order of their challenges: A_0 s' = t_0 (rank · 512, transform domain), A_1 s' + v = t_1 (512), A_2 s' + side =
t_2, the three of weight and share, ‖v_h‖² = r² − (r² − ‖v_h‖²), and 512 of the last row. All of these are sums over
positions of products of a row with public weights, but for the squares, which are sums of squares.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.ntt import N
from mpc.ring import P
from zk.norm.bound import HIGH_BITS, OFFSET_R, SCALE_BITS, SQUARE_BITS, NormBound
from zk.norm.code import product, transpose
from zk.norm.commitment import SketchCommitment, matrix
from zk.norm.layout import (
    ABOVE_LEAST_AT,
    BELOW_MOST_AT,
    COUNTS_AT,
    QUOTIENT_AT,
    REST_AT,
    REST_BITS,
    SQUARE_AT,
    WEIGHT_AT,
    Elements,
    Layout,
)
from zk.parameters import SKETCH_NOISE_BITS

_P64: Final = np.uint64(P)


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
        part = bound.weight_bits_of(limb)
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


def equation_values(layout: Layout, columns: Elements, weights: Elements, square: Elements) -> Elements:
    """The equations' combination at some columns, without its mask.

    Args:
        columns: entries of the rows: shape (n, rows).
        weights: of ``Equations``, as polynomials, at these columns: shape (n, 4, blocks + 3).
        square: the challenge of the squares.

    Returns:
        shape (n, 4).
    """
    read = product(columns, _numbers(layout)).astype(np.uint64)
    entries, high = read[:, :-1], read[:, -1]
    rounded, radius = (high + np.uint64(P - (1 << HIGH_BITS - 1))) % _P64, entries[:, -1]
    squares = (rounded * rounded % _P64 + (_P64 - radius * radius % _P64)) % _P64
    out = (weights * entries[:, None, :] % _P64).sum(axis=2) + squares[:, None] * square % _P64
    return np.asarray(out % _P64, dtype=np.uint32)


@functools.cache
def _numbers(layout: Layout) -> Elements:
    """What the rows are bits of: the matrix that takes them to the blocks of s', v's shifted entries, the last two rows
    as they are, and v_h + 1024.
    """
    first, last, blocks = layout.first_of_sketch, layout.miscellaneous, layout.blocks
    out = np.zeros((layout.rows, blocks + 4), dtype=np.uint32)
    for row in range(first):
        out[row, row // SKETCH_NOISE_BITS] = 1 << row % SKETCH_NOISE_BITS
    out[first:last, blocks] = 1 << np.arange(last - first)
    out[last, blocks + 1] = out[last + 1, blocks + 2] = 1
    out[last - HIGH_BITS : last, blocks + 3] = 1 << np.arange(HIGH_BITS)
    return out


def bit_values(columns: Elements, challenges: Elements) -> Elements:
    """Σ of u² − u over the rows of bits, times their challenges, at some columns: shape (n, 4)."""
    bits = columns[:, :-1].astype(np.uint64)
    return product(((bits * bits + (_P64 - bits)) % _P64).astype(np.uint32), challenges.T)
