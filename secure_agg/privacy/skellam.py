"""Skellam noise, drawn exactly: the difference of two Poisson variables, of any rational variance V.

Sums of it are of the same kind: h clients' of variance V/h are one of V, which no discrete Gaussian is. Its
probabilities are P[Z = k] = exp(−V)·I_|k|(V), I the modified Bessel functions; Miller's recurrence gives their ratios
from the far end inward (Olver et al., NIST Handbook of Mathematical Functions, 3.6 and 10.29.1):

    I_{k−1} = I_{k+1} + (2k / V) · I_k,   normalised by I_0 + 2·Σ I_k = exp(V)

in integers whose relative errors stay below 2^−200. A draw inverts the distribution function with a uniform U of 128
bits: T_k = ⌊2^128 · P[Z ≤ k]⌋ for −R ≤ k < R, and

    Z = #{k : T_k ≤ U} − R

P[|Z| > R] ≤ 2^−140, so a draw is within (2R + 2)·2^−128 of the distribution, in total variation. U's lower 64 bits are
looked at only if the upper ones are a threshold's. Draws do not take constant time: who measures a client's own
processor while it draws may learn of its noise.

Tails are bounded by Bernstein's inequality, since cosh λ − 1 ≤ λ² / (2(1 − λ/3)) for 0 ≤ λ < 3:

    P[|Z| > t] ≤ 2·exp(−t² / (2V + 2t/3))
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.kernels.compiled import compiled
from mpc.keystream import CHUNK, KeyStream
from secure_agg.errors import LocalProtocolError

FRACTION: Final = 256
"""Variances are multiples of a 256th."""
MOST_VARIANCE: Final = 1 << 28
"""The largest V whose table is made: a deviation of 2^14, and 8 MB."""

_TAIL_BITS: Final = 140
_START_BITS: Final = 221
"""Where the recurrence begins the tail is below 2^−220, so that what is left out there counts for nothing."""
_PRECISION: Final = 220
_GUIDE_BITS: Final = 16
_DRAWS: Final = CHUNK // 2
"""Draws that one numbered stream gives: two words each."""
_LOWER: Final = 1 << 63
"""Number of the stream of the lower halves of stream 0's draws."""

Words = npt.NDArray[np.uint64]


