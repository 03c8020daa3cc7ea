"""Random linear functionals of the one part of C' that ``zk.functional`` leaves out: t_1 = A_1 s' + R e.

They tell whether the sketch v that a client has committed to is R e of the vector that it has hidden. R is dense, so
their coefficients cost five products with all of it, more than all else that is tested of a vector: they are for sums
of sketches that have failed.

    ⟨w, t_1⟩ = Σ_j Σ_i s'_j[i] · Σ_t ζ_t^i · w[t] · a_j[t] + Σ_c e[c] · Σ_r R[r, c] · Σ_t ζ_t^r · w[t]

With e = u − centre the value of a hidden vector u is ⟨w, t_1⟩ + centre · (the sum of e's coefficients), modulo p.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mpc import parallel
from mpc.kernels.compiled import compiled
from mpc.keystream import CHUNK, KeyStream
from mpc.ring import P, Vector
from zk.commitment import Commitment
from zk.functional import COUNT, dots
from zk.norm.code import product, transpose
from zk.norm.commitment import SketchCommitment, matrix, randomness_length
from zk.norm.sketch import COORDINATES, ROWS, Words

_P64 = np.uint64(P)
Sums = npt.NDArray[np.float64]


def _plain_add_rows(entries: Words, weights: Sums, bits: Sums, out: Sums) -> None:
    octets = np.ascontiguousarray(entries.transpose(1, 2, 0)).astype("<u8").view(np.uint8)  # (2, rows, bytes)
    plus, minus = np.unpackbits(octets, axis=2, bitorder="little").astype(np.float64)
    out += weights @ (plus - minus)


@compiled(or_else=_plain_add_rows)
def _add_rows(entries: Words, weights: Sums, bits: Sums, out: Sums) -> None:
    """``out[f, c] += Σ_r weights[f, r] · R[r, c]``: integers below 2^31 · 512, which float64 holds exactly.

    Args:
        entries: of R for 2048 coordinates, see ``zk.norm.sketch``: shape (32, 2, 512).
        bits: 64 of them; overwritten.
    """
    for w in range(entries.shape[0]):
        for r in range(entries.shape[2]):
            plus, minus = entries[w, 0, r], entries[w, 1, r]
            for j in range(64):
                one, other = (plus >> np.uint64(j)) & np.uint64(1), (minus >> np.uint64(j)) & np.uint64(1)
                bits[j] = np.float64(np.int64(one) - np.int64(other))
            for f in range(weights.shape[0]):
                weight, part = weights[f, r], out[f, w * 64 : (w + 1) * 64]
                for j in range(64):
                    part[j] += weight * bits[j]


class SketchRowsFunctional:
    """``COUNT`` random functionals of t_1, of vectors in which s' comes last.

    Attributes:
        length: of a vector.
    """

    def __init__(self, key: bytes, sketch_key: bytes, rank: int, values: int, length: int, centre: int) -> None:
        """
        Args:
            key: 32 bytes that nobody knew before the vectors were fixed.
            sketch_key: of R.
            rank: of the sketch's commitment.
            values: the first coordinates of a vector, which are sketched.
            length: of a vector: s' are its last coordinates.
            centre: what stands for zero in the values.
        """
        self.length, self._values, self._centre, self._rank = length, values, centre, rank
        self._noise_place = length - randomness_length(rank)
        if self._noise_place < values:
            raise ValueError(f"a vector of {length} elements has no room for {values} values and s'")
        self._sketch_key = sketch_key
        stream = KeyStream(key)
        self._rows = np.empty((COUNT, ROWS), dtype=np.uint32)
        for e in range(COUNT):
            stream.residues(e, self._rows[e])
        ring = matrix(rank).ring[rank]
        weighted = [(self._rows[e].astype(np.uint64) * ring % _P64).astype(np.uint32) for e in range(COUNT)]
        self._noise = np.array([transpose(item.T).T.reshape(-1) for item in weighted])
        self._weights = np.ascontiguousarray(transpose(self._rows.T).T).astype(np.float64)
        self._sum: npt.NDArray[np.uint64] | None = None

    def of_commitment(
        self, commitment: Commitment, sketch: SketchCommitment | None = None, summands: int = 1
    ) -> Vector:
        """The values of whatever opens C': ``COUNT`` residues.

        Args:
            commitment: the vector's own, which these do not test.
            summands: of how many clients' C' it is the sum.

        Raises:
            ValueError: no sketch's commitment, or one of another rank.
        """
        if sketch is None or sketch.rank != self._rank:
            raise ValueError(f"no sketch's commitment of rank {self._rank}")
        found = product(self._rows, np.ascontiguousarray(sketch.ring[-1])[:, None])[:, 0].astype(np.uint64)
        return ((found + self._centre_value() * np.uint64(summands)) % _P64).astype(np.uint32)

    def _centre_value(self) -> npt.NDArray[np.uint64]:
        """Centre times the sum of the values' coefficients, which every pass finds."""
        if self._sum is None:
            self.of([])
        total = np.zeros(COUNT, dtype=np.uint64) if self._sum is None else self._sum
        return total * np.uint64(self._centre) % _P64

    def of(self, keys: Sequence[bytes], vectors: Sequence[Vector] = ()) -> npt.NDArray[np.uint32]:
        """The values of masks and of vectors, in one pass; see ``zk.functional.Functional.of``."""
        if any(vector.size != self.length for vector in vectors):
            raise ValueError(f"a vector has not {self.length} elements")

        def work(first: int, last: int) -> npt.NDArray[np.uint64]:
            matrix_words, streams = KeyStream(self._sketch_key), [KeyStream(key) for key in keys]
            sums = np.zeros((len(keys) + len(vectors) + 1, COUNT), dtype=np.uint64)
            room, scratch = np.empty((COUNT, CHUNK), dtype=np.uint32), np.empty(CHUNK, dtype=np.uint32)
            for chunk in range(first, last):
                start, stop = chunk * CHUNK, min((chunk + 1) * CHUNK, self.length)
                if start >= self._values and stop <= self._noise_place:
                    continue
                coefficients = room[:, : stop - start]
                self._coefficients(matrix_words, start, coefficients)
                sums[-1] += coefficients[:, : max(0, self._values - start)].sum(axis=1, dtype=np.uint64) % _P64
                values = scratch[: stop - start]
                for place, stream in enumerate(streams):
                    stream.residues(chunk, values)
                    dots(coefficients, values, sums[place])
                for place, vector in enumerate(vectors, len(streams)):
                    values[:] = vector[start:stop]
                    dots(coefficients, values, sums[place])
            return sums

        parts = parallel.map_ranges(work, -(-self.length // CHUNK))
        found = sum(parts[1:], start=parts[0]) % _P64
        self._sum = found[-1]
        return found[:-1].astype(np.uint32)

    def _coefficients(self, stream: KeyStream, start: int, out: npt.NDArray[np.uint32]) -> None:
        """Those of the coordinates from ``start`` on, a row for each functional."""
        out[:] = 0
        stop = start + out.shape[1]
        words, bits = np.empty(CHUNK, dtype=np.uint32), np.empty(64, dtype=np.float64)
        for column in range(start, min(stop, self._values), COORDINATES):
            stream.words(column // COORDINATES, words)
            sums = np.zeros((COUNT, COORDINATES), dtype=np.float64)
            _add_rows(words.view("<u8").astype(np.uint64, copy=False).reshape(-1, 2, ROWS), self._weights, bits, sums)
            inside = min(column + COORDINATES, self._values, stop) - column
            out[:, column - start : column - start + inside] = sums[:, :inside].astype(np.int64) % P
        first = max(start, self._noise_place)
        if first < stop:
            out[:, first - start :] = self._noise[:, first - self._noise_place : stop - self._noise_place]
