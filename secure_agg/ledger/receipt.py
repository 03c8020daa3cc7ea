"""A receipt: proof that a record is in the ledger, for whoever has the record and the log's public key."""

from __future__ import annotations

from typing import Final

from secure_agg.errors import ConfigError, MalformedMessage, VerificationError
from secure_agg.ledger import merkle
from secure_agg.ledger.head import SignedHead
from secure_agg.messages import Wire, decode, encode

MAX_PROOF: Final = 63
"""Most hashes of an inclusion proof: the depth of the largest tree."""
MAX_RECEIPT: Final = 4096
"""Most bytes of an encoded receipt: the longest proof takes 2.2 kB, the head less than 300 bytes."""


class Receipt(Wire, frozen=True, tag="secure-agg/receipt/1"):
    """Inclusion of one record in a signed head. The encoding begins with the version as a string.

    Attributes:
        index: place of the record, from 0.
        proof: sibling hashes from the leaf up, RFC 9162 inclusion proof.
        head: the head that it leads to.
    """

    index: int
    proof: tuple[bytes, ...]
    head: SignedHead

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.head.size:
            raise ConfigError(f"there is no leaf {self.index} in a tree of {self.head.size}")
        if len(self.proof) > MAX_PROOF:
            raise ConfigError(f"an inclusion proof has at most {MAX_PROOF} hashes, not {len(self.proof)}")

    def verify(self, record: bytes, log_public_key: bytes) -> None:
        """Check that the log with this key has signed a tree that holds ``record`` (encoded) at ``index``.

        Raises:
            VerificationError: the head's signature or the inclusion proof does not verify.
        """
        self.head.verify(log_public_key)
        merkle.verify_inclusion(merkle.leaf_hash(record), self.index, self.head.size, self.proof, self.head.root)

    def to_bytes(self) -> bytes:
        """The one encoding, at most 4096 bytes."""
        return encode(self)

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> Receipt:
        """Decode strictly.

        Raises:
            VerificationError: too long, not a receipt of this version, trailing bytes, or not canonical.
        """
        try:
            return decode(Receipt, data, MAX_RECEIPT)
        except MalformedMessage as error:
            raise VerificationError(f"not a receipt: {error}") from error
