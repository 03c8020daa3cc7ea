"""Cosignatures (C2SP tlog-cosignature, cosignature/v1): a witness's timestamped statement that a checkpoint is
the largest consistent one of its log that it has seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from secure_agg.errors import ConfigError, VerificationError
from secure_agg.protocol.identity import SIGNATURE_BYTES, Identity
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.note import SignatureLine, VerifierKey

MAX_TIMESTAMP: Final = 2**63 - 1

_TIMESTAMP_BYTES: Final = 8


@dataclass(frozen=True)
class WitnessKey(VerifierKey):
    """The public half of an Ed25519 key that cosigns checkpoints (signature type 0x04).

    Its signature in a note is a big-endian 64-bit POSIX timestamp, in seconds, and 64 bytes of Ed25519. The
    signed message does not name the witness: no two witnesses may share a key.
    """

    ALGORITHM: ClassVar[int] = 0x04

    def verify(self, text: str, signature: bytes) -> None:
        """Check that ``signature`` is this witness's on the checkpoint that ``text`` is.

        Raises:
            VerificationError: it is not, the text is no checkpoint, or the timestamp is 0 or above 2^63 − 1.
        """
        Checkpoint.parse(text)
        message = cosigned_message(text, timestamp(signature))
        self._verify_message(signature[_TIMESTAMP_BYTES:], message)


def timestamp(signature: bytes) -> int:
    """The POSIX time in seconds that a cosignature states; worth nothing before the signature is verified.

    Raises:
        VerificationError: it has another length, or states 0 or more than 2^63 − 1.
    """
    if len(signature) != _TIMESTAMP_BYTES + SIGNATURE_BYTES:
        raise VerificationError(f"a cosignature has {_TIMESTAMP_BYTES + SIGNATURE_BYTES} bytes, not {len(signature)}")
    seconds = int.from_bytes(signature[:_TIMESTAMP_BYTES], "big")
    if not 1 <= seconds <= MAX_TIMESTAMP:
        raise VerificationError(f"a cosignature's timestamp {seconds} is outside [1, {MAX_TIMESTAMP}]")
    return seconds


def cosigned_message(text: str, seconds: int) -> bytes:
    """What a witness signs: a header, the time, and the whole text of the checkpoint."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def cosign(identity: Identity, name: str, checkpoint: Checkpoint, seconds: int) -> SignatureLine:
    """Cosign a checkpoint. The caller has checked that it is consistent with all it has cosigned of this log.

    Args:
        identity: holds the key; its own name is not used.
        name: the witness's name in notes.
        checkpoint: with its extension lines, which are signed too.
        seconds: POSIX time of this moment.

    Raises:
        ConfigError: the name can't be a key's, or the time is outside [1, 2^63 − 1].
    """
    if not 1 <= seconds <= MAX_TIMESTAMP:
        raise ConfigError(f"a cosignature's timestamp {seconds} is outside [1, {MAX_TIMESTAMP}]")
    signature = identity.sign(cosigned_message(checkpoint.text, seconds))
    return WitnessKey(name, identity.public).line(seconds.to_bytes(_TIMESTAMP_BYTES, "big") + signature)
