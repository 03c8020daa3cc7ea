"""Proof that a log has signed two histories, for whoever holds its public key.

Two signed roots of one size are such a proof as they stand. Of different sizes it takes one more thing: the root of
the larger tree's beginning, with a consistency proof that it is that. A refusal by a witness alone proves nothing,
since anyone can send a good checkpoint with a bad consistency proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from secure_agg import formats
from secure_agg.errors import LedgerDamaged, MalformedMessage, VerificationError
from secure_agg.protocol.messages import Wire, decode, encode
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.note import MAX_NOTE, Note, VerifierKey
from secure_agg.tlog.proof import check_consistency
from zk import merkle

if TYPE_CHECKING:
    from secure_agg.ledger.audit import Source  # a witness needs none of what an audit does

MAX_PROOF: Final = 64
"""Most hashes of a consistency proof between trees of less than 2^63 leaves."""
MAX_FORK_PROOF: Final = 2 * MAX_NOTE + (8 << 10)


@dataclass(frozen=True)
class Fork:
    """What a verified proof shows.

    Attributes:
        first: a checkpoint that the log has signed.
        second: another, of no smaller size, that it has signed.
        root: of the tree that the first ``first.size`` records under ``second`` make; not ``first.root``.
    """

    first: Checkpoint
    second: Checkpoint
    root: bytes


class ForkProof(Wire, frozen=True, tag="secure-agg/fork/1"):
    """Two checkpoints of one log of which neither continues the other. The encoding begins with the version.

    Attributes:
        first: a checkpoint note with the log's signature.
        second: another, of the same size or larger.
        root: 32 bytes, root of the beginning of the second's tree that has the first's size; for equal sizes
            the second's own root.
        proof: RFC 9162 consistency proof from that beginning to the second; empty for equal sizes.
    """

    first: bytes
    second: bytes
    root: bytes
    proof: tuple[bytes, ...]

    def verify(self, log: VerifierKey) -> Fork:
        """Check that the log with this key has signed both, and that they contradict each other.

        Raises:
            VerificationError: it has not, they do not, or the proof does not lead to the second.
        """
        first, second = (_signed(Note.from_bytes(note), log) for note in (self.first, self.second))
        if first.size > second.size:
            raise VerificationError(f"the first checkpoint is of size {first.size}, above the second's {second.size}")
        check_consistency(first.size, second.size, self.root, second.root, self.proof)
        if self.root == first.root:
            raise VerificationError("the second checkpoint continues the first: this is no fork")
        return Fork(first, second, self.root)

    def to_bytes(self) -> bytes:
        """The one encoding, at most ``MAX_FORK_PROOF`` bytes."""
        return encode(self)

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> ForkProof:
        """Decode strictly; ``verify`` checks what it says.

        Raises:
            VerificationError: too long, not a fork proof of this version, trailing bytes, or not canonical.
        """
        try:
            proof = decode(ForkProof, data, MAX_FORK_PROOF)
        except MalformedMessage as error:
            raise VerificationError(f"not a fork proof: {error}{formats.instead(data, formats.FORK)}") from error
        if len(proof.proof) > MAX_PROOF:
            raise VerificationError(f"a consistency proof has at most {MAX_PROOF} hashes, not {len(proof.proof)}")
        return proof


def find_fork(known: bytes, refused: bytes, proof: Sequence[bytes], log: VerifierKey) -> ForkProof | None:
    """The fork that a refused consistency proof shows, if it shows one.

    Args:
        known: the checkpoint note that the receiver had accepted before.
        refused: the one that came with a proof from ``known``'s size, but does not continue it.
        proof: that consistency proof.
        log: the log's key.

    Returns:
        A verified proof; None where the proof leads from no tree to the refused one. That is so for every
        proof from a size that is a power of two: it leaves the old root out.

    Raises:
        VerificationError: a note is not a checkpoint that this log has signed.
    """
    first, second = (_signed(Note.from_bytes(note), log) for note in (known, refused))
    try:
        root = merkle.prefix_root(first.size, second.size, second.root, proof)
        found = ForkProof(known, refused, root, tuple(proof))
        found.verify(log)
    except (merkle.MerkleError, VerificationError):
        return None
    return found


def prove_fork(source: Source, known: Note, log: VerifierKey) -> ForkProof:
    """The proof that a log's present records contradict a checkpoint that somebody kept.

    Reads every record; holds two hashes of each in memory.

    Args:
        source: of the records, as for an audit.
        known: the checkpoint, of no more records than there are now.
        log: the log's key.

    Raises:
        VerificationError: the log continues the checkpoint, or is shorter: this shows no fork.
        TrustError: the source is of another log.
        LedgerDamaged: the records are not those under the source's own checkpoint.
    """
    size = source.begin(log.public)
    first, note = _signed(known, log), source.checkpoint()
    if first.size > size:
        raise VerificationError(f"the known checkpoint covers {first.size} records, the log shows only {size}")
    frontier, root = merkle.Frontier(), merkle.EMPTY_ROOT
    nodes: dict[tuple[int, int], bytes] = {}
    for index in range(size):
        for node in frontier.push(source.leaf(index).hash):
            nodes[node.level, node.position] = node.hash
        if frontier.size == first.size:
            root = frontier.root()
    if frontier.root() != _signed(note, log).root:
        raise LedgerDamaged(f"the log's checkpoint has another root than its {size} records")
    path = merkle.consistency_proof(first.size, size, lambda level, position: nodes[level, position])
    proof = ForkProof(known.to_bytes(), note.to_bytes(), root, path)
    proof.verify(log)
    return proof


def _signed(note: Note, log: VerifierKey) -> Checkpoint:
    """The checkpoint that a note holds, verified. Extension lines are no excuse: they are signed like the rest.

    Raises:
        VerificationError: not a checkpoint of this log, or not signed by its key.
    """
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != log.name:
        raise VerificationError(f"the checkpoint is of log {checkpoint.origin!r}, not {log.name!r}")
    note.verify([log])
    return checkpoint
