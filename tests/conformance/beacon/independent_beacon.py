"""A second implementation of what section 3 of docs/specification.md says of beacons, written from that file alone.

The curve arithmetic is py_ecc's, in pure Python, as signatures elsewhere are a library's. It takes a second a pulse,
and another to import, which only what has a beacon waits for.
Everything that it refuses is a `ValueError`.
"""

import functools
import hashlib
from typing import Any

SCHEME = "bls-unchained-g1-rfc9380"
SUITE = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
FIELDS = {"scheme", "key", "first", "step", "genesis", "period"}
DRAWS = 16
ROUNDS = 2**16


def require(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)


@functools.cache
def public_key(data: bytes) -> Any:
    from py_ecc.bls.point_compression import decompress_G2
    from py_ecc.optimized_bls12_381 import curve_order, is_inf, multiply

    require(len(data) == 96, "a beacon's key has 96 bytes")
    # py_ecc takes no other spelling of a point, and checks no subgroup
    point = decompress_G2((int.from_bytes(data[:48], "big"), int.from_bytes(data[48:], "big")))  # type: ignore[arg-type]
    require(not is_inf(point) and is_inf(multiply(point, curve_order)), "a beacon's key is not of the group")
    return point


def check_source(source: dict[str, Any]) -> None:
    require(set(source) == FIELDS, "wrong fields in a beacon")
    require(source["scheme"] == SCHEME, "another scheme of beacon")
    for field, least, most in (
        ("first", 1, 2**53), ("step", 1, 2**32), ("genesis", 0, 2**53), ("period", 0, 2**32),
    ):  # fmt: skip
        require(type(source[field]) is int and least <= source[field] <= most, f"{field} of a beacon is out of range")
    require((source["genesis"] == 0) == (source["period"] == 0), "a beacon has a genesis without a period")
    public_key(bytes.fromhex(source["key"]))


def number(source: dict[str, Any], round_: int, draw: int) -> int:
    require(0 <= round_ < ROUNDS and 0 <= draw < DRAWS, "no pulse draws this")
    found: int = source["first"] + (DRAWS * round_ + draw) * source["step"]
    require(found < 2**64, "no pulse has so large a number")
    return found


def check_pulse(key: bytes, pulse: int, signature: bytes) -> None:
    require(is_pulse(key, pulse, signature), "not the pulse of the beacon")


@functools.cache
def is_pulse(key: bytes, pulse: int, signature: bytes) -> bool:
    """Kept, since many rounds have the same pulse."""
    from py_ecc.bls.hash_to_curve import hash_to_G1
    from py_ecc.bls.point_compression import decompress_G1
    from py_ecc.optimized_bls12_381 import (
        FQ12,
        G2,
        curve_order,
        final_exponentiate,
        is_inf,
        multiply,
        neg,
        pairing,
    )

    require(len(signature) == 48, "a pulse has 48 bytes")
    public = public_key(key)
    point = decompress_G1(int.from_bytes(signature, "big"))  # type: ignore[arg-type]
    require(not is_inf(point) and is_inf(multiply(point, curve_order)), "a pulse is not of the group")
    hashed = hash_to_G1(hashlib.sha256(pulse.to_bytes(8, "big")).digest(), SUITE, hashlib.sha256)
    product = pairing(G2, point, final_exponentiate=False) * pairing(public, neg(hashed), final_exponentiate=False)
    return bool(final_exponentiate(product) == FQ12.one())


def check_beacon(source: dict[str, Any], config: dict[str, Any]) -> None:
    """That the randomness in a configuration is the pulse which has to draw its cohort."""
    check_source(source)
    check_pulse(bytes.fromhex(source["key"]), number(source, config["round"], config["draw"]), config["beacon"])
