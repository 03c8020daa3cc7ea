"""Random linear functionals of the sketch's commitment, but for the sketch itself: t_0 = A_0 s', t_2 = A_2 s' + side.

They are what ``zk.functional`` adds to those of the commitment where a norm is bounded: with both the whole of a hidden
vector x ‖ s ‖ s' is tested, but for R, whose rows cost more than all else. Where x is committed to in packed elements
the side's coordinates are digits of them, no linear function modulo p: then t_0 alone is tested.
"""

from __future__ import annotations

import numpy as np

from mpc.ntt import LANES, N, transpose_lanes
from mpc.ring import P, Vector
from zk.norm.code import product
from zk.norm.commitment import SketchCommitment, matrix


class SketchFunctional:
    """One functional for each row.

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
