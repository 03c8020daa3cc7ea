"""A signed tree head: what the log states about all of its content in one signature."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from secure_agg.errors import ConfigError, VerificationError
from secure_agg.protocol.identity import SIGNATURE_BYTES, Identity
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.note import Note, SignatureLine, VerifierKey

# C2SP signed notes refuse spaces and '+' in a key name, an origin is one line, ASCII has no second spelling.
_ORIGIN: Final = re.compile(r"[!-*,-~]{1,128}")


@dataclass(frozen=True)
class SignedHead:
    """The log's signature on its size and root: a checkpoint without extension lines, as a database row.

    Attributes:
        origin: the log's unique name, and its key's; 1–128 printable ASCII characters without space and ``+``.
        size: number of leaves.
        root: 32 bytes, RFC 9162 tree head.
        signature: 64 bytes, Ed25519 by the log's key on the checkpoint's text.
    """

    origin: str
    size: int
    root: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if not _ORIGIN.fullmatch(self.origin):
            raise ConfigError(
                f"origin {self.origin!r} is not 1 to 128 printable ASCII characters without space and '+'"
            )
        if len(self.signature) != SIGNATURE_BYTES:
            raise ConfigError(f"a head has a signature of {SIGNATURE_BYTES} bytes, not {len(self.signature)}")
        Checkpoint(self.origin, self.size, self.root)

    @property
    def checkpoint(self) -> Checkpoint:
        """What is signed."""
        return Checkpoint(self.origin, self.size, self.root)

    @staticmethod
    def sign(identity: Identity, origin: str, size: int, root: bytes) -> SignedHead:
        """Sign a head with the log's key. The caller sees to it that no other head of this size was signed.

        Raises:
            ConfigError: the origin, size or root can't be one.
        """
        text = Checkpoint(origin, size, root).text
        return SignedHead(origin, size, root, identity.sign(text.encode()))

    def verify(self, log_public_key: bytes) -> None:
        """Check the signature under the log's pinned key.

        Raises:
            VerificationError: it does not verify.
        """
        try:
            VerifierKey(self.origin, log_public_key).verify(self.checkpoint.text, self.signature)
        except VerificationError as error:
            raise VerificationError(f"the head of size {self.size} is not signed by the pinned log key") from error

    def note(self, log_public_key: bytes, cosignatures: tuple[SignatureLine, ...] = ()) -> Note:
        """The head as a note: the log's signature line, then the given ones. Nothing is verified."""
        line = VerifierKey(self.origin, log_public_key).line(self.signature)
        return Note(self.checkpoint.text, (line, *cosignatures))

    @staticmethod
    def from_note(note: Note, log: VerifierKey) -> SignedHead:
        """The head that a note holds, verified.

        Args:
            note: a checkpoint with at least the log's signature; other keys' lines are ignored.
            log: the log's pinned key, named like its origin.

        Raises:
            VerificationError: not a checkpoint of this log without extension lines, or not signed by its key.
        """
        checkpoint = Checkpoint.parse(note.text)
        if checkpoint.origin != log.name:
            raise VerificationError(f"the checkpoint is of log {checkpoint.origin!r}, not {log.name!r}")
        if checkpoint.extensions:
            raise VerificationError("the checkpoint has extension lines, which this kind of log never signs")
        ((_, line), *_) = note.verify([log])
        try:
            return SignedHead(checkpoint.origin, checkpoint.size, checkpoint.root, line.signature)
        except ConfigError as error:
            raise VerificationError(f"malformed checkpoint: {error}") from error
