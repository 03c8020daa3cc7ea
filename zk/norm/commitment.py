"""The sketch's commitment: C' = (A_0 s', A_1 s' + v, A_2 s' + side), which hides a sketch and can be summed.

As Baum, Damgård, Lyubashevsky, Oechslner and Peikert 2018: t_0 binds, over short s', what t_1 and t_2 then fix exactly.
``side`` is what must be known exactly beside the sketch v: the limbs of the weight, and counts. s' is uniform, 2 bits a
coordinate, in 6 blocks of 512 for rank 1 and 8 for rank 2 (``zk.parameters``); sums of it are revealed with the sums of
the vectors, and open the sum of the C'.

A_0 has rank × blocks elements of R = Z_p[X]/(X^512 + 1), A_1 one row of them, both in the transform domain as in
``zk.commitment``, and so are t_0 and t_1. A_2 has ``side`` rows of plain residues.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.keystream import KeyStream
from mpc.ntt import LANES, N, transpose_lanes
from mpc.ring import ELEMENT_BYTES, P, Vector, add_into, from_bytes, to_bytes
from zk.norm.bound import MOST_SIDE
from zk.norm.code import evaluate, modulo, product
from zk.norm.sketch import Sketch
from zk.parameters import SKETCH_BLOCKS, SKETCH_NOISE_BITS
from zk.transcript import digest

NOISE_TOP: Final = (1 << SKETCH_NOISE_BITS) - 1

_P64: Final = np.uint64(P)


@dataclass(frozen=True)
class Matrix:
    """The public matrix of one rank.

    Attributes:
        ring: A_0 and, last, A_1 in the transform domain: uint32, shape (rank + 1, blocks, 512).
        plain: the first rows of A_2: uint32, shape (34, blocks · 512).
    """

    ring: npt.NDArray[np.uint32]
    plain: npt.NDArray[np.uint32]


@functools.cache
def matrix(rank: int) -> Matrix:
    """The matrix: stream 0 of a key that is nothing up anybody's sleeve holds A_0 and A_1, stream 1 A_2."""
    stream = KeyStream(digest("sketch-matrix", bytes([rank])))
    ring = np.empty((rank + 1) * SKETCH_BLOCKS[rank] * N, dtype=np.uint32)
    plain = np.empty(MOST_SIDE * SKETCH_BLOCKS[rank] * N, dtype=np.uint32)
    stream.residues(0, ring)
    stream.residues(1, plain)
    return Matrix(ring.reshape(rank + 1, -1, N), plain.reshape(MOST_SIDE, -1))


def randomness_length(rank: int) -> int:
    """Coordinates of s'."""
    return SKETCH_BLOCKS[rank] * N


def draw_randomness(key: bytes, rank: int) -> Vector:
    """s', uniform of 2 bits a coordinate: stream 0 of a secret key."""
    out = np.empty(randomness_length(rank), dtype=np.uint32)
    KeyStream(key).bounded(0, SKETCH_NOISE_BITS, out)
    return out


@dataclass(frozen=True)
class SketchCommitment:
    """t_0 ‖ t_1 ‖ t_2: (rank + 1) · 512 + side elements of Z_p, 4 kB at rank 1."""

    elements: Vector
    rank: int

    @property
    def side(self) -> int:
        """Coordinates beside the sketch."""
        return self.elements.size - (self.rank + 1) * N

    @property
    def ring(self) -> npt.NDArray[np.uint32]:
        """t_0 and, last, t_1: shape (rank + 1, 512)."""
        return self.elements[: (self.rank + 1) * N].reshape(self.rank + 1, N)

    @property
    def plain(self) -> Vector:
        """t_2."""
        return self.elements[(self.rank + 1) * N :]

    def to_bytes(self) -> bytes:
        """The canonical encoding: 4 bytes per element, little endian."""
        return to_bytes(self.elements)

    @staticmethod
    def from_bytes(data: bytes | memoryview, rank: int, side: int) -> SketchCommitment:
        """Decode strictly.

        Raises:
            ValueError: another length than ((rank + 1) · 512 + side) · 4 bytes, or an element not below p.
        """
        wanted = ((rank + 1) * N + side) * ELEMENT_BYTES
        if len(data) != wanted:
            raise ValueError(f"a sketch's commitment of rank {rank} has {wanted} bytes, not {len(data)}")
        return SketchCommitment(from_bytes(data), rank)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SketchCommitment)
            and self.rank == other.rank
            and bool(np.array_equal(self.elements, other.elements))
        )

    def __hash__(self) -> int:
        return hash((self.rank, self.to_bytes()))


