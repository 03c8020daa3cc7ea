"""Random linear functionals of the commitment: what five residues say of a vector that nobody is shown.

h is linear, and so is ⟨w, h(·)⟩ for any public row w. A functional drawn after a vector is fixed tells whether the
vector's hash is the one that was committed to: one that is off passes a random row with probability 1/p, and all of
``COUNT`` independent rows with p^−5 < 2^−154. Of a vector whose commitment is public the value is public too: it is
that of the commitment. Of a mask, a key stream, it is five residues that whoever knows the key computes in one pass.

    ⟨w, h(x ‖ s)⟩ = Σ_j Σ_i block_j[i] · Σ_t ζ_t^i · Σ_ρ w[ρ, t] · a_j[ρ, t]

So the coefficients of block j are the transposed transform of a combination of the matrix's columns, made once for all
vectors, chunk by chunk, so that nothing of a vector's length is kept.

Where a norm is bounded s' follows s, and the functionals are of both commitments: see ``zk.norm.commitment``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mpc import parallel
from mpc.kernels.compiled import compiled
from mpc.keystream import CHUNK, KeyStream
from mpc.ntt import LANES, N, transpose_lanes
from mpc.ring import P, Vector
from zk.commitment import Commitment, blocks_for, matrix_key, randomness_length
from zk.norm import commitment as sketches
from zk.norm.commitment import SketchCommitment, SketchFunctional

COUNT: Final = 5
"""Independent rows: a wrong hash passes them all with probability p^−5."""

_GROUP: Final = N * LANES
_P64: Final = np.uint64(P)
_LOW: Final = np.uint64(0xFFFFFFFF)
_SHIFT: Final = np.uint64(32)
_FOLD: Final = np.uint64((1 << 32) % P)
_P32: Final = np.uint32(P)
_STEP: Final = 2048  # values that stay in the first-level cache while all rows go over them


def _plain_columns(matrix: Vector, row: Vector, sums: npt.NDArray[np.uint64], out: npt.NDArray[np.uint32]) -> None:
    products = matrix.reshape(-1, N, LANES).astype(np.uint64) * row.reshape(-1, N, LANES)
    out[:] = products.sum(axis=0, dtype=np.uint64) % _P64


@compiled(or_else=_plain_columns)
def _columns(matrix: Vector, row: Vector, sums: npt.NDArray[np.uint64], out: npt.NDArray[np.uint32]) -> None:
    """``out[t, lane] = Σ_ρ row[i] · matrix[i]`` modulo p, i = (ρ · 512 + t) · 16 + lane, for up to four rings.

    Args:
        sums: as long as ``out``; overwritten.
    """
    flat = out.reshape(_GROUP)
    for i in range(_GROUP):
        sums[i] = np.uint64(row[i]) * np.uint64(matrix[i])
    for start in range(_GROUP, row.size, _GROUP):  # four products of residues are below 2^64
        weights, part = row[start : start + _GROUP], matrix[start : start + _GROUP]
        for i in range(_GROUP):
            sums[i] += np.uint64(weights[i]) * np.uint64(part[i])
    for i in range(_GROUP):
        z = sums[i]  # 2^32 is 20478 modulo p: three folds leave 32 bits, and no division
        z = (z >> _SHIFT) * _FOLD + (z & _LOW)
        z = (z >> _SHIFT) * _FOLD + (z & _LOW)
        z = (z >> _SHIFT) * _FOLD + (z & _LOW)
        s = np.uint32(z)
        s = min(s, np.uint32(s - _P32))
        flat[i] = min(s, np.uint32(s - _P32))


def _plain_dots(coefficients: npt.NDArray[np.uint32], values: Vector, sums: npt.NDArray[np.uint64]) -> None:
    products = coefficients.astype(np.uint64) * values
    low, high = (products & _LOW).sum(axis=1, dtype=np.uint64), (products >> _SHIFT).sum(axis=1, dtype=np.uint64)
    sums[:] = (sums + low % _P64 + (high % _P64) * _FOLD) % _P64


@compiled(or_else=_plain_dots)
def dots(coefficients: npt.NDArray[np.uint32], values: Vector, sums: npt.NDArray[np.uint64]) -> None:
    """``sums[e] += Σ_i coefficients[e, i] · values[i]`` modulo p, over at most 2^31 values."""
    rows = coefficients.shape[0]
    low = np.zeros(rows, dtype=np.uint64)
    high = np.zeros(rows, dtype=np.uint64)
    quarter = _STEP // 4
    for start in range(0, values.size, _STEP):
        part = values[start : start + _STEP]
        whole = part.size == _STEP
        for e in range(rows):
            row = coefficients[e, start : start + _STEP]
            a = np.uint64(0)
            b = np.uint64(0)
            if whole:  # four products of residues are below 2^64: they are added before the halves are summed apart
                for i in range(quarter):
                    z = np.uint64(row[i]) * np.uint64(part[i])
                    z += np.uint64(row[i + quarter]) * np.uint64(part[i + quarter])
                    z += np.uint64(row[i + 2 * quarter]) * np.uint64(part[i + 2 * quarter])
                    z += np.uint64(row[i + 3 * quarter]) * np.uint64(part[i + 3 * quarter])
                    a += z & _LOW
                    b += z >> _SHIFT
            else:
                for i in range(part.size):
                    z = np.uint64(row[i]) * np.uint64(part[i])
                    a += z & _LOW
                    b += z >> _SHIFT
            low[e] += a
            high[e] += b
    for e in range(rows):
        sums[e] = (sums[e] + low[e] % _P64 + (high[e] % _P64) * _FOLD) % _P64


class Sketched(NamedTuple):
    """What a vector has where a norm is bounded.

    Attributes:
        rank: of the sketch's commitment.
        place: of the side's coordinates among those of x.
        side: how many they are; 0 where they are no elements of x, and t_2 is left out.
    """

    rank: int
    place: int
    side: int


class Functional:
    """The ``COUNT`` functionals of one challenge."""

    def __init__(self, key: bytes, rank: int, elements: int, sketched: Sketched | None = None) -> None:
        """
        Args:
            key: 32 bytes, drawn after whatever is to be tested is fixed. Row e is the first k · 512 residues of its
                stream e, and where a norm is bounded the next ones, as many as t_0 and the side have.
            rank: k of the commitment, at most 4.
            elements: coordinates of x as it is committed to; s follows them.
            sketched: where s' follows s.
        """
        if not 1 <= rank <= 4:
            raise ValueError(f"a commitment of rank {rank}, outside [1, 4]")
        self._rank, self._elements = rank, elements
        self._hashed = self.length = elements + randomness_length(rank)
        more = 0
        if sketched is not None:
            self.length += sketches.randomness_length(sketched.rank)
            more = sketched.rank * N + sketched.side
        stream = KeyStream(key)
        rows = np.empty((COUNT, rank * N + more), dtype=np.uint32)
        for e in range(COUNT):
            stream.residues(e, rows[e])
        self._rows = np.ascontiguousarray(rows[:, : rank * N])
        self._sketched = sketched
        self._second = SketchFunctional(rows[:, rank * N :], sketched.rank) if sketched else None
        self._wide = np.repeat(self._rows, LANES, axis=1)

    def of_commitment(
        self, commitment: Commitment, sketch: SketchCommitment | None = None, summands: int = 1
    ) -> Vector:
        """The values of whatever opens the commitment, and the sketch's where a norm is bounded: ``COUNT`` residues.

        Args:
            summands: of how many these are the sum, which makes no difference here.

        Raises:
            ValueError: a commitment of another rank, or one too many or too few.
        """
        if (sketch is None) != (self._second is None):
            raise ValueError("a sketch's commitment goes with another exactly where a norm is bounded")
        if commitment.rank != self._rank:
            raise ValueError(f"a commitment of rank {commitment.rank}, not {self._rank}")
        sums = np.zeros(COUNT, dtype=np.uint64)
        dots(self._rows, commitment.elements, sums)
        if self._second is not None and sketch is not None:
            sums = (sums + self._second.of_commitment(sketch)) % _P64
        return sums.astype(np.uint32)

    def of(self, keys: Sequence[bytes], vectors: Sequence[Vector] = ()) -> npt.NDArray[np.uint32]:
        """The values of masks and of vectors, in one pass.

        Args:
            keys: of key streams that are masks modulo p, each of ``length`` elements.
            vectors: canonical, uint32, of ``length`` elements, for instance mapped from a file.

        Returns:
            uint32, shape (masks + vectors, ``COUNT``).
        """
        if any(vector.size != self.length for vector in vectors):
            raise ValueError(f"a vector has not {self.length} elements")

        def work(first: int, last: int) -> npt.NDArray[np.uint64]:
            matrix, streams = KeyStream(matrix_key(self._rank)), [KeyStream(key) for key in keys]
            sums = np.zeros((len(keys) + len(vectors), COUNT), dtype=np.uint64)
            room = np.empty((COUNT, CHUNK), dtype=np.uint32)
            scratch = np.empty(CHUNK, dtype=np.uint32)
            for chunk in range(first, last):
                start, stop = chunk * CHUNK, min((chunk + 1) * CHUNK, self.length)
                coefficients = room[:, : stop - start]
                self._coefficients(matrix, start, coefficients)
                values = scratch[: stop - start]
                for place, stream in enumerate(streams):
                    stream.residues(chunk, values)
                    dots(coefficients, values, sums[place])
                for place, vector in enumerate(vectors, len(streams)):
                    values[:] = vector[start:stop]  # from the file, and writable: one form of the kernel is enough
                    dots(coefficients, values, sums[place])
            return sums

        parts = parallel.map_ranges(work, -(-self.length // CHUNK))
        return (sum(parts[1:], start=parts[0]) % _P64).astype(np.uint32)

    def _coefficients(self, matrix: KeyStream, start: int, out: npt.NDArray[np.uint32]) -> None:
        """Those of the coordinates from ``start`` on, a row for each functional."""
        whole, split = start + out.shape[1], self._elements
        stop = min(whole, self._hashed)
        residues = np.empty(self._rank * _GROUP, dtype=np.uint32)
        blocks, sums = np.empty((N, LANES), dtype=np.uint32), np.empty(_GROUP, dtype=np.uint64)
        # x is padded to whole blocks before s: the coordinates of s have other places in the matrix than in the vector.
        for low, high, shift in (
            (start, min(stop, split), 0),
            (max(start, split), stop, blocks_for(split) * N - split),
        ):
            for group in range((low + shift) // _GROUP, -(-(high + shift) // _GROUP) if high > low else 0):
                matrix.residues(group, residues)
                begin = max(low, group * _GROUP - shift)
                end = min(high, (group + 1) * _GROUP - shift)
                inside = begin + shift - group * _GROUP
                for e in range(COUNT):
                    _columns(residues, self._wide[e], sums, blocks)
                    transpose_lanes(blocks)
                    flat = np.ascontiguousarray(blocks.T).reshape(-1)
                    out[e, begin - start : end - start] = flat[inside : inside + end - begin]
        if self._second is None or self._sketched is None:
            return
        first = max(start, self._hashed)
        if first < whole:
            out[:, first - start :] = self._second.noise[:, first - self._hashed : whole - self._hashed]
        place = self._sketched.place
        low, high = max(start, place), min(whole, place + self._sketched.side)
        if low < high:
            part = out[:, low - start : high - start]
            part[:] = (part.astype(np.uint64) + self._second.side[:, low - place : high - place]) % _P64
