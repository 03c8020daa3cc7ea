"""The commitment C = h(x ‖ s): a hiding, homomorphic lattice hash.

In R = Z_p[X]/(X^512 + 1):  h(x ‖ s) = sum over j of a_j · block_j  in R^k, where x, zero-padded to whole
blocks, is followed by the k + 2 blocks of s (Ajtai 1996; the ring form as in SWIFFT, Lyubashevsky,
Micciancio, Peikert and Rosen 2008; hiding as in Baum, Damgård, Lyubashevsky, Oechslner and Peikert 2018).
It is linear over every vector modulo p, and binding on short vectors only: never conclude more from the
    hash of a long vector than a linear relation.

The matrix is public and made on the fly from a fixed label, so there is no set-up and nothing to store; a process keeps
its beginning. It is drawn in the transform domain, where a product in R is pointwise, and the commitment stays there:
element (r, t) of C is

    sum over j of  a_j[r, t] · block_j(ζ_t)   modulo p,

with ζ_t as in ``mpc.ntt``. Stream c of the matrix's key holds a_j for the blocks j = 16c … 16c + 15, word
(r · 512 + t) · 16 + (j − 16c).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc import parallel
from mpc.framing import frame
from mpc.kernels.compiled import compiled
from mpc.keystream import KeyStream
from mpc.ntt import LANES, N, transform_lanes
from mpc.ring import ELEMENT_BYTES, P, Vector, add_into, from_bytes, to_bytes

GROUP: Final = LANES * N
"""Coordinates of a group of blocks, which one stream of the matrix's key is for."""

_REDUCE: Final = np.uint64(P << 32)
_P64: Final = np.uint64(P)


def blocks_for(length: int) -> int:
    """Blocks of 512 coordinates that hold a vector of this length."""
    return -(-length // N)


def randomness_length(rank: int) -> int:
    """Coordinates of s: k + 2 blocks."""
    return (rank + 2) * N


def matrix_key(rank: int) -> bytes:
    """The stream key of the public matrix of one rank: nothing up anybody's sleeve."""
    return hashlib.sha256(frame("commitment-matrix", bytes([rank]))).digest()


def _plain_load(x: Vector, s: Vector, first: int, out: npt.NDArray[np.uint32]) -> None:
    rows = np.zeros((LANES, N), dtype=np.uint32)
    flat = rows.reshape(-1)
    begin = first * N
    for part, place in ((x, 0), (s, blocks_for(x.size) * N)):
        values = part[max(begin - place, 0) : max(begin + flat.size - place, 0)]
        start = max(place - begin, 0)
        flat[start : start + values.size] = values
    out[:] = rows.T


def _plain_accumulate(
    x: Vector,
    s: Vector,
    first: int,
    matrix: Vector,
    blocks: npt.NDArray[np.uint32],
    sums: npt.NDArray[np.uint64],
) -> None:
    _load(x, s, first, blocks)
    transform_lanes(blocks)
    total = sums.reshape(-1, N * LANES)
    products = matrix.reshape(total.shape) * blocks.reshape(-1).astype(np.uint64)
    products += total
    np.minimum(products, products - _REDUCE, out=total)


@compiled(or_else=_plain_load)
def _load(x: Vector, s: Vector, first: int, out: npt.NDArray[np.uint32]) -> None:
    """``out[t, lane]`` = coordinate t of block ``first + lane`` of x, padded, followed by s; zeros after the end."""
    padded = (x.size + N - 1) // N * N
    if (first + LANES) * N <= x.size:
        base = first * N
        for tile in range(0, N, LANES):  # 16 × 16 at a time: both sides then stay in the cache
            for lane in range(LANES):
                row = x[base + lane * N + tile : base + lane * N + tile + LANES]
                for t in range(LANES):
                    out[tile + t, lane] = row[t]
        return
    for lane in range(LANES):
        for t in range(N):
            i = (first + lane) * N + t
            if i < x.size:
                out[t, lane] = x[i]
            elif padded <= i < padded + s.size:
                out[t, lane] = s[i - padded]
            else:
                out[t, lane] = 0


@compiled(or_else=_plain_accumulate)
def _accumulate(
    x: Vector,
    s: Vector,
    first: int,
    matrix: Vector,
    blocks: npt.NDArray[np.uint32],
    sums: npt.NDArray[np.uint64],
) -> None:
    """Transform 16 blocks and add their products with the matrix to ``sums[r, t, lane]``, kept below p · 2^32."""
    _load(x, s, first, blocks)
    transform_lanes(blocks)
    values = blocks.reshape(N * LANES)
    for r in range(sums.shape[0]):
        row = matrix[r * N * LANES : (r + 1) * N * LANES]
        total = sums[r].reshape(N * LANES)
        for i in range(N * LANES):
            # Below p · 2^32 + p² < 2^64; taking p · 2^32 off wraps to something huge where there is less than that.
            z = total[i] + np.uint64(values[i]) * np.uint64(row[i])
            total[i] = min(z, z - _REDUCE)


_matrix: dict[tuple[int, int], Vector] = {}
_KEPT: Final = 1 << 25
"""Most bytes of the matrix's first groups that a process keeps: what is public, and the same for every vector. Reading
is several times as fast as drawing; beyond, groups are drawn each time.
"""


def _drawn(stream: KeyStream, rank: int, group: int, scratch: Vector) -> Vector:
    """One group of the matrix of a rank, for reading: kept, or in ``scratch``. An array that can't be written would be
    another type to numba, and the kernel be compiled once more.
    """
    if (group + 1) * scratch.nbytes > _KEPT:
        stream.residues(group, scratch)
        return scratch
    found = _matrix.get((rank, group))
    if found is None:
        found = np.empty_like(scratch)
        stream.residues(group, found)
        _matrix[rank, group] = found
    return found


def _add_lanes(sums: npt.NDArray[np.uint64]) -> Vector:
    """Entry r · 512 + t is the sum over the lanes of ``sums[r, t, lane]`` modulo p."""
    total: npt.NDArray[np.uint64] = (sums % _P64).sum(axis=-1, dtype=np.uint64) % _P64
    return total.astype(np.uint32).reshape(-1)


@dataclass(frozen=True)
class Commitment:
    """k · 512 elements of Z_p: 6 kB at rank 3, 8 kB at rank 4, whatever the committed vector's length."""

    elements: Vector

    @property
    def rank(self) -> int:
        """k, the number of ring elements."""
        return self.elements.size // N

    def to_bytes(self) -> bytes:
        """The canonical encoding: 4 bytes per element, little endian."""
        return to_bytes(self.elements)

    @staticmethod
    def from_bytes(data: bytes | memoryview, rank: int) -> Commitment:
        """Decode strictly.

        Raises:
            ValueError: another length than rank · 2048 bytes, or an element not below p.
        """
        if len(data) != rank * N * ELEMENT_BYTES:
            raise ValueError(f"a commitment of rank {rank} has {rank * N * ELEMENT_BYTES} bytes, not {len(data)}")
        return Commitment(from_bytes(data))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Commitment) and bool(np.array_equal(self.elements, other.elements))

    def __hash__(self) -> int:
        return hash(self.to_bytes())


