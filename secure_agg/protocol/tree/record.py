"""What an edge's members sign of their round, and the seals under which their operators keep it.

A record tells of an edge's sum what its members have agreed on, and nothing that a guess of it could be compared with:
neither weights nor a digest of the mean. ``seal`` binds an operator to it before it knows any other edge's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from mpc.framing import frame, integer
from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import BadSignature, MalformedMessage, PolicyViolation, TooFewClients
from secure_agg.protocol.config.tree import edge_task
from secure_agg.protocol.identity import is_id_order, verify_signature
from secure_agg.protocol.messages import Signature, Wire, decode, decode_list, encode
from zk.transcript import DIGEST_BYTES, digest

EDGE_CLAIM: Final = "edge"
"""What an edge's record claims: that its sum is what its members have committed to; nothing of what it is."""
ENROL: Final = "enrol"
SEAL: Final = "seal"
UNSEAL: Final = "unseal"
VOUCH: Final = "vouch"
"""Phases of a tree that no single round has: an edge joins the forest; seals its record; shows it; its members sign."""
MAX_EDGE_RECORD: Final = 64 << 10
_LEAST_SIGNATURE: Final = 69
_VERSION: Final = 1


@checked_class
class EdgeRecord(Wire, frozen=True, kw_only=True):
    """What is public of an edge's round.

    Attributes:
        version: of the format, 1.
        claim: ``edge``.
        task: the edge's, see ``edge_task``.
        round, attempt: which.
        context: digest of the edge's configuration.
        session: its sid, which follows from its advertisements and the forest.
        cohort_size, participants: |G_j|, |S_j|.
        participants_root: root over S_j's ids and commitments, as its members signed it.
        commitment_sum: C_j, the sum of their commitments.
        evidence: SHA-256 of the edge's evidence without its sums.

    Raises:
        ConfigError: a field has another type.
    """

    version: int
    claim: str
    task: str
    round: int
    attempt: int
    context: bytes
    session: bytes
    cohort_size: int
    participants: int
    participants_root: bytes
    commitment_sum: bytes
    evidence: bytes

    def __post_init__(self) -> None:
        check_fields(self)

    def to_bytes(self) -> bytes:
        """The one encoding."""
        return encode(self)

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> EdgeRecord:
        """Decode strictly.

        Raises:
            MalformedMessage: not a canonical record of a known version, or above 64 KiB.
        """
        record = decode(EdgeRecord, data, MAX_EDGE_RECORD, phase=UNSEAL)
        digests = (record.context, record.session, record.participants_root, record.evidence)
        if (record.version, record.claim) != (_VERSION, EDGE_CLAIM) or any(len(d) != DIGEST_BYTES for d in digests):
            raise MalformedMessage("this is no edge's record of a known version", phase=UNSEAL)
        return record

    def digest(self) -> bytes:
        """32 bytes, which the members sign."""
        return digest("edge-record", self.to_bytes())

    def signed_bytes(self) -> bytes:
        """What a member signs once it has verified all of its edge's round."""
        return frame("edge-record", self.digest())


def make_record(**fields: object) -> EdgeRecord:
    """A record of the current version: the other fields by name."""
    return msgspec.convert(
        [{"version": _VERSION, "claim": EDGE_CLAIM, **fields}[name] for name in EdgeRecord.__struct_fields__],
        EdgeRecord,
    )


def seal_of(root: str, edge: str, record: EdgeRecord, nonce: bytes) -> bytes:
    """What an edge's operator is bound to: D("edge", task, round, attempt, id, record digest, C_j, nonce)."""
    numbers = integer(record.round), integer(record.attempt)
    return digest("edge", root.encode(), *numbers, edge.encode(), record.digest(), record.commitment_sum, nonce)


class SealedEdge(Wire, frozen=True, gc=False):
    """An edge that takes part in the top round, and the seal of its record."""

    name: str
    seal: bytes


class Roll(Wire, frozen=True):
    """Who is in the top round, with what: its digest is the instructions of the top's configuration.

    Attributes:
        forest: digest.
        edges: in id order; some of the forest's.
    """

    forest: bytes
    edges: tuple[SealedEdge, ...]

    def check(self) -> Roll:
        """Itself.

        Raises:
            PolicyViolation: not in id order, or something is no digest.
        """
        if not is_id_order([edge.name for edge in self.edges]):
            raise PolicyViolation("the roll's edges are not in id order, each once", phase=SEAL)
        if any(len(value) != DIGEST_BYTES for value in (self.forest, *(edge.seal for edge in self.edges))):
            raise PolicyViolation("something in a roll is no digest", phase=SEAL)
        return self

    def digest(self) -> bytes:
        """32 bytes."""
        return digest("edge-roll", encode(self))

    def seal(self, name: str) -> bytes | None:
        """The seal of an edge, if it is on the roll."""
        return next((edge.seal for edge in self.edges if edge.name == name), None)


class _Unsealed(Wire, frozen=True):
    """``Unsealed`` as it is encoded; the list stays so until it is known how long it may be."""

    record: bytes
    nonce: bytes
    signatures: msgspec.Raw


@dataclass(frozen=True)
class Unsealed:
    """An edge's record as its operator shows it once all seals are fixed. Beside it goes the edge's evidence.

    Attributes:
        record: what the seal is of.
        nonce: of the seal, 32 bytes.
        signatures: of members who have verified the edge's round, of the record; in id order.
    """

    record: EdgeRecord
    nonce: bytes
    signatures: tuple[Signature, ...]

    def to_bytes(self) -> bytes:
        """The one encoding."""
        listed = msgspec.Raw(msgspec.msgpack.encode(self.signatures))
        return encode(_Unsealed(self.record.to_bytes(), self.nonce, listed))

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> Unsealed:
        """Decode strictly; at most as many signatures as the edge has members.

        Raises:
            MalformedMessage: not canonical.
        """
        found = decode(_Unsealed, data, len(data), phase=UNSEAL)
        record = EdgeRecord.from_bytes(found.record)
        if len(found.nonce) != DIGEST_BYTES:
            raise MalformedMessage("a seal's nonce has 32 bytes", phase=UNSEAL)
        signatures = decode_list(Signature, found.signatures, record.cohort_size, _LEAST_SIGNATURE)
        return Unsealed(record, found.nonce, signatures)

    def check_seal(self, root: str, edge: str, seal: bytes) -> None:
        """See that the record is what was sealed, and this edge's.

        Raises:
            PolicyViolation: it is another; names the operator, who has signed both.
        """
        if self.record.task != edge_task(root, edge) or seal_of(root, edge, self.record, self.nonce) != seal:
            raise PolicyViolation("the record is not the one that was sealed", phase=UNSEAL, culprit=edge)

    def check_signatures(self, members: Mapping[str, bytes], quorum: int) -> None:
        """See that enough of the edge's members have verified its round and signed this record.

        Raises:
            TooFewClients: fewer than the quorum.
            BadSignature: out of order, one twice, of somebody else, or wrong.
        """
        names = [item.name for item in self.signatures]
        if not is_id_order(names):
            raise BadSignature("signatures of a record are not in id order, each signer once", phase=VOUCH)
        if len(names) < quorum:
            raise TooFewClients(f"{len(names)} members signed their edge's record, {quorum} are needed", phase=VOUCH)
        message = self.record.signed_bytes()
        for item in self.signatures:
            if item.name not in members:
                raise BadSignature(f"{item.name!r} signed an edge's record and is no member of it", phase=VOUCH)
            verify_signature(members[item.name], item.signature, message, phase=VOUCH, culprit=item.name)
