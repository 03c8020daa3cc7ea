"""The sketch v = R e: 512 numbers that show how long a vector is, whatever its length.

R has 512 rows with independent entries −1, 0, 1 of probabilities ¼, ½, ¼ and comes from a public key, which must be
fixed after the vector is: ‖R e‖² is then 256 · ‖e‖² on average, and for *every* e so rarely far below it that
``zk.norm.bound`` can say how rarely. (Achlioptas 2003; the tails here are our own, see there.)

An entry is a difference of two random bits. Word (w · 2 + h) · 512 + r, 64 bits, of stream c of the key holds in bit
j the h-th of the two (h = 0: plus) of row r and coordinate 2048 · c + 64 · w + j. So the product with integers in [0,
2^b) is b times two counts of bits for 64 coordinates at once (bit planes; on a processor that counts the bits of eight
words in one instruction, four times as fast as tables of subset sums).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc import parallel
from mpc.kernels.compiled import Instruction, compiled
from mpc.keystream import CHUNK, KeyStream
from mpc.optional import Optional
from mpc.ring import Vector
from zk.transcript import digest

types: Any = Optional("numba.types")

ROWS: Final = 512
COORDINATES: Final = 2048
"""That one stream of the key is for: 256 kB of it."""
WIDEST: Final = 1 << 27
"""Above every coordinate of a sum that a commitment binds."""

_WORD: Final = 64
_WORDS: Final = COORDINATES // _WORD
_PLANES: Final = 4
"""Bit planes that one pass over R's words takes."""

Words = npt.NDArray[np.uint64]
Sketch = npt.NDArray[np.int64]


def sketch_key(session: bytes) -> bytes:
    """The key of R in a session, 32 bytes: nobody knows it before the session's id is fixed."""
    return digest("norm-sketch", session)


@Instruction
def _ones(typing_context: Any, word: Any) -> Any:
    """How many bits of a word are set: numba itself has no word for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


def _plain_planes(values: Vector, centre: np.uint32, planes: Words) -> None:
    padded = np.zeros(planes.shape[0] * _WORD, dtype=np.uint32)
    padded[: values.size] = values - centre
    for k in range(planes.shape[1]):
        bits = (padded >> np.uint32(k)).astype(np.uint8) & 1
        planes[:, k] = np.packbits(bits, bitorder="little").view("<u8")


def _plain_add_products(entries: Words, planes: Words, total: Sketch) -> None:
    weights = 1 << np.arange(planes.shape[1])
    weights[-1] *= -1
    for w in range(planes.shape[0]):
        plus, minus = (np.bitwise_count(entries[w, h] & planes[w, :, None]).astype(np.int64) for h in (0, 1))
        total += weights @ (plus - minus)


@compiled(or_else=_plain_planes)
def _planes(values: Vector, centre: np.uint32, planes: Words) -> None:
    """``planes[w, k]`` has in bit j bit k of value 64 · w + j less the centre, two's complement; 0 after the last."""
    for w in range(planes.shape[0]):
        part = values[w * _WORD : (w + 1) * _WORD]
        for k in range(planes.shape[1]):
            word = np.uint64(0)
            for j in range(part.size):
                word |= ((np.uint64(np.uint32(part[j] - centre)) >> np.uint64(k)) & np.uint64(1)) << np.uint64(j)
            planes[w, k] = word


@compiled(or_else=_plain_add_products)
def _add_products(entries: Words, planes: Words, total: Sketch) -> None:
    """``total[r] +=`` row r of R, ``entries[w, h, r]``, times the integers that the planes are of."""
    last = planes.shape[1] - _PLANES
    for w in range(planes.shape[0]):
        plus, minus = entries[w, 0], entries[w, 1]
        for k in range(0, planes.shape[1], _PLANES):  # four planes for each time that the entries are loaded
            p0, p1, p2, p3 = planes[w, k], planes[w, k + 1], planes[w, k + 2], planes[w, k + 3]
            shift, negative = np.int64(k), np.int64(-1 if k == last else 0)  # of the topmost plane
            for r in range(ROWS):
                a, b = plus[r], minus[r]
                s0, s1 = _ones(a & p0) - _ones(b & p0), _ones(a & p1) - _ones(b & p1)
                s2, s3 = _ones(a & p2) - _ones(b & p2), _ones(a & p3) - _ones(b & p3)
                total[r] += (s0 + (s1 << 1) + (s2 << 2) + (((s3 ^ negative) - negative) << 3)) << shift


def sketch(key: bytes, values: Vector, centre: int) -> Sketch:
    """R (values − centre), exactly.

    Args:
        key: of R, see ``sketch_key``.
        values: uint32 below 2^27, any length up to 2^32.
        centre: what stands for zero in ``values``, in [0, 2^27).

    Returns:
        int64, shape (512,).

    Raises:
        ValueError: a value or a centre of more than 27 bits.
    """
    most, least = max(int(values.max(initial=0)), centre), min(int(values.min(initial=WIDEST)), centre)
    if not 0 <= centre <= most < WIDEST:
        raise ValueError(f"a coordinate of {most} or a centre of {centre} is not in [0, {WIDEST})")
    signed_bits = max(most - centre, centre - least).bit_length() + 1
    count = -(-signed_bits // _PLANES) * _PLANES

    def work(start: int, stop: int) -> Sketch:
        stream, zero = KeyStream(key), np.uint32(centre)
        words, planes = np.empty(CHUNK, dtype=np.uint32), np.empty((_WORDS, count), dtype=np.uint64)
        total = np.zeros(ROWS, dtype=np.int64)
        for chunk in range(start, stop):
            stream.words(chunk, words)
            _planes(values[chunk * COORDINATES : (chunk + 1) * COORDINATES], zero, planes)
            _add_products(words.view("<u8").astype(np.uint64, copy=False).reshape(_WORDS, 2, ROWS), planes, total)
        return total

    total = np.zeros(ROWS, dtype=np.int64)
    for part in parallel.map_ranges(work, -(-values.size // COORDINATES)):
        total += part
    return total
