"""A tree's evidence: the top round with its edges' records, in one file. Data only: the check is the auditor's.

Edges' own evidence is beside it, each by the SHA-256 that the edge's record names. A client that believes an edge's
members needs none but its own edge's; whoever wants to check all asks for all.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from secure_agg import formats
from secure_agg.arguments import checked_class
from secure_agg.errors import MalformedMessage, PolicyViolation, VerificationError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import Evidence, evidence_limit
from secure_agg.protocol.identity import in_id_order, is_id_order
from secure_agg.protocol.messages import Opening, Wire, decode, encode, pack, unpack
from secure_agg.protocol.tree.forest import MAX_EDGES, Forest
from secure_agg.protocol.tree.record import Roll, SealedEdge, Unsealed

TREE_TAG: Final = "secure-agg/tree/1"
MAX_TREE_HEADER: Final = 1 << 30
_LEAST_MEMBER_BYTES: Final = 1 << 8
_EDGE_BYTES: Final = 80 << 10


class _ListedEdge(Wire, frozen=True):
    """An edge of S, with its ``Unsealed``."""

    name: str
    unsealed: bytes


class _TreeHeader(Wire, frozen=True, tag=TREE_TAG):
    """``TreeEvidence`` but for the top's evidence."""

    forest: bytes
    roll: Roll
    edges: tuple[_ListedEdge, ...]


def tree_limit(config: RoundConfig, members: int) -> int:
    """Most bytes of a tree's evidence.

    Args:
        config: the top's.
        members: of all edges together.
    """
    return evidence_limit(config) + config.cohort_size * _EDGE_BYTES + members * _LEAST_MEMBER_BYTES


@checked_class
@dataclass(frozen=True, eq=False)
class TreeEvidence:
    """Everything public about a tree's round but for what its edges' records name.

    Attributes:
        forest: all edges' sessions.
        roll: seals of the edges that took part in the top round.
        edges: of those in its sum, by id: their records, signed by members.
        top: evidence of the top round. In the encoding commitments that records hold are left out.
    """

    forest: Forest
    roll: Roll
    edges: Mapping[str, Unsealed]
    top: Evidence

    def __repr__(self) -> str:
        config = self.top.config
        return (
            f"TreeEvidence(task={config.task!r}, round={config.round}, edges={len(self.edges)}, "
            f"participants={self.participants})"
        )

    @property
    def participants(self) -> int:
        """N, clients in the sum, as the edges' records say."""
        return sum(item.record.participants for item in self.edges.values())

    def to_bytes(self) -> bytes:
        """The canonical encoding; its SHA-256 is the evidence's name."""
        return self._encoded

    @functools.cached_property
    def _encoded(self) -> bytes:
        listed = tuple(_ListedEdge(name, self.edges[name].to_bytes()) for name in in_id_order(self.edges))
        bare = tuple(self._bare(opening) for opening in self.top.openings)
        return pack(
            encode(_TreeHeader(self.forest.to_bytes(), self.roll, listed)), replace(self.top, openings=bare).to_bytes()
        )

    def _bare(self, opening: Opening) -> Opening:
        edge = self.edges.get(opening.name)
        if edge is None or edge.record.commitment_sum != opening.commitment:
            return opening
        return Opening(opening.name, b"", opening.nonce)

    @staticmethod
    def is_one(data: bytes | memoryview) -> bool:
        """Whether a file claims to be a tree's evidence."""
        return formats.kind(data) == formats.TREE

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> TreeEvidence:
        """Decode strictly; check nothing else.

        Raises:
            VerificationError: not a canonical bundle of a known version.
        """
        try:
            raw, bulk = unpack(data, MAX_TREE_HEADER)
            header = decode(_TreeHeader, raw, len(raw))
            names = [item.name for item in header.edges]
            if len(header.roll.edges) > MAX_EDGES or len(names) > MAX_EDGES or not is_id_order(names):
                raise MalformedMessage("the edges of a tree are too many, or not in id order, each once")
            forest, roll = Forest.from_bytes(header.forest), header.roll.check()
            edges = {item.name: Unsealed.from_bytes(item.unsealed) for item in header.edges}
        except (MalformedMessage, PolicyViolation) as error:
            other = formats.instead(data, formats.TREE)
            raise VerificationError(f"this is no evidence of a tree: {error}{other}") from error
        bare = Evidence.from_bytes(bulk)
        openings = []
        for opening in bare.openings:
            edge = edges.get(opening.name)
            known = edge.record.commitment_sum if edge else b""
            if opening.commitment == known:
                raise VerificationError("a tree's evidence holds a commitment twice: it is not in canonical form")
            openings.append(opening if opening.commitment else Opening(opening.name, known, opening.nonce))
        evidence = TreeEvidence(forest, roll, edges, replace(bare, openings=tuple(openings)))
        evidence.__dict__["_encoded"] = bytes(data)  # in canonical form, as has been checked
        return evidence

    def digest(self) -> bytes:
        """SHA-256 of the encoding."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> bytes:
        return hashlib.sha256(self._encoded).digest()


def seals(roll: Roll) -> Mapping[str, bytes]:
    """A roll's seals by edge."""
    return {edge.name: edge.seal for edge in roll.edges}


def roll_of(forest: Forest, sealed: Mapping[str, bytes]) -> Roll:
    """The roll of these edges with their seals."""
    return Roll(forest.digest(), tuple(SealedEdge(name, sealed[name]) for name in in_id_order(sealed)))


def named_contents(data: bytes) -> tuple[bytes, ...]:
    """SHA-256 of what evidence names beside itself: a tree's its edges' evidence, a round's its norm proofs.

    Raises:
        VerificationError: it is no evidence.
    """
    if TreeEvidence.is_one(data):
        return tuple(edge.record.evidence for edge in TreeEvidence.from_bytes(data).edges.values())
    return Evidence.from_bytes(data).proof_hashes


def without_sums(evidence: Evidence) -> Evidence:
    """An edge's evidence as it is published: its record is of this."""
    return replace(evidence, sums=evidence.sums[:0])
