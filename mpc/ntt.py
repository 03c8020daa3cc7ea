"""The negacyclic number-theoretic transform of R = Z_p[X]/(X^512 + 1).

A block of 512 coefficients f is transformed to its values f(ζ_t), where ζ_t = ψ^(2·rev(t) + 1), ψ is a fixed
primitive 1024th root of unity and rev reverses 9 bits. Values multiply pointwise where polynomials multiply
in R. The order is that of the in-place decimation-in-time network (Cooley and Tukey 1965; merged with the
twist as in Longa and Naehrig 2016, eprint 2016/504), so nothing is ever permuted.

The kernel works on 16 blocks side by side (``LANES``), one vector register wide: every butterfly of every
stage is then the same few vector instructions.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.kernels.compiled import compiled
from mpc.ring import P, Vector

N: Final = 512
LANES: Final = 16


def _primitive_root() -> int:
    """The smallest-base primitive 1024th root of unity: g^((p−1)/1024) for the least g that gives one."""
    for g in range(2, P):
        root = pow(g, (P - 1) // (2 * N), P)
        if pow(root, N, P) == P - 1:
            return root
    raise ArithmeticError("Z_p has no primitive 1024th root of unity")


def bit_reverse(t: int) -> int:
    """Reverse the 9 bits of ``t``."""
    return int(f"{t:09b}"[::-1], 2)


PSI: Final = _primitive_root()
_TWIDDLES: Final[Vector] = np.array([pow(PSI, bit_reverse(i), P) for i in range(N)], dtype=np.uint32)
# Shoup's precomputed quotients: floor(w · 2^32 / p) turns a modular product into two plain ones.
_QUOTIENTS: Final[Vector] = np.array([(int(w) << 32) // P for w in _TWIDDLES], dtype=np.uint32)
_WIDE_TWIDDLES: Final = _TWIDDLES.astype(np.uint64)
_P32: Final = np.uint32(P)
_P64: Final = np.uint64(P)


def _plain_transform(blocks: npt.NDArray[np.uint32]) -> None:
    groups = 1
    while groups < N:
        pairs = blocks.reshape(groups, 2, -1)
        low, high = pairs[:, 0], pairs[:, 1]
        product = high * _WIDE_TWIDDLES[groups : 2 * groups, None]
        v = (product % _P64).astype(np.uint32)
        s, d = low + v, low - v
        np.minimum(s, s - _P32, out=low)
        np.minimum(d, d + _P32, out=high)
        groups *= 2


@compiled(or_else=_plain_transform)
def transform_lanes(blocks: npt.NDArray[np.uint32]) -> None:
    """Transform 16 blocks in place. ``blocks[j, lane]`` is coefficient j of block ``lane``: shape (512,
    16).
    """
    flat = blocks.reshape(N * LANES)  # one loop over butterflies and lanes: the compiler does short inner loops badly
    half = N * LANES // 2
    groups = 1
    while groups < N:  # nine stages: each halves the polynomials that are reduced, modulo X^half − ζ and X^half + ζ
        for g in range(groups):
            w = np.uint32(_TWIDDLES[groups + g])
            wq = np.uint64(_QUOTIENTS[groups + g])
            start = 2 * g * half
            low, high = flat[start : start + half], flat[start + half : start + 2 * half]
            for i in range(half):
                u = low[i]
                x = high[i]
                q = np.uint32((np.uint64(x) * wq) >> np.uint64(32))
                v = np.uint32(np.uint32(x * w) - np.uint32(q * _P32))  # in [0, 2p)
                v = min(v, np.uint32(v - _P32))  # an underflow wraps to something huge: min() reduces
                s = np.uint32(u + v)
                d = np.uint32(u - v)
                low[i] = min(s, np.uint32(s - _P32))
                high[i] = min(d, np.uint32(d + _P32))
        groups *= 2
        half //= 2


def _plain_transpose(blocks: npt.NDArray[np.uint32]) -> None:
    groups = N // 2
    while groups:
        pairs = blocks.reshape(groups, 2, -1)
        low, high = pairs[:, 0], pairs[:, 1]
        s, d = low + high, low - high
        d = np.minimum(d, d + _P32)
        np.minimum(s, s - _P32, out=low)
        # A twiddle is for one group of polynomials: each of the group's coefficients is multiplied by it.
        high[:] = (d * _WIDE_TWIDDLES[groups : 2 * groups, None]) % _P64
        groups //= 2


@compiled(or_else=_plain_transpose)
def transpose_lanes(blocks: npt.NDArray[np.uint32]) -> None:
    """The transposed map of ``transform_lanes``, in place: of values b it makes Σ_t ζ_t^i · b_t for every i.

    What is linear in a block's values is linear in its coefficients by these. The same butterflies, turned round and
    in the opposite order (the transposition principle).
    """
    flat = blocks.reshape(N * LANES)
    groups = N // 2
    half = LANES
    while groups:
        for g in range(groups):
            w = np.uint32(_TWIDDLES[groups + g])
            wq = np.uint64(_QUOTIENTS[groups + g])
            start = 2 * g * half
            low, high = flat[start : start + half], flat[start + half : start + 2 * half]
            for i in range(half):
                u = low[i]
                x = high[i]
                s = np.uint32(u + x)
                d = np.uint32(u - x)
                d = min(d, np.uint32(d + _P32))
                q = np.uint32((np.uint64(d) * wq) >> np.uint64(32))
                v = np.uint32(np.uint32(d * w) - np.uint32(q * _P32))  # in [0, 2p)
                low[i] = min(s, np.uint32(s - _P32))
                high[i] = min(v, np.uint32(v - _P32))
        groups //= 2
        half *= 2