def commit(x: Vector, s: Vector, rank: int) -> Commitment:
    """h(x ‖ s), linear modulo p in both.

    Args:
        x: the data, canonical elements of Z_p, any length; padded with zeros to whole blocks.
        s: the randomness, ``randomness_length(rank)`` elements.
        rank: k, 3 or 4 (see ``zk.parameters``).
    """
    if s.size != randomness_length(rank):
        raise ValueError(f"rank {rank} takes {randomness_length(rank)} random coordinates, not {s.size}")
    return Commitment(_hash(x, s, groups_for(x.size, rank), 0, rank))


def groups_for(length: int, rank: int) -> int:
    """Groups of blocks that x of this length and s take together."""
    return -(-(blocks_for(length) + rank + 2) // LANES)


def blocks_of(x: Vector, s: Vector, start: int, stop: int) -> Vector:
    """The groups [start, stop) of x, zero-padded to whole blocks, followed by s, as far as they go; a view where they
    are of x alone.
    """
    first, last, padded = start * GROUP, stop * GROUP, blocks_for(x.size) * N
    if last <= x.size:
        return x[first:last]
    values = np.zeros(min(last, padded + s.size) - first, dtype=np.uint32)
    inside = x[first:]
    values[: inside.size] = inside
    if last > padded:
        values[max(padded - first, 0) :] = s[max(first - padded, 0) : last - padded]
    return values


def hash_groups(blocks: Vector, first: int, rank: int) -> Vector:
    """What a run of groups adds to a hash: k · 512 elements of Z_p. Sums over all groups are the elements of C.

    Args:
        blocks: from ``blocks_of``.
        first: the first of them.
        rank: k.
    """
    return _hash(blocks, np.empty(0, dtype=np.uint32), -(-blocks.size // GROUP), first, rank)


def _hash(x: Vector, s: Vector, groups: int, first: int, rank: int) -> Vector:
    """The sum over so many groups of x, padded, followed by s, of which the first has number ``first``."""
    key = matrix_key(rank)

    def work(start: int, stop: int) -> Vector:
        stream = KeyStream(key)
        matrix = np.empty(rank * GROUP, dtype=np.uint32)
        blocks = np.empty((N, LANES), dtype=np.uint32)
        sums = np.zeros((rank, N, LANES), dtype=np.uint64)
        for group in range(start, stop):
            drawn = _drawn(stream, rank, first + group, matrix)
            _accumulate(x, s, group * LANES, drawn, blocks, sums)
        return _add_lanes(sums)

    parts = parallel.map_ranges(work, groups, minimum=4)
    for part in parts[1:]:
        add_into(parts[0], part)
    return parts[0]


def add(commitments: list[Commitment]) -> Commitment:
    """The sum: a commitment to the sum of what each commits to. At least one."""
    total = commitments[0].elements.copy()
    for commitment in commitments[1:]:
        add_into(total, commitment.elements)
    return Commitment(total)
