"""A receipt: proof that a record is in the ledger, for whoever has the record and the log's public key.

Its encoding is a C2SP tlog-proof, a text file that tools for transparency logs read too; ``.tlog-proof``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from secure_agg import formats
from secure_agg.arguments import checked_class
from secure_agg.errors import ConfigError, VerificationError
from secure_agg.tlog.checkpoint import Checkpoint, parse_decimal, parse_hash
from secure_agg.tlog.note import MAX_NOTE, Note, VerifierKey, decode_base64, encode_base64
from secure_agg.tlog.policy import Witnessed, WitnessPolicy
from secure_agg.tlog.proof import check_inclusion
from zk import merkle

MAX_PROOF: Final = 63
"""Most hashes of an inclusion proof: the depth of the largest tree."""
MAX_EXTRA: Final = 1 << 16
"""Most bytes of extra data."""
MAX_RECEIPT: Final = MAX_NOTE + 2 * MAX_EXTRA
"""Most bytes of an encoded receipt; one with a hundred witnesses has less than a tenth of it."""

_HEADER: Final = "c2sp.org/tlog-proof@v1"
_EXTRA: Final = "extra "
_INDEX: Final = "index "


@checked_class
@dataclass(frozen=True)
class Receipt:
    """Inclusion of one record in a signed checkpoint.

    Attributes:
        index: place of the record, from 0.
        proof: sibling hashes, 32 bytes each, from the leaf up; RFC 9162 inclusion proof.
        note: the checkpoint that it leads to, with the log's signature and any cosignatures.
        extra: opaque and unauthenticated; nothing in this package writes or believes it.
    """

    index: int
    proof: tuple[bytes, ...]
    note: Note
    extra: bytes = b""

    def __post_init__(self) -> None:
        size = self.checkpoint.size
        if not 0 <= self.index < size:
            raise ConfigError(f"there is no leaf {self.index} in a tree of {size}")
        if len(self.proof) > MAX_PROOF:
            raise ConfigError(f"an inclusion proof has at most {MAX_PROOF} hashes, not {len(self.proof)}")
        if any(len(value) != merkle.HASH_BYTES for value in self.proof):
            raise ConfigError(f"an inclusion proof has hashes of {merkle.HASH_BYTES} bytes")
        if len(self.extra) > MAX_EXTRA:
            raise ConfigError(f"a receipt has at most {MAX_EXTRA} bytes of extra data, not {len(self.extra)}")

    def __repr__(self) -> str:
        return f"Receipt(index={self.index}, size={self.checkpoint.size}, origin={self.checkpoint.origin!r})"

    @property
    def checkpoint(self) -> Checkpoint:
        """What the note says; nothing before ``verify``.

        Raises:
            VerificationError: it is no checkpoint. Of a receipt that exists, it is one.
        """
        return Checkpoint.parse(self.note.text)

    def verify(
        self, record: bytes, log: VerifierKey | None, policy: WitnessPolicy | None = None, *, now: float | None = None
    ) -> Witnessed:
        """Check that the log has signed a tree that holds ``record`` at ``index``.

        Args:
            record: the encoded record, as the verifier has it.
            log: the log's pinned key, named like its origin; None leaves it to a policy that lists logs.
            policy: the witnesses that must have cosigned; by default none.
            now: POSIX time in seconds; by default the system's.

        Returns:
            The checkpoint, and when which known witness cosigned it.

        Raises:
            VerificationError: the checkpoint or the inclusion proof does not verify, or too few witnesses cosigned.
            ConfigError: neither ``log`` nor a policy names a log.
        """
        witnessed = (policy or WitnessPolicy()).verify(self.note, log, now=now)
        checkpoint = witnessed.checkpoint
        check_inclusion(record, self.index, checkpoint.size, self.proof, checkpoint.root)
        return witnessed

    def to_bytes(self) -> bytes:
        """The one encoding."""
        lines = [_HEADER]
        if self.extra:
            lines.append(_EXTRA + encode_base64(self.extra))
        lines.append(f"{_INDEX}{self.index}")
        lines.extend(map(encode_base64, self.proof))
        return "".join(f"{line}\n" for line in (*lines, "")).encode() + self.note.to_bytes()

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> Receipt:
        """Parse strictly: ``to_bytes`` of the result is ``data``.

        Raises:
            VerificationError: too long, not a receipt of this version, or not canonical; changed line ends are named,
                and what the data seems to be instead.
        """
        if len(data) > MAX_RECEIPT:
            raise VerificationError(f"a receipt has at most {MAX_RECEIPT} bytes, not {len(data)}")
        if formats.has_changed_line_ends(data, formats.RECEIPT):
            raise VerificationError(f"not a receipt: its {formats.CHANGED_LINE_ENDS}")
        proof, separator, note = bytes(data).partition(b"\n\n")
        try:
            header, *lines = proof.decode("ascii").split("\n")
            if header != _HEADER:
                raise ValueError(f"it does not begin with {_HEADER!r}")
            if not separator:
                raise ValueError("it ends before the checkpoint")
            extra = b""
            if lines and lines[0].startswith(_EXTRA):
                extra = decode_base64(lines.pop(0).removeprefix(_EXTRA))
                if not extra:
                    raise ValueError("extra data is empty: the line is left out then")
            if not lines or not lines[0].startswith(_INDEX):
                raise ValueError("the index is missing")
            if len(lines) > MAX_PROOF + 1:
                raise ValueError(f"an inclusion proof has at most {MAX_PROOF} hashes, not {len(lines) - 1}")
            index = parse_decimal(lines[0].removeprefix(_INDEX))
            hashes = tuple(map(parse_hash, lines[1:]))
            return Receipt(index, hashes, Note.from_bytes(note), extra)
        except (ValueError, VerificationError) as error:  # a ConfigError is a ValueError
            raise VerificationError(f"not a receipt: {error}{formats.instead(data, formats.RECEIPT)}") from error
