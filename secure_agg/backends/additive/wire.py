"""The additive backend's messages, and how a share is sealed."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpc.framing import frame
from mpc.keys import KeyAgreementError, KeyPair
from mpc.keystream import KEY_BYTES, derive_key
from secure_agg.errors import BadKey
from secure_agg.protocol.messages import SHARE, Wire
from zk.transcript import DIGEST_BYTES, digest

SEAL_BYTES: Final = 16
_SMALL: Final = bytes(12)
_LONG: Final = bytes(11) + b"\x01"


class ShareLetter(Wire, frozen=True):
    """A client's message to one aggregator. Bulk: the sealed long share, if this aggregator has one.

    Attributes:
        ephemeral: X25519 public key of the client for this round.
        key_hash: hash of the key that seals; so the aggregator can show anybody what it was sent, and nothing else.
        hashes: of all shares' commitments, one for each aggregator: what the client has signed as D_i.
        sealed: nonce of this share's hash, and the share's key if it is a free one.
    """

    ephemeral: bytes
    key_hash: bytes
    hashes: bytes
    sealed: bytes


class Refusal(Wire, frozen=True):
    """A client's letter that its aggregator has refused.

    Attributes:
        name: the client.
        reason: in words.
        proof: bytes of the proof of fault in the bulk; 0 where there is none.
    """

    name: str
    reason: str
    proof: int


class Collected(Wire, frozen=True):
    """Phase collect-shares, response: whose shares this aggregator holds, in id order. Bulk: the refusals' proofs."""

    accepted: tuple[str, ...]
    refused: tuple[Refusal, ...]


class Revealed(Wire, frozen=True):
    """Phase reveal-commitments, response. Bulk: h(share) of each client in S, in id order.

    Attributes:
        root: of the signed set.
        nonces: 32 bytes for each client in S, in id order.
    """

    root: bytes
    nonces: bytes


class Reveal(Wire, frozen=True):
    """What one aggregator has revealed; its part of the bulk follows those of the ones before it."""

    party: int
    nonces: bytes


class Reveals(Wire, frozen=True):
    """Phase partial-sum, request: what all have revealed, in id order. Bulk: their commitments."""

    items: tuple[Reveal, ...]


class PartialSum(Wire, frozen=True):
    """Phase partial-sum, response. Bulk: the sum of this aggregator's shares of the clients in S.

    Attributes:
        root: of the signed set.
    """

    root: bytes


class OpenedShares(Wire, frozen=True):
    """The "nonce" of a client's opening in the evidence: whose share commitments are in the "commitment", one after
    the other, and their nonces.
    """

    parties: tuple[int, ...]
    nonces: bytes


def share_key(shared: bytes, session: bytes, sender: str, recipient: str) -> bytes:
    """The key that seals one share: for this round, client and aggregator only."""
    return derive_key(shared, "share-key", session, sender.encode(), recipient.encode())


def key_hash(session: bytes, sender: str, recipient: str, key: bytes) -> bytes:
    """What binds a letter to one key: AES-GCM alone opens under many."""
    return digest("share-key-hash", session, sender.encode(), recipient.encode(), key)


def letter_key(channel: KeyPair, session: bytes, sender: str, recipient: str, ephemeral: bytes, bound: bytes) -> bytes:
    """The key that a letter is sealed with, for its recipient.

    Args:
        channel: the recipient's.
        ephemeral: the sender's public key in the letter.
        bound: the hash of the key in the letter.

    Raises:
        BadKey: a public key that no honest client sends, or one that gives another key than the letter is bound to. Of
            the latter nobody else can be convinced: it would take the recipient's own secret.
    """
    try:
        shared = channel.shared_secret(ephemeral)
    except KeyAgreementError as error:
        raise BadKey(str(error), phase=SHARE, culprit=sender) from error
    key = share_key(shared, session, sender, recipient)
    if key_hash(session, sender, recipient, key) != bound:
        raise BadKey("a letter is bound to another key than it was sealed for", phase=SHARE, culprit=sender)
    return key


def stream_key(seed: bytes, session: bytes, sender: str, recipient: str) -> bytes:
    """The key stream that a free share is."""
    return derive_key(seed, "share-stream", session, sender.encode(), recipient.encode())


def _bound(session: bytes, sender: str, recipient: str, hashes: bytes) -> bytes:
    return frame("share", session, sender.encode(), recipient.encode(), hashes)


def seal_small(key: bytes, session: bytes, sender: str, recipient: str, hashes: bytes, plain: bytes) -> bytes:
    """Seal nonce and share key. ``key`` seals one letter, so the two AES-GCM nonces are constants."""
    return AESGCM(key).encrypt(_SMALL, plain, _bound(session, sender, recipient, hashes))


def seal_long(
    key: bytes, session: bytes, sender: str, recipient: str, hashes: bytes, plain: bytes | memoryview
) -> bytes:
    """Seal a long share."""
    return AESGCM(key).encrypt(_LONG, plain, _bound(session, sender, recipient, hashes))


def unseal(
    key: bytes, session: bytes, sender: str, recipient: str, hashes: bytes, sealed: bytes, bulk: memoryview
) -> tuple[bytes, bytes, bytes]:
    """Open what the two ``seal`` functions have made.

    Returns:
        The nonce, the free share's seed or nothing, the long share's bytes or nothing.

    Raises:
        ValueError: it does not open, or holds neither one kind of share nor the other.
    """
    bound = _bound(session, sender, recipient, hashes)
    try:
        plain = AESGCM(key).decrypt(_SMALL, sealed, bound)
        long = AESGCM(key).decrypt(_LONG, bulk, bound) if len(bulk) else b""
    except InvalidTag:
        raise ValueError("the letter does not open under the key that it is bound to") from None
    if len(plain) != DIGEST_BYTES + (0 if long else KEY_BYTES):
        raise ValueError("the letter holds neither a share's key nor a long share")
    return plain[:DIGEST_BYTES], plain[DIGEST_BYTES:], long
