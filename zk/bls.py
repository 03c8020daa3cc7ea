"""BLS signatures over BLS12-381 with signatures in G1 and keys in G2: the short ones, 48 bytes.

draft-irtf-cfrg-bls-signature-05, section 2, basic scheme, ciphersuite
``BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_`` with hashing to the curve by RFC 9380; points are encoded compressed, as
ZCash has it. One message has one signature under one key, so nobody chooses among several. The curve arithmetic is
arkworks' (extra ``beacon``), which is imported when something is verified or signed.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from mpc.optional import Optional

if TYPE_CHECKING:
    import py_arkworks_bls12381 as curve
else:
    curve = Optional("py_arkworks_bls12381", "beacon")

KEY_BYTES: Final = 96
SIGNATURE_BYTES: Final = 48
SECRET_BYTES: Final = 32
SUITE: Final = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
"""The domain separation tag."""
ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""Of the groups."""


class BlsError(ValueError):
    """A key or signature that is none, or does not verify."""


@functools.lru_cache(maxsize=64)
def check_key(key: bytes) -> curve.G2Point:
    """The point of a public key.

    Args:
        key: 96 bytes.

    Raises:
        BlsError: wrong length, not canonical, not on the curve, outside of the subgroup, or the point at infinity.
    """
    if len(key) != KEY_BYTES:
        raise BlsError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
    try:
        point = curve.G2Point.from_compressed_bytes(key)
    except ValueError:
        raise BlsError("a key is no point of the group") from None
    # Some other spellings are decoded too; under the key at infinity one signature fits all messages.
    if bytes(point.to_compressed_bytes()) != key or point == curve.G2Point.identity():
        raise BlsError("a key is not canonical, or the point at infinity")
    return point


def verify(key: bytes, message: bytes, signature: bytes) -> None:
    """Check e(signature, g2) = e(H(message), key).

    Args:
        key: 96 bytes.
        message: what is hashed to the curve.
        signature: 48 bytes.

    Raises:
        BlsError: the signature has another length, is not canonical, not on the curve, outside of the subgroup or the
            point at infinity, or is not of this message under this key.
    """
    public = check_key(key)
    if len(signature) != SIGNATURE_BYTES:
        raise BlsError(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    try:
        point = curve.G1Point.from_compressed_bytes(signature)
    except ValueError:
        raise BlsError("a signature is no point of the group") from None
    if bytes(point.to_compressed_bytes()) != signature or point == curve.G1Point.identity():
        raise BlsError("a signature is not canonical, or the point at infinity")
    if not curve.GT.pairing_check([point, -_hashed(message)], [curve.G2Point(), public]):
        raise BlsError("a signature does not verify under the key")


def public_key(secret: bytes) -> bytes:
    """The public key of a secret, 96 bytes.

    Args:
        secret: 32 bytes, big endian, taken modulo the order.

    Raises:
        BlsError: another length, or a multiple of the order.
    """
    return bytes((curve.G2Point() * curve.Scalar(_scalar(secret))).to_compressed_bytes())


def sign(secret: bytes, message: bytes) -> bytes:
    """The one signature of a message, 48 bytes. Not in constant time.

    Raises:
        BlsError: see ``public_key``.
    """
    return bytes((_hashed(message) * curve.Scalar(_scalar(secret))).to_compressed_bytes())


def _hashed(message: bytes) -> curve.G1Point:
    return curve.G1Point.hash_to_curve(message, SUITE)


def _scalar(secret: bytes) -> int:
    if len(secret) != SECRET_BYTES or not (found := int.from_bytes(secret, "big") % ORDER):
        raise BlsError(f"a secret has {SECRET_BYTES} bytes, and is no multiple of the order")
    return found
