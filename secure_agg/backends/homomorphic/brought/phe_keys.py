"""Paillier keys of python-paillier (``phe``), 1.5.

A file is what ``pheutil genpkey`` writes, a JSON object after RFC 7517: ``{"kty": "DAJ", "key_ops": ["decrypt"], "p":
…, "q": …, "pub": {"kty": "DAJ", "alg": "PAI-GN1", "n": …, …}, "kid": …}``, numbers big endian in base64url without
padding. The two ``kid`` are comments and are not read.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

import msgspec

from mpc.paillier.paillier import MAX_BITS, PaillierError, SecretKey
from secure_agg.errors import ConfigError

MAX_FILE_BYTES: Final = 1 << 16
_KIND: Final = "DAJ"
_ALGORITHM: Final = "PAI-GN1"  # g = n + 1
_NUMBER: Final = re.compile(r"[A-Za-z0-9_-]+")


class _Public(msgspec.Struct, frozen=True):
    kty: str
    alg: str
    n: str
    key_ops: list[str] = []


class _Private(msgspec.Struct, frozen=True):
    kty: str
    p: str
    q: str
    pub: _Public
    key_ops: list[str] = []

    def __repr__(self) -> str:
        return "_Private(<secret>)"


def read(key: object) -> SecretKey:
    """Take over a key.

    Args:
        key: a ``phe.PaillierPrivateKey``, or the bytes of pheutil's file.

    Raises:
        ConfigError: it is neither, or no key that may be used; nothing of it is quoted but its length.
    """
    if isinstance(key, bytes | bytearray | memoryview):
        p, q, n = _parse(bytes(key))
    else:
        p, q, n = _attributes(key)
    if p * q != n:
        raise ConfigError("a Paillier key whose primes are not those of its modulus")
    try:
        return SecretKey(p, q)
    except PaillierError as error:
        raise ConfigError(
            f"a Paillier key with a modulus of {n.bit_length()} bits can't be used: {error}; one that can is "
            "phe.generate_paillier_keypair(n_length=3072)"
        ) from None


def _attributes(key: object) -> tuple[int, int, int]:
    try:
        private: Any = key
        p, q, n = int(private.p), int(private.q), int(private.public_key.n)
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise ConfigError(
            f"a key of type {type(key).__name__} is no private key of phe: it takes a PaillierPrivateKey, or the bytes "
            "of a file that pheutil genpkey has written"
        ) from None
    if not max(p, q, n).bit_length() <= MAX_BITS or min(p, q, n) < 1:
        raise ConfigError(f"a Paillier key whose numbers are not in [1, 2^{MAX_BITS})")
    return p, q, n


def _parse(data: bytes) -> tuple[int, int, int]:
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"a private key of phe has at most {MAX_FILE_BYTES} bytes, not {len(data)}")
    try:
        found = msgspec.json.decode(data, type=_Private)
    except (msgspec.MsgspecError, ValueError):
        # Not from the error: it may quote the file.
        raise ConfigError("this is no private key of phe: pheutil genpkey writes one, JSON with p, q and pub") from None
    kinds = (found.kty, found.pub.kty, found.pub.alg)
    if kinds != (_KIND, _KIND, _ALGORITHM):
        raise ConfigError(f"a key of kind {kinds}, not {(_KIND, _KIND, _ALGORITHM)}")
    return _number(found.p), _number(found.q), _number(found.pub.n)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or len(text) > MAX_BITS // 6 + 2:
        raise ConfigError(f"a private key of phe holds a number that is not base64url, or above {MAX_BITS} bits")
    try:
        return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")
    except (binascii.Error, ValueError):
        raise ConfigError("a private key of phe holds a number that is not base64url") from None
