"""Role *auditor* of a tree: checks a tree's evidence, and says of how many edges it has seen all.

What is proved by whom:

* By the tree's evidence alone: the mean is that of a sum which opens the sum of the edges' commitments; each of these
  is one that a quorum of the edge's members has verified and signed. So it is right as long as no edge has more corrupt
  members than its policy says.
* With the edges' own evidence: every commitment was fixed before any was shown, in any edge, and the sum opens the sum
  of all of them. That is what the evidence of one flat round proves, whoever is corrupt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from secure_agg.arguments import checked, checked_class
from secure_agg.errors import ConfigError, RemoteProtocolError, RoundAborted, TrustError, VerificationError
from secure_agg.protocol.claims import SUM
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.config.tree import EDGE, TOP, edge_task, level
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.session import Participants
from secure_agg.protocol.tree.evidence import TreeEvidence, seals, without_sums
from secure_agg.protocol.tree.forest import Forest, common
from secure_agg.protocol.tree.record import EdgeRecord, Unsealed, make_record
from secure_agg.roles.auditor import Auditor, Verified, check_sum, record_of
from secure_agg.roles.tree.pins import TreeTrust
from secure_agg.roles.trust import Trust
from zk import commitment


@dataclass(frozen=True)
class CheckedEdge:
    """An edge's round, whose evidence was checked.

    Attributes:
        record: that follows from it.
        participants: who is summed.
        forest: that its session follows from.
        keys: of the edge's members, by id.
        summed: whether the sums were there, and checked.
    """

    record: EdgeRecord
    participants: Participants
    forest: Forest
    keys: Mapping[str, bytes]
    summed: bool


def check_edge(evidence: Evidence, trust: Trust | None) -> CheckedEdge:
    """Check all of an edge's round that its evidence shows; its sums too, where they are there.

    Args:
        trust: what is pinned of the edge, see ``TreeTrust.edge``.

    Raises:
        TrustError: it contradicts the pins.
        VerificationError: anything else that is not as it must be.
    """
    config = evidence.config
    if level(config.policy) != EDGE:
        raise VerificationError("this is not the evidence of an edge")
    _, claim, participants = Auditor(trust).examine(evidence)
    if claim != SUM or evidence.attestation:
        raise VerificationError("an edge's sum is proved, not attested")
    if evidence.result_model != NO_DIGEST:
        raise VerificationError("an edge's evidence tells a digest of its mean, which guesses could be compared with")
    summed = evidence.sums.size > 0
    if summed:
        total = check_sum(config, participants, evidence.sums).commitment
    else:
        total = commitment.add(list(participants.commitments))
    record = make_record(
        task=config.task,
        round=config.round,
        attempt=config.attempt,
        context=config.context,
        session=participants.session.sid,
        cohort_size=config.cohort_size,
        participants=len(evidence.openings),
        participants_root=participants.root,
        commitment_sum=total.to_bytes(),
        evidence=without_sums(evidence).digest(),
    )
    keys = {member.name: member.public for member in evidence.cohort}
    return CheckedEdge(record, participants, Forest.from_bytes(evidence.setup), keys, summed)


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class VerifiedTree(Verified):
    """What a successful check of a tree returns. ``commitments`` are those of the clients of the edges that were seen.

    Attributes:
        edges: records of the edges in the sum, by their operators' ids.
        seen: edges of which all was checked, down to each client's commitment.
        vouched: edges whose members' signatures were compared with what is pinned.
    """

    edges: Mapping[str, EdgeRecord] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()
    vouched: frozenset[str] = frozenset()

    @property
    def saw_all(self) -> bool:
        """Whether every edge was checked down to its clients."""
        return self.seen == frozenset(self.edges)

    @property
    def tree_text(self) -> str:
        """How much of the tree was seen, for people."""
        count = len(self.edges)
        if self.saw_all:
            return f"all {count} edges were checked, each client's commitment among them"
        left = "the others are believed by their members' signatures" if self.vouched else "the others are believed"
        return f"{len(self.seen)} of {count} edges were checked down to their clients; {left}"


@checked_class
class TreeAuditor:
    """Checks trees. Holds nothing secret and keeps no state."""

    def __init__(self, tree: TreeTrust | None = None) -> None:
        """
        Args:
            tree: what this verifier has pinned; without it evidence is only checked in itself, and all edges' evidence
                is needed, since nobody else says who their members are.
        """
        self.tree = tree

    def verify(
        self, evidence: TreeEvidence, edges: Iterable[Evidence] = (), *, beacon: bytes | None = None
    ) -> VerifiedTree:
        """Check everything about a tree's round that can be checked from what is at hand.

        Args:
            edges: edges' own evidence, with or without sums; as many as are at hand, in any order.
            beacon: the public randomness that drew members into edges, as the verifier knows it.

        Raises:
            TrustError: the evidence contradicts what is pinned.
            VerificationError: anything else that is not as it must be. Names no culprit: evidence may have been put
                together by anybody.
        """
        try:
            return self._verify(evidence, list(edges), beacon)
        except (RemoteProtocolError, RoundAborted) as error:
            about = f"{error.culprit!r}: " if error.culprit else ""
            raise VerificationError(about + str(error.args[0]), phase=error.phase) from error
        except ConfigError as error:
            raise VerificationError(str(error)) from error

    def _verify(self, evidence: TreeEvidence, edges: list[Evidence], beacon: bytes | None) -> VerifiedTree:
        top, forest = evidence.top, evidence.forest
        config = top.config
        if level(config.policy) != TOP:
            raise VerificationError("a tree's evidence holds a round that is not its top's")
        tree = self.tree
        if tree is not None and tree.task != config.task:
            raise TrustError(f"the tree that is pinned is {tree.task!r}, not {config.task!r}")
        if tree is not None and (beacon or b"") != forest.beacon:
            raise TrustError("members were not drawn into edges by the beacon that this party knows")
        pinned, claim, participants = Auditor(tree.top if tree else None).examine(top)
        if claim != SUM or top.attestation:
            raise VerificationError("a tree's sum is proved, not attested")
        if (forest.task, forest.round, forest.attempt) != (config.task, config.round, config.attempt):
            raise VerificationError("the forest is of another tree, round or attempt than the top")
        if forest.common != common(config):
            raise VerificationError("the edges have another policy, model or epoch than the top")
        if evidence.roll.forest != forest.digest() or evidence.roll.digest() != config.instructions:
            raise VerificationError("the top's configuration is not of this roll and forest")
        if list(evidence.edges) != list(top.participants):
            raise VerificationError("the records are not those of the edges in the sum")
        vouched = self._check_records(evidence, participants)
        seen = self._check_edges(evidence, edges)
        if tree is None and len(seen) < len(evidence.edges):
            missing = min(set(evidence.edges) - seen.keys())
            raise VerificationError(
                f"nothing is pinned, so who is in edge {missing!r} is in its own evidence only, which is missing"
            )
        clients = evidence.participants
        checked = check_sum(config, participants, top.sums, clients=clients)
        if model_digest(checked.average) != top.result_model:
            raise VerificationError("the result's digest is not that of the mean that the sums decode to")
        records = {name: item.record for name, item in evidence.edges.items()}
        invited = sum(record.cohort_size for record in records.values())
        record = record_of(
            top, participants, checked, claim=claim, digest=evidence.digest(), clients=(invited, clients)
        )
        opened = {
            name: item.to_bytes()
            for edge in seen.values()
            for name, item in zip(
                (opening.name for opening in edge.participants.openings), edge.participants.commitments, strict=True
            )
        }
        return VerifiedTree(
            record, pinned, checked.average, opened, edges=records, seen=frozenset(seen), vouched=vouched
        )

    def _check_records(self, evidence: TreeEvidence, participants: Participants) -> frozenset[str]:
        """Each record is the sealed one, of this forest, of the commitment that the top has summed, and signed."""
        forest, sealed, vouched = evidence.forest, seals(evidence.roll), set()
        for opened, name in zip(participants.commitments, evidence.top.participants, strict=True):
            item, entry = evidence.edges[name], forest.edge(name)
            record = item.record
            if entry is None or name not in sealed:
                raise VerificationError(f"edge {name!r} is not in the forest, or not on the roll")
            item.check_seal(forest.task, name, sealed[name])
            where = (forest.round, forest.attempt, entry.context, forest.session(entry.session))
            if (record.round, record.attempt, record.context, record.session) != where:
                raise VerificationError(f"the record of edge {name!r} is of another round, or of another forest")
            if record.commitment_sum != opened.to_bytes():
                raise VerificationError(f"the top has summed another commitment of edge {name!r} than its members'")
            if self.tree is not None:
                self._check_members(name, item, forest.beacon)
                vouched.add(name)
        return frozenset(vouched)

    def _check_members(self, name: str, item: Unsealed, beacon: bytes) -> None:
        """A quorum of the pinned members has signed the record, which counts no more of them than there are."""
        if self.tree is None:
            return
        members, policy = self.tree.members(name, beacon), self.tree.policy(name)
        record, quorum = item.record, policy.quorum(len(members))
        if record.cohort_size != len(members):
            raise TrustError(f"edge {name!r} has {len(members)} members, its record says {record.cohort_size}")
        if not max(policy.min_clients, quorum) <= record.participants <= len(members):
            raise VerificationError(f"{record.participants} of {len(members)} members of edge {name!r} are summed")
        item.check_signatures(members, quorum)

    def _check_edges(self, evidence: TreeEvidence, edges: list[Evidence]) -> dict[str, CheckedEdge]:
        """The edges that are at hand, by id: each leads to its record, and no two have anybody in common."""
        forest, config = evidence.forest, evidence.top.config
        names = {edge_task(forest.task, name): name for name in evidence.edges}
        seen: dict[str, CheckedEdge] = {}
        owners: dict[bytes, str] = {member.public: member.name for member in evidence.top.cohort}
        known = {member.name for member in evidence.top.cohort}
        for item in edges:
            name = names.get(item.config.task)
            if name is None or name in seen:
                raise VerificationError(f"evidence of {item.config.task!r}, which is no edge of the sum, or a second")
            found = check_edge(item, self.tree.edge(name, forest.beacon) if self.tree else None)
            unsealed = evidence.edges[name]
            if found.record != unsealed.record:
                raise VerificationError(f"the evidence of edge {name!r} leads to another record than the one it signed")
            if found.forest.to_bytes() != forest.to_bytes():
                raise VerificationError(f"edge {name!r} is of another forest")
            if common(item.config) != common(config) or item.config.operators != _operators(evidence, name):
                raise VerificationError(f"edge {name!r} has another policy, model, epoch or operator than the top")
            if self.tree is None:
                unsealed.check_signatures(found.keys, item.config.policy.quorum(item.config.cohort_size))
            for member, key in found.keys.items():
                if member in known or key in owners:
                    raise VerificationError(f"{member!r}, or its key, is in the tree twice")
                known.add(member)
                owners[key] = member
            seen[name] = found
        return seen


def _operators(evidence: TreeEvidence, name: str) -> bytes:
    keys = {member.name: member.public for member in evidence.top.cohort}
    return Roster({name: keys[name]}).digest()


@checked
def verify_tree(
    evidence: TreeEvidence,
    edges: Iterable[Evidence] = (),
    trust: TreeTrust | None = None,
    *,
    beacon: bytes | None = None,
) -> VerifiedTree:
    """Check a tree's evidence; see ``TreeAuditor.verify``.

    Raises:
        VerificationError: it does not prove its result, or contradicts ``trust``.
    """
    return TreeAuditor(trust).verify(evidence, edges, beacon=beacon)
