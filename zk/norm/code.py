"""The Reed–Solomon code that the proof's rows are written in, on cosets of the points where messages stand.

A message of 512 elements is the values of a polynomial at the points ζ_t of ``mpc.ntt``, the roots of X^512 + 1; its
word is the values at the 4,096 points 2^k · ζ_t, k = 1 … 8, none of which is such a root: entry 512 · (k − 1) + t.
Cosets, because p − 1 has only eleven factors of two: one transform of length 512 for each serves polynomials of any
degree (X^512 is the constant −2^(512 k) there). So a word's entries say nothing of the message as long as fewer are
seen than its polynomial has random coefficients.

Polynomials are columns: arrays of shape (length, m) hold the coefficients of m polynomials, lowest first.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.kernels.compiled import compiled
from mpc.ntt import LANES, PSI, N, bit_reverse, transform_lanes
from mpc.ring import P, Vector

COSETS: Final = 8
LENGTH: Final = COSETS * N

_P32: Final = np.uint32(P)
_P64: Final = np.uint64(P)
_INVERSE_N: Final = pow(N, -1, P)
_REVERSED: Final = np.array([bit_reverse(t) for t in range(N)])
# The inverse by the same network: a transform of the values in the points' natural order, with the inverse twist
# before it, gives the coefficients in reversed order of −i, and has to be twisted back.
_BACK: Final = _REVERSED[-np.arange(N) % N]
_BEFORE: Final = np.array([pow(PSI, -r, P) for r in range(N)], dtype=np.uint64)[:, None]
_AFTER: Final = np.array([pow(PSI, -i, P) * _INVERSE_N % P for i in range(N)], dtype=np.uint64)[:, None]


def shift_power(coset: int) -> int:
    """X^512 on a coset: −2^(512 k); −1 on coset 0, where messages stand."""
    return -pow(2, N * coset, P) % P


@functools.cache
def _weights(coset: int, length: int) -> Vector:
    """Coefficient l of a polynomial, folded to 512, counts 2^(k·(l mod 512)) · (X^512)^(l div 512)."""
    low = [pow(2, coset * i, P) for i in range(N)]
    power = shift_power(coset)
    return np.array([low[i % N] * pow(power, i // N, P) % P for i in range(length)], dtype=np.uint32)


@functools.cache
def _quotients(coset: int, length: int) -> Vector:
    """Shoup's, as in ``mpc.ntt``: floor(w · 2^32 / p)."""
    wide = _weights(coset, length).astype(np.uint64)
    return ((wide << np.uint64(32)) // _P64).astype(np.uint32)


def _plain_fold(
    coefficients: npt.NDArray[np.uint32], weights: Vector, quotients: Vector, first: int, out: npt.NDArray[np.uint32]
) -> None:
    part = coefficients[:, first : first + LANES] * weights.astype(np.uint64)[:, None] % _P64
    folded = np.zeros((N, part.shape[1]), dtype=np.uint64)
    for start in range(0, part.shape[0], N):
        piece = part[start : start + N]
        folded[: piece.shape[0]] += piece
    out[:] = 0
    out[:, : part.shape[1]] = folded % _P64


@compiled(or_else=_plain_fold)
def _fold(
    coefficients: npt.NDArray[np.uint32], weights: Vector, quotients: Vector, first: int, out: npt.NDArray[np.uint32]
) -> None:
    """Polynomials ``first`` … as such of length 512 that have the same values on a coset, at 1 instead of its shift."""
    lanes = min(LANES, coefficients.shape[1] - first)
    for i in range(N):
        target = out[i]
        for lane in range(LANES):
            target[lane] = 0
        for j in range(i, coefficients.shape[0], N):
            row, w, wq = coefficients[j, first : first + lanes], weights[j], np.uint64(quotients[j])
            for lane in range(lanes):
                x = row[lane]
                q = np.uint32((np.uint64(x) * wq) >> np.uint64(32))
                v = np.uint32(np.uint32(x * w) - np.uint32(q * _P32))  # in [0, 2p)
                v = min(v, np.uint32(v - _P32))
                total = np.uint32(target[lane] + v)
                target[lane] = min(total, np.uint32(total - _P32))


def evaluate(coefficients: npt.NDArray[np.uint32], coset: int) -> npt.NDArray[np.uint32]:
    """The values at 2^k · ζ_t of polynomials of any length: shape (512, m)."""
    m = coefficients.shape[1]
    length = coefficients.shape[0]
    values, weights, quotients = np.empty((N, m), dtype=np.uint32), _weights(coset, length), _quotients(coset, length)
    block = np.empty((N, LANES), dtype=np.uint32)
    for first in range(0, m, LANES):
        _fold(coefficients, weights, quotients, first, block)
        transform_lanes(block)
        values[:, first : first + LANES] = block[:, : m - first]
    return values


def encode(*coefficients: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The words of polynomials, those of each array after those of the array before: shape (4096, m)."""
    stacked = np.zeros((max(map(len, coefficients)), sum(part.shape[1] for part in coefficients)), dtype=np.uint32)
    first = 0
    for part in coefficients:  # all together, since sixteen are transformed at a time
        stacked[: len(part), first : first + part.shape[1]] = part
        first += part.shape[1]
    return np.concatenate([evaluate(stacked, k) for k in range(1, COSETS + 1)])


def interpolate(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The polynomials of degree below 512 with these values at ζ_t: both of shape (512, m)."""
    m = values.shape[1]
    out, block = np.empty((N, m), dtype=np.uint32), np.zeros((N, LANES), dtype=np.uint32)
    for first in range(0, m, LANES):
        lanes = min(LANES, m - first)
        block[:, :lanes] = values[_REVERSED, first : first + lanes] * _BEFORE % _P64
        transform_lanes(block)
        out[:, first : first + lanes] = block[_BACK, :lanes] * _AFTER % _P64
    return out


@functools.cache
def _unfolding(cosets: int) -> npt.NDArray[np.uint64]:
    """The inverse of the matrix of powers of X^512 on the cosets 1, 2, …, modulo p."""
    powers = [shift_power(k) for k in range(1, cosets + 1)]
    rows = []
    for j in range(cosets):  # the Lagrange polynomial of each coset, coefficient by coefficient
        terms, scale = [1], 1
        for i in range(cosets):
            if i != j:
                terms = [
                    ((terms[d - 1] if d else 0) - powers[i] * (terms[d] if d < len(terms) else 0)) % P
                    for d in range(len(terms) + 1)
                ]
                scale = scale * (powers[j] - powers[i]) % P
        rows.append([term * pow(scale, -1, P) % P for term in terms])
    return np.array(rows, dtype=np.uint64).T


def interpolate_cosets(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The polynomials of degree below 512 c with these values on the first c cosets: both of shape (512 c, m)."""
    cosets = values.shape[0] // N
    folded = []
    for k in range(1, cosets + 1):
        coefficients = interpolate(values[(k - 1) * N : k * N]).astype(np.uint64)
        twist = _inverse_twist(k)
        folded.append(coefficients * twist % _P64)
    matrix = _unfolding(cosets)
    parts = []
    for row in matrix:
        total = np.zeros_like(folded[0])
        for weight, part in zip(row, folded, strict=True):
            total += part * weight % _P64
        parts.append((total % _P64).astype(np.uint32))
    return np.concatenate(parts)


@functools.cache
def _inverse_twist(coset: int) -> npt.NDArray[np.uint64]:
    return np.array([pow(2, -coset * i, P) for i in range(N)], dtype=np.uint64)[:, None]


def transpose(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Σ_t values[t] · ζ_t^i for each i, the transform's transpose: both of shape (512, m)."""
    coefficients = interpolate(values).astype(np.uint64) * np.uint64(N) % _P64
    out = np.empty_like(values)
    out[0] = coefficients[0]
    out[1:] = (_P64 - coefficients[:0:-1]) % _P64
    return out


def product(left: npt.NDArray[np.uint32], right: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """A matrix product modulo p, of any shapes, by exact products of floats: 16-bit halves times 31-bit elements."""
    if right.shape[1] == 1:  # calls would take longer than what they do; a sum of 2^32 elements fits
        sums = (left * right[:, 0].astype(np.uint64) % _P64).sum(axis=1, keepdims=True)
        return np.asarray(sums % _P64, dtype=np.uint32)
    total = np.zeros((left.shape[0], right.shape[1]), dtype=np.uint64)
    exact = right.astype(np.float64)
    for start in range(0, left.shape[1], _INNER):
        part, other = left[:, start : start + _INNER], exact[start : start + _INNER]
        high = ((part >> np.uint32(16)).astype(np.float64) @ other).astype(np.uint64) % _P64
        low = ((part & np.uint32(0xFFFF)).astype(np.float64) @ other).astype(np.uint64)
        total += ((high << np.uint64(16)) + low) % _P64
    return (total % _P64).astype(np.uint32)


_INNER: Final = 64  # 64 · 2^16 · 2^31 = 2^53: sums of so many products are exact floats


def modulo(values: npt.NDArray[np.int64]) -> Vector:
    """Integers as elements of Z_p."""
    return (values % P).astype(np.uint32)