def nats(bits: int) -> int:
    """An integer of at least bits · ln 2."""
    return -(-bits * 693_148 // 1_000_000)


def ceil_root(value: int) -> int:
    """⌈√value⌉."""
    root = math.isqrt(value)
    return root + (root * root < value)


def reach(variance: int, bits: int) -> int:
    """A t with P[|Z| > t] ≤ 2^(1 − bits), by Bernstein's inequality: integers only, the same everywhere.

    Args:
        variance: V in 256ths.
    """
    k = nats(bits)
    # t ≥ K/3 + √(K²/9 + 2KV) solves t² ≥ K·(2V + 2t/3)
    root = ceil_root(-(-(FRACTION * k * k + 18 * k * variance) // FRACTION))
    return -(-(k + root) // 3)


@dataclass(frozen=True, eq=False)
class Table:
    """Thresholds of one variance.

    Attributes:
        reach: R.
        upper, lower: halves of T_k, uint64 of shape (2R,), in order.
        guide: for each value of U's highest 16 bits how many thresholds are below all of its U, int32.
    """

    reach: int
    upper: Words
    lower: Words
    guide: npt.NDArray[np.int32]


def weights(variance: int) -> list[int]:
    """Numbers in the ratios of P[Z = 0], P[Z = 1], …, as far as there is anything; their relative errors are below
    2^−200 within R.

    Args:
        variance: V in 256ths.
    """
    end = reach(variance, _START_BITS)
    last, found = 0, [1 << _PRECISION]
    for k in range(end, 0, -1):
        found.append(last + 2 * k * FRACTION * found[-1] // variance)
        last = found[-2]
    return found[::-1]


@functools.lru_cache(maxsize=8)
def table(variance: int) -> Table:
    """The table of V = ``variance`` / 256, made once.

    Raises:
        LocalProtocolError: the variance is not positive, or above ``MOST_VARIANCE``.
    """
    if not 1 <= variance <= FRACTION * MOST_VARIANCE:
        raise LocalProtocolError(f"a variance of {variance}/{FRACTION} is not in (0, {MOST_VARIANCE}]")
    half, limit = weights(variance), reach(variance, _TAIL_BITS + 1)
    total = half[0] + 2 * sum(half[1:])
    below = sum(half[limit + 1 :])  # of P[Z < −R]
    upper, lower = np.empty(2 * limit, dtype=np.uint64), np.empty(2 * limit, dtype=np.uint64)
    for place, k in enumerate(range(-limit, limit)):
        below += half[abs(k)]
        threshold = min((below << 128) // total, (1 << 128) - 1)
        upper[place], lower[place] = threshold >> 64, threshold & ((1 << 64) - 1)
    firsts = np.arange(1 << _GUIDE_BITS, dtype=np.uint64) << np.uint64(64 - _GUIDE_BITS)
    guide = np.searchsorted(upper, firsts, side="left").astype(np.int32)
    return Table(limit, upper, lower, guide)


def _plain_invert(
    uniform: Words, low: Words, upper: Words, lower: Words, guide: npt.NDArray[np.int32], out: npt.NDArray[np.int64]
) -> int:
    found = np.searchsorted(upper, uniform, side="left")
    ties = np.flatnonzero(upper[np.minimum(found, upper.size - 1)] == uniform)
    if ties.size and not low.size:
        return 1
    out[:] = found - upper.size // 2
    for place in ties:
        k = int(found[place])
        while k < upper.size and upper[k] == uniform[place] and lower[k] <= low[place]:
            k += 1
        out[place] = k - upper.size // 2
    return 0


@compiled(or_else=_plain_invert)
def _invert(
    uniform: Words, low: Words, upper: Words, lower: Words, guide: npt.NDArray[np.int32], out: npt.NDArray[np.int64]
) -> int:
    """Z of each U. Returns 1, and ``out`` is worth nothing, if lower halves are needed and ``low`` is empty."""
    size, half = upper.size, upper.size // 2
    for i in range(uniform.size):
        u = uniform[i]
        k = np.int64(guide[np.int64(u >> np.uint64(48))])
        # Nearly all cells of the guide have no threshold: branches that a processor guesses right are what is fast.
        while k < size and upper[k] < u:
            k += 1
        if k < size and upper[k] == u:
            if not low.size:
                return 1
            while k < size and upper[k] == u and lower[k] <= low[i]:
                k += 1
        out[i] = k - half
    return 0


def draw(variance: int, key: bytes, count: int) -> npt.NDArray[np.int64]:
    """Independent draws: the same again from the same key.

    Args:
        variance: V in 256ths.
        key: 32 secret bytes, for these draws alone.
        count: how many.

    Returns:
        int64 of shape (count,). Draw i has the upper half of U in 64-bit word i mod 2^15 of stream ⌊i / 2^15⌋, and the
        lower one there in the stream whose number is 2^63 higher.

    Raises:
        LocalProtocolError: see ``table``.
    """
    found, stream = table(variance), KeyStream(key)
    out = np.empty(count, dtype=np.int64)
    words = np.empty(2 * min(_DRAWS, count), dtype=np.uint32)
    none = np.empty(0, dtype=np.uint64)

    def read(number: int, size: int) -> Words:
        part = words[: 2 * size]
        stream.words(number, part)
        return part.view("<u8").astype(np.uint64, copy=False)

    for number, start in enumerate(range(0, count, _DRAWS)):
        part = out[start : start + _DRAWS]
        uniform = read(number, part.size)
        if _invert(uniform, none, found.upper, found.lower, found.guide, part):
            uniform = uniform.copy()
            low = read(_LOWER + number, part.size)
            _invert(uniform, low, found.upper, found.lower, found.guide, part)
    return out
