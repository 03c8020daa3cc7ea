"""Shamir's threshold sharing of 32-byte secrets (Shamir 1979) over Z_p.

A secret is 9 limbs of 29 bits (261 ≥ 256), least significant first, each the constant term of its own
polynomial of degree threshold − 1 with uniform coefficients; a share is the 9 values at one point x in [1,
p): 36 bytes. Any set of fewer than threshold shares is uniform, whatever the secret.

The holders' points are public and small; thousands of secrets are split or combined by one kernel call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.kernels.compiled import compiled
from mpc.keystream import KeyStream
from mpc.ring import P, Vector

SECRET_BYTES: Final = 32
LIMBS: Final = 9
SHARE_BYTES: Final = 4 * LIMBS
_LIMB_BITS: Final = 29
_P64: Final = np.uint64(P)

Shares = npt.NDArray[np.uint32]


class ShareError(ValueError):
    """Shares that can't be combined, or that combine to no 32-byte secret (``index`` says which one)."""

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


def _to_limbs(secret: bytes) -> list[int]:
    if len(secret) != SECRET_BYTES:
        raise ShareError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")
    value = int.from_bytes(secret, "little")
    return [(value >> (_LIMB_BITS * i)) & ((1 << _LIMB_BITS) - 1) for i in range(LIMBS)]


def _from_limbs(limbs: Vector, index: int) -> bytes:
    if (limbs >> np.uint32(_LIMB_BITS)).any():
        raise ShareError("the shares combine to a limb of more than 29 bits", index)
    value = sum(int(limb) << (_LIMB_BITS * i) for i, limb in enumerate(limbs))
    if value >> (8 * SECRET_BYTES):
        raise ShareError("the shares combine to more than 32 bytes", index)
    return value.to_bytes(SECRET_BYTES, "little")


def _plain_evaluate(coefficients: Shares, points: Vector, out: Shares) -> None:
    x = points.astype(np.uint64)[:, None]
    values = np.zeros(out.shape, dtype=np.uint64)
    for row in coefficients[::-1]:
        values *= x
        values += row
        values %= _P64
    out[:] = values


@compiled(or_else=_plain_evaluate)
def _evaluate(coefficients: Shares, points: Vector, out: Shares) -> None:
    """``out[j, i]`` = polynomial i at ``points[j]``; ``coefficients[c, i]`` of polynomial i, lowest first (Horner)."""
    degree = coefficients.shape[0] - 1
    columns = coefficients.shape[1]
    for j in range(points.size):
        x = np.uint64(points[j])
        for i in range(columns):
            out[j, i] = coefficients[degree, i]
        for c in range(degree - 1, -1, -1):
            for i in range(columns):  # innermost, as they lie side by side in memory
                out[j, i] = np.uint32((np.uint64(out[j, i]) * x + np.uint64(coefficients[c, i])) % _P64)


def _weighted_sum(weights: Vector, shares: Shares) -> Vector:
    """Entry i is the sum over j of ``weights[j] · shares[j, i]`` modulo p."""
    total = np.zeros(shares.shape[1], dtype=np.uint64)
    for weight, row in zip(weights, shares, strict=True):
        total += row * np.uint64(weight) % _P64  # far fewer than the 2^33 rows that would be too many
    return (total % _P64).astype(np.uint32)


def lagrange(points: Sequence[int], at: int) -> tuple[int, ...]:
    """Factors modulo p with which a polynomial's values at different ``points``, as many as it has coefficients, give
    its value at ``at``.
    """
    factors = []
    for i, x in enumerate(points):
        numerator = denominator = 1
        for j, other in enumerate(points):
            if j != i:
                numerator = numerator * (at - other) % P
                denominator = denominator * (x - other) % P
        factors.append(numerator * pow(denominator, -1, P) % P)
    return tuple(factors)


def _check_points(points: Sequence[int]) -> None:
    if len(set(points)) != len(points):
        raise ShareError("two shares have the same point")
    if any(not 0 < x < P for x in points):
        raise ShareError("a share's point lies outside [1, p)")


def split(secrets: Sequence[bytes], threshold: int, points: Sequence[int], randomness: KeyStream) -> Shares:
    """Share every secret among the holders of ``points``.

    Args:
        secrets: 32 bytes each.
        threshold: shares that it takes to rebuild one.
        points: distinct x-coordinates in [1, p), one per holder.
        randomness: a stream of this split's own; the same one gives the same shares again.

    Returns:
        ``shares[holder, secret, limb]``, uint32.

    Raises:
        ShareError: a secret of another length, points out of range or twice, a threshold no set can reach.
    """
    _check_points(points)
    if not 1 <= threshold <= len(points):
        raise ShareError(f"a threshold of {threshold} can't be met by {len(points)} shares")
    columns = len(secrets) * LIMBS
    coefficients = np.empty((threshold, columns), dtype=np.uint32)
    coefficients[0] = [limb for secret in secrets for limb in _to_limbs(secret)]
    if threshold > 1:
        coefficients[1:] = randomness.residue_vector((threshold - 1) * columns).reshape(threshold - 1, columns)
    out = np.empty((len(points), columns), dtype=np.uint32)
    _evaluate(coefficients, np.array(points, dtype=np.uint32), out)
    return out.reshape(len(points), len(secrets), LIMBS)


def combine(points: Sequence[int], shares: Shares) -> list[bytes]:
    """Rebuild every secret from the shares of one set of holders.

    Args:
        points: the holders' x-coordinates.
        shares: ``shares[holder, secret, limb]`` in the same order, at least threshold holders.

    Raises:
        ShareError: points out of range or twice, shares of another shape, or a result that is no 32-byte
            secret (the dealer shared something else, or a share is wrong).
    """
    _check_points(points)
    if shares.ndim != 3 or shares.shape[0] != len(points) or shares.shape[2] != LIMBS or not len(points):
        raise ShareError(f"shares of shape {shares.shape} do not fit {len(points)} holders")
    out = _weighted_sum(np.array(lagrange(points, 0), dtype=np.uint32), shares.reshape(len(points), -1))
    return [_from_limbs(limbs, index) for index, limbs in enumerate(out.reshape(-1, LIMBS))]