def commit(sketch: Sketch, side: Vector, randomness: Vector, rank: int) -> SketchCommitment:
    """C', linear modulo p in all of sketch, side and randomness.

    Args:
        sketch: v, int64, shape (512,).
        side: up to 34 elements of Z_p.
        randomness: s', ``randomness_length(rank)`` elements of Z_p.

    Raises:
        ValueError: an argument of another length.
    """
    if sketch.shape != (N,) or side.size > MOST_SIDE or randomness.size != randomness_length(rank):
        raise ValueError(
            f"a sketch of {sketch.size}, {side.size} coordinates beside it and {randomness.size} random ones; "
            f"rank {rank} takes {N}, at most {MOST_SIDE}, and {randomness_length(rank)}"
        )
    public = matrix(rank)
    blocks = np.column_stack([randomness.reshape(-1, N).T, modulo(sketch)])
    values = evaluate(np.ascontiguousarray(blocks), 0).T.astype(np.uint64)
    ring = (public.ring * values[:-1] % _P64).sum(axis=1)
    ring[-1] += values[-1]
    plain = product(public.plain[: side.size], randomness[:, None])[:, 0].astype(np.uint64) + side
    return SketchCommitment((np.concatenate([ring.reshape(-1), plain]) % _P64).astype(np.uint32), rank)


def add(commitments: Sequence[SketchCommitment]) -> SketchCommitment:
    """The sum: a commitment to the sums of what each commits to. At least one, all of one rank and side."""
    total = commitments[0].elements.copy()
    for item in commitments[1:]:
        add_into(total, item.elements)
    return SketchCommitment(total, commitments[0].rank)


class SketchFunctional:
    """Random linear functionals of C', but for the sketch: of t_0 = A_0 s' and t_2 = A_2 s' + side.

    ``zk.functional`` adds them to those of the vector's commitment where a norm is bounded. R's rows, which t_1 would
    take, cost more than all else. Where x is committed to in packed elements the side's coordinates are digits of them,
    no linear function modulo p: then t_0 alone is tested.

    Attributes:
        noise: what it multiplies the coordinates of s' by: uint32, shape (rows, length of s').
        side: and those of the side: uint32, shape (rows, side).
    """

    def __init__(self, rows: Vector, rank: int) -> None:
        """
        Args:
            rows: uint32, shape (rows, rank · 512 + side); side is 0 where t_2 is left out.
            rank: of the sketch's commitment.
        """
        self._rows, self._rank = rows, rank
        self.side = np.ascontiguousarray(rows[:, rank * N :])
        public = matrix(rank)
        noise = product(self.side, public.plain[: self.side.shape[1]]).astype(np.uint64)
        blocks = np.zeros((N, LANES), dtype=np.uint32)
        for row, out in zip(rows[:, : rank * N].reshape(-1, rank, 1, N).astype(np.uint64), noise, strict=True):
            blocks[:] = 0
            columns = (row * public.ring[:rank] % P).sum(axis=0) % P
            blocks[:, : len(columns)] = columns.T
            transpose_lanes(blocks)
            out += blocks.T[: len(columns)].reshape(-1)
        self.noise = (noise % P).astype(np.uint32)

    def of_commitment(self, commitment: SketchCommitment) -> Vector:
        """The values of whatever s' and side open the commitment: a residue for each row.

        Raises:
            ValueError: a commitment of another rank or side.
        """
        side = self.side.shape[1]
        if commitment.rank != self._rank or side not in (0, commitment.side):
            raise ValueError(f"a sketch's commitment of rank {commitment.rank} and side {commitment.side}")
        elements = np.concatenate([commitment.elements[: self._rank * N], commitment.plain[:side]])
        return product(self._rows, elements[:, None])[:, 0]
