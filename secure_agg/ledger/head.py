"""A signed tree head: what the log states about all of its content in one signature."""

from __future__ import annotations

import base64
import re
from typing import Final

from secure_agg.errors import BadSignature, ConfigError, VerificationError
from secure_agg.identity import SIGNATURE_BYTES, Identity, verify_signature
from secure_agg.ledger.merkle import HASH_BYTES
from secure_agg.messages import Wire

MAX_SIZE: Final = 2**63 - 1
"""Most leaves of a tree: sizes and indices are SQLite integers."""

# C2SP signed notes refuse spaces and '+' in a key name, an origin is one line, ASCII has no second spelling.
_ORIGIN: Final = re.compile(r"[!-*,-~]{1,128}")


def checkpoint_body(origin: str, size: int, root: bytes) -> bytes:
    """The note text of a C2SP tlog-checkpoint without extension lines: origin, size, base64 of the root."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()


class SignedHead(Wire, frozen=True):
    """The log's signature on its size and root.

    The signature is over :func:`checkpoint_body`, which is what a C2SP signed note with an Ed25519 key signs:
    a head can be written as such a note without signing it again.

    Attributes:
        origin: the log's unique name; 1–128 printable ASCII characters without space and ``+``.
        size: number of leaves.
        root: 32 bytes, RFC 9162 tree head.
        signature: 64 bytes, Ed25519 by the log's key.
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
        if not 0 <= self.size <= MAX_SIZE:
            raise ConfigError(f"a tree of {self.size} leaves is outside [0, {MAX_SIZE}]")
        if len(self.root) != HASH_BYTES or len(self.signature) != SIGNATURE_BYTES:
            raise ConfigError(
                f"a head has a root of {HASH_BYTES} bytes and a signature of {SIGNATURE_BYTES}, "
                f"not {len(self.root)} and {len(self.signature)}"
            )

    @staticmethod
    def sign(identity: Identity, origin: str, size: int, root: bytes) -> SignedHead:
        """Sign a head with the log's key. The caller sees to it that no other head of this size was signed.

        Raises:
            ConfigError: the origin, size or root can't be one.
        """
        return SignedHead(origin, size, root, identity.sign(checkpoint_body(origin, size, root)))

    def verify(self, log_public_key: bytes) -> None:
        """Check the signature under the log's pinned key.

        Raises:
            VerificationError: it does not verify.
        """
        body = checkpoint_body(self.origin, self.size, self.root)
        try:
            verify_signature(log_public_key, self.signature, body, phase="ledger", culprit=self.origin)
        except BadSignature as error:
            raise VerificationError(f"the head of size {self.size} is not signed by the pinned log key") from error
