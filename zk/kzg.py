"""KZG commitments to polynomials over the scalar field of BLS12-381 (Kate, Zaverucha, Goldberg 2010), with the powers
of τ of Ethereum's ceremony, so that the point-evaluation precompile of EIP-4844 checks an opening.

The commitment to f(X) = Σ m_j X^j is K = Σ m_j [τ^j]G1, in the monomial basis: linear in f, and binding as long as
nobody knows τ. An opening at z proves f(z) = y with one point, π = [(f(τ) − y)/(τ − z)]G1. Whoever checks it does so
with pairings,

    e(K − y·G1 + z·π, G2) = e(π, [τ]G2).

It proves the value of a polynomial of degree below 4096, the number of powers that the ceremony has published, and not
that its coefficients are small or of any other form. K hides nothing. Not post-quantum.

Commitments and openings are made here; the contract checks them. The curve arithmetic is arkworks' (extra ``evm``),
which is given numbers that are below r and powers from the package's own file, and nothing that a stranger has sent.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Final

from mpc.optional import Optional

if TYPE_CHECKING:
    import py_arkworks_bls12381 as curve
else:
    curve = Optional("py_arkworks_bls12381", "evm")

MODULUS: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""r, the order of the groups: coefficients, points of evaluation and values are below it."""
MAX_COEFFICIENTS: Final = 342
"""Of a polynomial here: as many powers of τ come with the package."""

_POWERS: Final = "ceremony/powers.txt"
_POWERS_SHA256: Final = "a400b748cc309d5e950c2afb48d6a0ea200614548e4d91228252c86ee4c7b3cd"
_COORDINATE_BYTES: Final = 48
_WORD_BYTES: Final = 64  # of a coordinate in EIP-2537, 16 zeros first


class KzgError(ValueError):
    """Numbers that are no polynomial or no point of evaluation, or a package that is not whole."""


@functools.cache
def powers() -> tuple[curve.G1Point, ...]:
    """[τ^0]G1 … [τ^341]G1. The file's last two lines, which nothing here needs, are [τ^0]G2 and [τ^1]G2.

    Raises:
        KzgError: the file is not the one that the package was published with.
    """
    data = resources.files("zk").joinpath(_POWERS).read_bytes()
    if hashlib.sha256(data).hexdigest() != _POWERS_SHA256:
        raise KzgError(f"zk/{_POWERS} is not the file of this package: install it again")
    lines = data.decode().splitlines()[:MAX_COEFFICIENTS]
    # Each is checked to lie in its group, as if the digest were not there.
    return tuple(curve.G1Point.from_compressed_bytes(bytes.fromhex(line)) for line in lines)


def commit(coefficients: Sequence[int]) -> bytes:
    """K = Σ m_j [τ^j]G1.

    Args:
        coefficients: at most 342, each in [0, r).

    Returns:
        The point as EIP-2537 has it, 128 bytes: x, y as 64 bytes each, big endian, the first 16 zero; all zeros at
        infinity.

    Raises:
        KzgError: too many, or one out of range.
    """
    coordinates = _commit(coefficients).to_xy_bytes_be()
    padding = bytes(_WORD_BYTES - _COORDINATE_BYTES)
    return padding + coordinates[:_COORDINATE_BYTES] + padding + coordinates[_COORDINATE_BYTES:]


def open_at(coefficients: Sequence[int], point: int) -> tuple[int, bytes]:
    """Prove the value at a point.

    Args:
        coefficients: as in ``commit``.
        point: z, in [0, r).

    Returns:
        y = f(z), and π, 48 bytes compressed, as EIP-4844 has it.

    Raises:
        KzgError: as in ``commit``; z is out of range.
    """
    _scalar(point)
    for coefficient in coefficients:
        _scalar(coefficient)
    # (f(X) − f(z)) / (X − z) by synthetic division: what Horner's rule leaves on its way.
    quotient, value = [], 0
    for coefficient in reversed(coefficients):
        quotient.append(value)
        value = (value * point + coefficient) % MODULUS
    return value, _commit(quotient[:0:-1]).to_compressed_bytes()


def _commit(coefficients: Sequence[int]) -> curve.G1Point:
    if len(coefficients) > MAX_COEFFICIENTS:
        raise KzgError(f"{len(coefficients)} coefficients, the package has powers for {MAX_COEFFICIENTS}")
    scalars = [_scalar(coefficient) for coefficient in coefficients]
    return curve.G1Point.multiexp_unchecked(list(powers()[: len(scalars)]), scalars)


def _scalar(value: int) -> curve.Scalar:
    if not 0 <= value < MODULUS:
        raise KzgError(f"{value} is not in [0, r)")
    return curve.Scalar.from_be_bytes(value.to_bytes(32, "big"))
