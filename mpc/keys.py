"""Pairwise secrets: X25519 agreement (RFC 7748), key confirmation, and channels sealed with AES-256-GCM.

A key pair serves one purpose: the secret of a *mask* pair may be shared out and rebuilt by others, so a
*channel* that carries shares must never depend on it.

The raw agreement belongs to no one pair of public keys: adding a point of low order to a public key changes the key
(u becomes 1/u, for one of them) and nothing of the agreement. So it never leaves ``KeyPair``: what others derive their
keys from is a hash of it and of both public keys.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpc.framing import frame
from mpc.keystream import derive_key

PUBLIC_BYTES: Final = 32
SEAL_OVERHEAD: Final = 16
CONFIRMATION_BYTES: Final = 16
"""Of a tag that is compared and never a key: 128 bits, and there is one for every edge."""

_FIELD: Final = 2**255 - 19
_ORDER_8 = 325606250916557431795983626356110631294008115727848805560023387167927233504
_ORDER_8_TWIN = 39382357235489614581723060781553021112529911719440698176882885853963445705823
_LOW_ORDER: Final = frozenset({0, 1, _FIELD - 1, _ORDER_8, _ORDER_8_TWIN})


class KeyAgreementError(ValueError):
    """A public key that no honest party sends, or a sealed message that does not open."""


def check_public(raw: bytes) -> None:
    """Refuse what is not the canonical encoding of a point of large order (RFC 7748, section 7).

    Raises:
        KeyAgreementError: wrong length, not reduced modulo 2^255 − 19, or one of the points of low order, for
            which the shared secret would be the same whoever the peer is.
    """
    if len(raw) != PUBLIC_BYTES:
        raise KeyAgreementError(f"a public key has {PUBLIC_BYTES} bytes, not {len(raw)}")
    u = int.from_bytes(raw, "little")
    if u >= _FIELD:
        raise KeyAgreementError("a public key is not reduced modulo 2^255 - 19")
    if u in _LOW_ORDER:
        raise KeyAgreementError("a public key has low order")


def clamped(secret: bytes) -> bytes:
    """The one spelling of an X25519 secret: 32 bytes that differ in what is set or cleared anyway (RFC 7748, section 5)
    are the same secret.
    """
    return bytes((secret[0] & 0xF8, *secret[1:-1], secret[-1] & 0x7F | 0x40))


@dataclass(frozen=True)
class KeyPair:
    """An X25519 key pair. ``secret`` is the 32 bytes before clamping; ``public`` the u-coordinate."""

    secret: bytes = field(repr=False)
    public: bytes

    @staticmethod
    def from_secret(secret: bytes) -> KeyPair:
        """The pair of 32 secret bytes (drawn or derived elsewhere)."""
        return KeyPair(secret, X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw())

    def shared_secret(self, peer: bytes) -> bytes:
        """The 32-byte agreement with ``peer``, of these two public keys only: key material, never itself a key.

        Raises:
            KeyAgreementError: the peer's key is not canonical, has low order, or is this pair's own (reflected).
        """
        check_public(peer)
        if peer == self.public:
            raise KeyAgreementError("a peer's public key is our own, reflected")
        raw = self._private.exchange(X25519PublicKey.from_public_bytes(peer))
        return derive_key(raw, "key-agreement", *sorted((self.public, peer)))

    @cached_property
    def _private(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.secret)


def confirmation(shared: bytes, session: bytes, sender: bytes, recipient: bytes) -> bytes:
    """What ``sender`` shows ``recipient`` to prove that both computed the same shared secret in this session."""
    return derive_key(shared, "key-confirmation", session, sender, recipient)[:CONFIRMATION_BYTES]


def confirms(shared: bytes, session: bytes, sender: bytes, recipient: bytes, shown: bytes) -> bool:
    """Whether ``shown`` is the sender's confirmation (compared in constant time)."""
    return hmac.compare_digest(confirmation(shared, session, sender, recipient), shown)


def mask_key(shared: bytes, session: bytes, one: bytes, other: bytes) -> bytes:
    """The stream key of the pairwise mask: the same for both ends."""
    return derive_key(shared, "pairwise-mask", session, *sorted((one, other)))


def _channel(shared: bytes, session: bytes, sender: bytes, recipient: bytes) -> AESGCM:
    return AESGCM(derive_key(shared, "channel", session, sender, recipient))


def seal(shared: bytes, session: bytes, sender: bytes, recipient: bytes, message: bytes, *bound: bytes) -> bytes:
    """Encrypt one message from sender to recipient in a session, binding further public bytes to it.

    The key is for this session and direction and seals this one message, so the nonce is constant.
    """
    associated = frame("channel", session, sender, recipient, *bound)
    return _channel(shared, session, sender, recipient).encrypt(bytes(12), message, associated)


def unseal(shared: bytes, session: bytes, sender: bytes, recipient: bytes, sealed: bytes, *bound: bytes) -> bytes:
    """Decrypt what ``seal`` made.

    Raises:
        KeyAgreementError: altered, or sealed for another session, direction or binding.
    """
    associated = frame("channel", session, sender, recipient, *bound)
    try:
        return _channel(shared, session, sender, recipient).decrypt(bytes(12), sealed, associated)
    except InvalidTag:
        raise KeyAgreementError("a sealed message does not open") from None
