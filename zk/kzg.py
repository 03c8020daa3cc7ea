"""KZG commitments to polynomials over the scalar field of BLS12-381 (Kate, Zaverucha, Goldberg 2010), with the powers
of τ of Ethereum's ceremony, so that the point-evaluation precompile of EIP-4844 checks an opening.

The commitment to f(X) = Σ m_j X^j is K = Σ m_j [τ^j]G1, in the monomial basis: linear in f, and binding as long as
nobody knows τ. An opening at z proves f(z) = y with one point, π = [(f(τ) − y)/(τ − z)]G1. It is checked with pairings,

    e(K − y·G1 + z·π, G2) = e(π, [τ]G2).

It proves the value of a polynomial of degree below 4096, the number of powers that the ceremony has published, and not
that its coefficients are small or of any other form. K hides nothing. Not post-quantum.

Points are bytes: 48 compressed, as EIP-4844 and the IETF draft on BLS signatures (appendix A, "ZCash format") have
them, or 128, as EIP-2537 does. The curve arithmetic is arkworks' (extra ``evm``), which is compiled Rust and ends by
exceptions that are no ``Exception`` where it does not expect something: it is given coordinates that are below the
field's modulus and on the curve, in their one encoding. It checks that a point is in the group.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Final

from py_arkworks_bls12381 import GT, G1Point, G2Point, Scalar

MODULUS: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""r, the order of the groups: coefficients, points of evaluation and values are below it."""
POINT_BYTES: Final = 48
UNCOMPRESSED_BYTES: Final = 128
MAX_COEFFICIENTS: Final = 342
"""Of a polynomial here: as many powers of τ come with the package."""

_FIELD: Final = int(
    "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab", 16
)  # coordinates are below it
_COMPRESSED, _INFINITY, _LARGER_Y = 0x80, 0x40, 0x20  # flags in the first byte of a compressed point
_POWERS: Final = "ceremony/powers.txt"
_POWERS_SHA256: Final = "a400b748cc309d5e950c2afb48d6a0ea200614548e4d91228252c86ee4c7b3cd"
_COORDINATE_BYTES: Final = 48
_WORD_BYTES: Final = 64  # of a coordinate in EIP-2537, 16 zeros first


class KzgError(ValueError):
    """An opening that proves nothing, or bytes that are no point, no polynomial or no value."""


@functools.cache
def powers() -> tuple[tuple[G1Point, ...], tuple[G2Point, ...]]:
    """[τ^0]G1 … [τ^341]G1 and [τ^0]G2, [τ^1]G2.

    Raises:
        KzgError: the file is not the one that the package was published with.
    """
    data = resources.files("zk").joinpath(_POWERS).read_bytes()
    if hashlib.sha256(data).hexdigest() != _POWERS_SHA256:
        raise KzgError(f"zk/{_POWERS} is not the file of this package: install it again")
    points = [bytes.fromhex(line) for line in data.decode().splitlines()]
    # Each is checked to lie in its group, as if the digest were not there.
    first = tuple(G1Point.from_compressed_bytes(point) for point in points[:MAX_COEFFICIENTS])
    return first, tuple(G2Point.from_compressed_bytes(point) for point in points[MAX_COEFFICIENTS:])


def evaluate(coefficients: Sequence[int], point: int) -> int:
    """f(z) modulo r, by Horner's rule.

    Args:
        coefficients: m_0, m_1, …, of any size.
        point: z.
    """
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % MODULUS
    return value


def commit(coefficients: Sequence[int]) -> bytes:
    """K = Σ m_j [τ^j]G1, compressed.

    Args:
        coefficients: at most 342, each in [0, r).

    Raises:
        KzgError: too many, or one out of range.
    """
    return _commit(coefficients).to_compressed_bytes()


