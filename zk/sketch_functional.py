"""Random linear functionals of the one part of C' that ``zk.functional`` leaves out: t_1 = A_1 s' + R e.

They tell whether the sketch v that a client has committed to is R e of the vector that it has hidden. Their
coefficients cost five products with all of R's transpose, more than all else that is tested of a vector: they are for
sums of sketches that have failed.

    ⟨w, t_1⟩ = Σ_j Σ_i s'_j[i] · Σ_t ζ_t^i · w[t] · a_j[t] + Σ_c e[c] · Σ_r R[r, c] · Σ_t ζ_t^r · w[t]

R = P S (``zk.norm.sketch``), so Rᵀ goes backwards: eight rows spread over each of the 64 copies by Pᵀ, once, and every
block gathers its values from the copies, by its signs and rotations.

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
from zk.norm.sketch import (
    BLOCK,
    ENTRIES,
    FOLDED,
    GROUP_COPIES,
    GROUP_WORDS,
    GROUPS,
    ROWS,
    ROWS_EACH,
    SIGNS,
    TURNS,
    Integers,
    entries_of,
    signs_of,
)

_P64 = np.uint64(P)


def _plain_gather(parts: Integers, words: Vector, out: Integers) -> None:
    for c in range(GROUP_COPIES):
        negative = signs_of(words)[c]
        for q in range(FOLDED):
            rotation = int(words[SIGNS + FOLDED * c + q]) % BLOCK
            signed = np.where(negative[:, :, q].reshape(-1), -parts[:, c], parts[:, c])
            out[:, q, :BLOCK] += np.roll(signed, rotation, axis=1)


@compiled(or_else=_plain_gather)
def _gather(parts: Integers, words: Vector, out: Integers) -> None:
    """What four blocks take from sixteen copies, by the words of one stream.

    Args:
        parts: shape (COUNT, 16, BLOCK).
        words: signs and rotations, see ``zk.norm.sketch``.
        out: shape (COUNT, 4, BLOCK + 512); what ends up after a block belongs to its beginning.
    """
    for c in range(GROUP_COPIES):
        for q in range(FOLDED):
            rotation = np.int64(words[SIGNS + FOLDED * c + q]) % BLOCK
            for t in range(32):
                first, at = t * GROUP_WORDS, (FOLDED * c + t // 8) * GROUP_WORDS
                bits, bit = words[at : at + GROUP_WORDS], np.uint32(1 << ((t % 8) * FOLDED + q))
                start = (first + rotation) % BLOCK
                for f in range(parts.shape[0]):
                    source, target = parts[f, c, first : first + GROUP_WORDS], out[f, q, start : start + GROUP_WORDS]
                    for i in range(GROUP_WORDS):
                        x = source[i]
                        target[i] += -x if bits[i] & bit else x


def _spread(key: bytes, weights: Integers) -> Integers:
    """Pᵀ times each row of weights: shape (4, COUNT, 16, BLOCK), integers below 2^34."""
    stream, words = KeyStream(key), np.empty(ENTRIES, dtype=np.uint32)
    out = np.empty((GROUPS, COUNT, GROUP_COPIES, BLOCK), dtype=np.int64)
    for group in range(GROUPS):
        stream.words(group, words)
        for c, entries in enumerate(entries_of(words)):
            row = (group * GROUP_COPIES + c) * ROWS_EACH
            # eight products of less than 2^31 with −1, 0 or 1: float64 holds them exactly
            out[group, :, c] = weights[:, row : row + ROWS_EACH] @ entries
    return out


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
        self._parts: Integers | None = None
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

        if self._parts is None:
            self._parts = _spread(self._sketch_key, self._weights)
        parts_of_copies = self._parts

        def work(first: int, last: int) -> npt.NDArray[np.uint64]:
            matrix_words, streams = KeyStream(self._sketch_key), [KeyStream(key) for key in keys]
            sums = np.zeros((len(keys) + len(vectors) + 1, COUNT), dtype=np.uint64)
            room, scratch = np.empty((COUNT, CHUNK), dtype=np.uint32), np.empty(CHUNK, dtype=np.uint32)
            for chunk in range(first, last):
                start, stop = chunk * CHUNK, min((chunk + 1) * CHUNK, self.length)
                if start >= self._values and stop <= self._noise_place:
                    continue
                coefficients = room[:, : stop - start]
                self._coefficients(parts_of_copies, matrix_words, start, coefficients)
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

    def _coefficients(self, parts: Integers, stream: KeyStream, start: int, out: npt.NDArray[np.uint32]) -> None:
        """Those of the coordinates from ``start`` on, a row for each functional: at most four blocks."""
        out[:] = 0
        stop, inside = start + out.shape[1], min(start + out.shape[1], self._values) - start
        if inside > 0:
            words = np.empty(SIGNS + TURNS, dtype=np.uint32)
            sums = np.zeros((COUNT, FOLDED, BLOCK + GROUP_WORDS), dtype=np.int64)
            for group in range(GROUPS):
                stream.words(GROUPS * (start // CHUNK + 1) + group, words)
                _gather(parts[group], words, sums)
            sums[:, :, :GROUP_WORDS] += sums[:, :, BLOCK:]
            out[:, :inside] = sums[:, :, :BLOCK].reshape(COUNT, -1)[:, :inside] % P
        first = max(start, self._noise_place)
        if first < stop:
            out[:, first - start :] = self._noise[:, first - self._noise_place : stop - self._noise_place]
