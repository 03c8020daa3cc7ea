"""BLS signatures in G1: against a second implementation, and what is no signature."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import pytest
from py_ecc.bls.hash_to_curve import hash_to_G1
from py_ecc.bls.point_compression import compress_G1, compress_G2, decompress_G1, decompress_G2
from py_ecc.optimized_bls12_381 import (
    FQ,
    FQ12,
    G2,
    b,
    curve_order,
    field_modulus,
    final_exponentiate,
    is_inf,
    is_on_curve,
    multiply,
    neg,
    pairing,
)
from support.beacons import QUICKNET_PULSES, SECRET

from secure_agg.beacon.source import quicknet
from zk import bls
from zk.bls import BlsError

MESSAGE: Final = hashlib.sha256(b"a message").digest()
_SIGN: Final = 1 << 381


def other_verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """By py_ecc, in pure Python."""
    high, low = int.from_bytes(key[:48], "big"), int.from_bytes(key[48:], "big")
    public, point = decompress_G2((high, low)), decompress_G1(int.from_bytes(signature, "big"))  # type: ignore[arg-type]
    hashed = hash_to_G1(message, bls.SUITE, hashlib.sha256)
    product = pairing(G2, point, final_exponentiate=False) * pairing(public, neg(hashed), final_exponentiate=False)
    return bool(final_exponentiate(product) == FQ12.one())


def encoded(point: Any) -> bytes:
    return int(compress_G1(point)).to_bytes(48, "big")


def test_the_second_implementation_signs_the_same() -> None:
    secret = int.from_bytes(SECRET, "big")
    assert bls.sign(SECRET, MESSAGE) == encoded(multiply(hash_to_G1(MESSAGE, bls.SUITE, hashlib.sha256), secret))
    assert bls.public_key(SECRET) == b"".join(
        int(half).to_bytes(48, "big") for half in compress_G2(multiply(G2, secret))
    )
    assert curve_order == bls.ORDER


def test_the_second_implementation_verifies_the_same() -> None:
    key, signature = bls.public_key(SECRET), bls.sign(SECRET, MESSAGE)
    bls.verify(key, MESSAGE, signature)
    assert other_verify(key, MESSAGE, signature)
    number, published = 1000, bytes.fromhex(QUICKNET_PULSES[1000])
    assert other_verify(quicknet(1).key, hashlib.sha256(number.to_bytes(8, "big")).digest(), published)


def test_another_message_key_or_signature_does_not_verify() -> None:
    key, signature, other = bls.public_key(SECRET), bls.sign(SECRET, MESSAGE), bytes(31) + b"\x09"
    for wrong in (
        (bls.public_key(other), MESSAGE, signature),
        (key, MESSAGE[:-1], signature),
        (key, MESSAGE, bls.sign(other, MESSAGE)),
        (key, MESSAGE, encoded(neg(decompress_G1(int.from_bytes(signature, "big"))))),  # type: ignore[arg-type]
    ):
        with pytest.raises(BlsError):
            bls.verify(*wrong)


def outside_the_subgroup() -> bytes:
    """A point of the curve whose order is not the group's."""
    for x in range(1, 100):
        y = pow(x**3 + b.n, (field_modulus + 1) // 4, field_modulus)
        point = (FQ(x), FQ(y), FQ(1))
        if is_on_curve(point, b) and not is_inf(multiply(point, curve_order)):
            return encoded(point)
    raise AssertionError("no such point")


def test_what_is_no_canonical_point_of_the_group_is_no_signature() -> None:
    key = bls.public_key(SECRET)
    # One whose x has a second spelling, modulo the field's order.
    message, signature = next(
        (message, signature)
        for message, signature in ((bytes([i]), bls.sign(SECRET, bytes([i]))) for i in range(256))
        if int.from_bytes(signature, "big") % _SIGN + field_modulus < _SIGN
    )
    number = int.from_bytes(signature, "big")
    bls.verify(key, message, signature)
    unfit = {
        "the point at infinity": b"\xc0" + bytes(47),
        "the point at infinity, with a sign": b"\xe0" + bytes(47),
        "outside the subgroup": outside_the_subgroup(),
        "not compressed": bytes([signature[0] & 0x7F]) + signature[1:],
        "beyond the field": (number + field_modulus).to_bytes(48, "big"),
        "not on the curve": (number ^ 1).to_bytes(48, "big"),
        "short": signature[:-1],
        "long": signature + b"\0",
        "nothing": b"",
    }
    for wrong in unfit.values():
        with pytest.raises(BlsError):
            bls.verify(key, message, wrong)


@pytest.mark.parametrize(
    "key", [b"", bytes(96), b"\xc0" + bytes(95), b"\xe0" + bytes(95), bls.public_key(SECRET)[:-1], b"\xff" * 96]
)
def test_what_is_no_key_is_refused(key: bytes) -> None:
    """Under the point at infinity, one signature would be of all messages."""
    with pytest.raises(BlsError):
        bls.check_key(key)


@pytest.mark.parametrize("secret", [b"", bytes(32), bls.ORDER.to_bytes(32, "big"), bytes(33)])
def test_a_secret_without_a_key_is_refused(secret: bytes) -> None:
    with pytest.raises(BlsError):
        bls.public_key(secret)
