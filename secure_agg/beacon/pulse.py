"""A pulse of a beacon in the format of drand, scheme ``bls-unchained-g1-rfc9380``: that of the network ``quicknet``.

Pulse ρ is the BLS signature of SHA-256(u64 big endian of ρ) in G1, its randomness is SHA-256(signature). One number has
one signature under one key; whoever has less than a quorum of the beacon's shares of the key can't tell it beforehand.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import msgspec

from secure_agg import formats
from secure_agg.arguments import checked_class
from secure_agg.errors import ConfigError, TrustError
from secure_agg.protocol.ready import ready
from zk import bls
from zk.bls import BlsError

SCHEME: Final = "bls-unchained-g1-rfc9380"
MAX_PULSE: Final = (1 << 64) - 1
MAX_FILE: Final = 4096
"""Bytes of a pulse as drand's HTTP API has it."""


class _Document(msgspec.Struct):
    """What drand's HTTP API answers; fields that are not needed are not looked at, since the signature says all."""

    round: int
    signature: str
    randomness: str | None = None


@checked_class
@dataclass(frozen=True)
class Pulse:
    """What a beacon has published under a number. That it is the beacon's is for ``verify`` to say.

    Attributes:
        number: ρ, drand's "round".
        signature: 48 bytes.
    """

    number: int
    signature: bytes

    @property
    def randomness(self) -> bytes:
        """32 bytes."""
        return hashlib.sha256(self.signature).digest()

    def verify(self, key: bytes) -> None:
        """Check that it is the pulse of its number under a beacon's public key.

        Raises:
            TrustError: it is not, or is not in canonical form.
            ConfigError: the key is none.
        """
        try:
            bls.check_key(key)
        except BlsError as error:
            raise ConfigError(f"a beacon's {error}") from None
        try:
            bls.verify(key, message(self.number), self.signature)
        except BlsError as error:
            raise TrustError(f"this is not pulse {self.number} of the pinned beacon: {error}") from None

    def to_json(self) -> str:
        """As drand's HTTP API has it: round, randomness and signature, on one line."""
        document = {"round": self.number, "randomness": self.randomness.hex(), "signature": self.signature.hex()}
        return msgspec.json.encode(document).decode()

    @staticmethod
    def from_json(data: bytes | str) -> Pulse:
        """Read what drand's HTTP API answers. Nothing is verified.

        Raises:
            ConfigError: it is none, above 4 KiB, or its randomness is not that of its signature.
        """
        text = data.encode() if isinstance(data, str) else data
        if len(text) > MAX_FILE:
            raise ConfigError(f"a pulse of {len(text)} bytes, above {MAX_FILE}")
        try:
            document = msgspec.json.decode(text, type=ready(_Document))
            pulse = Pulse(document.round, bytes.fromhex(document.signature))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ConfigError(f"this is no pulse of a beacon: {error}{formats.instead(text, formats.JSON)}") from None
        if not 1 <= pulse.number <= MAX_PULSE:
            raise ConfigError(f"pulse {pulse.number} is outside [1, 2^64)")
        if document.randomness is not None and document.randomness != pulse.randomness.hex():
            raise ConfigError(f"the randomness of pulse {pulse.number} is not the hash of its signature")
        return pulse


def message(number: int) -> bytes:
    """What the beacon signs: 32 bytes."""
    return hashlib.sha256(number.to_bytes(8, "big")).digest()
