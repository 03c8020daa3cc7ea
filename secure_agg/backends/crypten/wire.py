"""The crypten backend's messages. Shares are sealed as those of ``additive`` are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpc.framing import frame
from mpc.keystream import KEY_BYTES, derive_key
from secure_agg.protocol.messages import Signature, Wire
from zk.transcript import DIGEST_BYTES

_TAG_BYTES: Final = 16


class PartyLetter(Wire, frozen=True):
    """A client's message to one party. Bulk: the sealed long share, if this party has it.

    Attributes:
        commitment_hash: D_i, as it is advertised.
        ephemeral: X25519 public key of the client for this round.
        key_hash: hash of the key that seals.
        opening: the client's commitment and nonce, encrypted under a key that takes all parties' pads.
        sealed: this party's pad, and its share's key if it is a free one.
    """

    commitment_hash: bytes
    ephemeral: bytes
    key_hash: bytes
    opening: bytes
    sealed: bytes


class Refusal(Wire, frozen=True):
    """A client whose letter was refused, and why."""

    name: str
    reason: str


class Held(Wire, frozen=True):
    """A client whose share this party holds, and its pad."""

    name: str
    pad: bytes

    def __repr__(self) -> str:
        return f"Held({self.name!r})"


class Collected(Wire, frozen=True):
    """Phase collect-shares, response: whose shares this party holds, in id order. Bulk: the encrypted openings that
    came with them, one after the other.
    """

    accepted: tuple[Held, ...]
    refused: tuple[Refusal, ...]


class Candidates(Wire, frozen=True):
    """Phase filter, request: the clients that are to be judged, in id order."""

    names: tuple[str, ...]


class Verdicts(Wire, frozen=True):
    """Phase filter, response: whether each is accepted. All that is revealed of those who are not."""

    accepted: tuple[bool, ...]


class Computed(Wire, frozen=True):
    """Phase compute, response: this party's signature of the result. Bulk: the result."""

    attestation: Signature


def opening_bytes(commitment: int) -> int:
    """Size of an encrypted opening of a commitment of so many bytes."""
    return DIGEST_BYTES + commitment + _TAG_BYTES


def seal_opening(pads: Sequence[bytes], session: bytes, client: str, commitment: bytes, nonce: bytes) -> bytes:
    """Encrypt an opening so that it takes all pads to open it."""
    bound = frame("opening", session, client.encode())
    return AESGCM(_opening_key(pads, session, client)).encrypt(bytes(12), nonce + commitment, bound)


def open_opening(pads: Sequence[bytes], session: bytes, client: str, sealed: bytes) -> tuple[bytes, bytes]:
    """The commitment and its nonce.

    Raises:
        ValueError: it does not open.
    """
    bound = frame("opening", session, client.encode())
    try:
        plain = AESGCM(_opening_key(pads, session, client)).decrypt(bytes(12), sealed, bound)
    except InvalidTag:
        raise ValueError("an opening does not open") from None
    return plain[DIGEST_BYTES:], plain[:DIGEST_BYTES]


def _opening_key(pads: Sequence[bytes], session: bytes, client: str) -> bytes:
    key = bytes(KEY_BYTES)
    for pad in pads:
        key = bytes(a ^ b for a, b in zip(key, pad, strict=True))
    return derive_key(key, "opening-key", session, client.encode())