def open_at(coefficients: Sequence[int], point: int) -> tuple[int, bytes]:
    """Prove the value at a point.

    Args:
        coefficients: as in ``commit``.
        point: z, in [0, r).

    Returns:
        y = f(z), and π, compressed.

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


def verify(commitment: bytes, point: int, value: int, proof: bytes) -> None:
    """Check that the polynomial in ``commitment`` has this value at this point. Whoever calls it computes ``value``
    from what it is about: a value that the prover supplies proves nothing.

    Args:
        commitment, proof: compressed.
        point, value: z and y, in [0, r).

    Raises:
        KzgError: it has not, or something is malformed.
    """
    bases, (g2, tau_g2) = powers()
    z, y, opening = _scalar(point), _scalar(value), _decompress(proof)
    left = _decompress(commitment) - bases[0] * y + opening * z
    if not GT.pairing_check([left, -opening], [g2, tau_g2]):
        raise KzgError("the opening does not prove this value of the committed polynomial")


def add(commitments: Sequence[bytes]) -> bytes:
    """The commitment to the sum of the committed polynomials.

    Raises:
        KzgError: one is no point.
    """
    total = G1Point.identity()
    for commitment in commitments:
        total += _decompress(commitment)
    return total.to_compressed_bytes()


def uncompressed(commitment: bytes) -> bytes:
    """A point as EIP-2537 has it: x, y as 64 bytes each, big endian, the first 16 zero; all zeros at infinity.

    Raises:
        KzgError: it is no point.
    """
    coordinates = _decompress(commitment).to_xy_bytes_be()
    padding = bytes(_WORD_BYTES - _COORDINATE_BYTES)
    return padding + coordinates[:_COORDINATE_BYTES] + padding + coordinates[_COORDINATE_BYTES:]


def compressed(point: bytes) -> bytes:
    """The inverse of ``uncompressed``.

    Raises:
        KzgError: it is no point of the group in this form.
    """
    padding = bytes(_WORD_BYTES - _COORDINATE_BYTES)
    x, y = point[:_WORD_BYTES], point[_WORD_BYTES:]
    if len(point) != UNCOMPRESSED_BYTES or not x.startswith(padding) or not y.startswith(padding):
        raise KzgError(f"a point takes {UNCOMPRESSED_BYTES} bytes, of which each half begins with 16 zeros")
    if not any(point):
        return G1Point.identity().to_compressed_bytes()
    horizontal, vertical = (int.from_bytes(word, "big") for word in (x, y))
    if max(horizontal, vertical) >= _FIELD or (vertical**2 - horizontal**3 - 4) % _FIELD:
        raise KzgError("not a point of the curve: a coordinate is too large, or y² is not x³ + 4")
    try:
        return G1Point.from_xy_bytes_be(x[len(padding) :] + y[len(padding) :]).to_compressed_bytes()
    except ValueError as error:
        raise KzgError(f"not a point of the group: {error}") from error


def _commit(coefficients: Sequence[int]) -> G1Point:
    if len(coefficients) > MAX_COEFFICIENTS:
        raise KzgError(f"{len(coefficients)} coefficients, the package has powers for {MAX_COEFFICIENTS}")
    scalars = [_scalar(coefficient) for coefficient in coefficients]
    return G1Point.multiexp_unchecked(list(powers()[0][: len(scalars)]), scalars)


def _scalar(value: int) -> Scalar:
    if not 0 <= value < MODULUS:
        raise KzgError(f"{value} is not in [0, r)")
    return Scalar.from_be_bytes(value.to_bytes(32, "big"))


def _decompress(data: bytes) -> G1Point:
    """A point of the group, from its one encoding."""
    if len(data) != POINT_BYTES:
        raise KzgError(f"a compressed point has {POINT_BYTES} bytes, not {len(data)}")
    flags, x = data[0] & 0xE0, int.from_bytes(bytes([data[0] & 0x1F]) + data[1:], "big")
    if flags == _COMPRESSED | _INFINITY and not x:
        return G1Point.identity()
    square = (x**3 + 4) % _FIELD
    if flags not in (_COMPRESSED, _COMPRESSED | _LARGER_Y) or x >= _FIELD or not _is_square(square):
        raise KzgError("not the encoding of a point: its flags or its x belong to none of the curve")
    try:
        point = G1Point.from_compressed_bytes(data)
    except ValueError as error:
        raise KzgError(f"not a point of the group: {error}") from error
    if point.to_compressed_bytes() != data:
        raise KzgError("not the canonical encoding of a point")
    return point


def _is_square(value: int) -> bool:
    """Euler's criterion in the coordinates' field."""
    return pow(value, (_FIELD - 1) // 2, _FIELD) in (0, 1)
