"""An audit: everything that a log claims, recomputed from its records and its evidence.

Where those come from is a :class:`Source`: a ledger's own file here, what it publishes in ``published.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from secure_agg.errors import (
    ConfigError,
    LedgerDamaged,
    LedgerRefused,
    TrustError,
    VerificationError,
)
from secure_agg.ledger.chain import Chains, check_begins, check_follows, name_of, read_record
from secure_agg.ledger.evidence_store import EvidenceStore
from secure_agg.ledger.tables import Leaf, Tables
from secure_agg.protocol.claims import ATTESTED, PROVED
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.buffer import Bases
from secure_agg.protocol.epoch import EpochEvidence, EpochRecord, Record, root_task
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.protocol.privacy.spending import Spending
from secure_agg.protocol.tree.evidence import TreeEvidence
from secure_agg.roles.auditor import Auditor, Verified
from secure_agg.roles.epochs.checking import verify_epoch
from secure_agg.roles.epochs.pins import under
from secure_agg.roles.tree.auditor import TreeAuditor
from secure_agg.roles.tree.pins import TreeTrust
from secure_agg.roles.trust import Trust
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import Note, VerifierKey
from secure_agg.tlog.policy import WitnessPolicy
from zk import merkle
from zk.merkle import Node

Beacon = Callable[[RoundRecord], bytes | None]
"""The public randomness that drew a round's cohort, as the auditor knows it."""


class Source(Protocol):
    """What an audit reads. Methods are called in the order in which they stand, for one record after another.

    Attributes:
        origin: the log's name, as it states it.
    """

    @property
    def origin(self) -> str:
        """See the class."""

    def begin(self, log: bytes) -> int:
        """Number of records under the newest head. ``log`` is the pinned public key of the log.

        Raises:
            TrustError: the log is another one.
            LedgerDamaged: what is there can't be all of this size.
        """

    def checkpoint(self) -> Note:
        """The newest head as a note, with the cosignatures that are there; they are not verified here.

        Raises:
            LedgerDamaged: one of them is malformed.
        """

    def leaf(self, index: int) -> Leaf:
        """A record, with its hash.

        Raises:
            LedgerDamaged: missing or malformed.
        """

    def check_node(self, node: Node) -> None:
        """Compare a complete subtree's recomputed root with the stored one, where one is stored.

        Raises:
            LedgerDamaged: missing or another.
        """

    def check_head(self, size: int, root: bytes) -> None:
        """Compare the tree's recomputed root with the head of this size, where one has to be.

        Raises:
            LedgerDamaged: missing, not signed by the log, or of another root.
        """

    def evidence(self, digest: bytes) -> bytes:
        """The content with this SHA-256, checked.

        Raises:
            LedgerDamaged: missing or changed.
        """


@dataclass(frozen=True)
class AuditReport:
    """What an audit found in order.

    Attributes:
        size: records in the ledger; each was checked.
        root: tree head over all of them.
        tasks: number of records by task id.
        claims: number of records by what they claim.
        verified: rounds whose evidence was verified and proves that the result is a sum; none where the evidence was
            left out.
        attested: rounds whose evidence was checked and shows that the operators have signed the result, and no more.
        pinned: what was compared with the auditor's own trust in *every* round, see ``Verified.pinned``.
        evidence_bytes: evidence read and verified.
        norm_proofs: norm proofs read and verified: those of all participants, in rounds that bound norms.
        epochs: records of them; each was checked under the one before, and each round under the one that it is in.
            Without the auditor's own trust they are only chained: who may change a task is nobody's then.
        edges: edges of trees whose evidence was read and verified, down to each client's commitment.
        witnesses: POSIX time of the cosignature on the newest head of each witness that a policy knows.
        privacy: what the rounds of each task with differential privacy have spent, added up again from their evidence.
    """

    size: int
    root: bytes
    tasks: Mapping[str, int]
    claims: Mapping[str, int]
    verified: int
    attested: int
    pinned: frozenset[str]
    evidence_bytes: int
    norm_proofs: int
    epochs: int
    edges: int
    witnesses: Mapping[str, int]
    privacy: Mapping[str, Spending] = field(default_factory=dict)


class DatabaseSource:
    """A ledger's own file: its records, every stored subtree, and one head for every size."""

    def __init__(self, database: Tables, evidence_store: EvidenceStore) -> None:
        """``evidence_store`` is the ledger's."""
        self._database = database
        self._evidence = evidence_store
        self._size = 0

    @property
    def origin(self) -> str:
        """As the file states it."""
        return self._database.origin

    def begin(self, log: bytes) -> int:
        """See ``Source``: here the number of leaves, nodes and heads has to fit too."""
        if self._database.log_public != log:
            raise TrustError("the ledger is signed by another key than the pinned one")
        counts = self._database.counts()
        size = counts.size
        expected = (size, size - size.bit_count(), size + 1)
        if (counts.leaves, counts.nodes, counts.heads) != expected:
            raise LedgerDamaged(
                f"{counts.leaves} leaves, {counts.nodes} nodes and {counts.heads} heads are stored; "
                f"the newest head, of size {size}, calls for {expected[0]}, {expected[1]} and {expected[2]}"
            )
        self._size = size
        return size

    def checkpoint(self) -> Note:
        """See ``Source``."""
        head = self._head(self._size)
        return head.note(self._database.log_public, self._database.cosignatures(head))

    def leaf(self, index: int) -> Leaf:
        """See ``Source``."""
        leaf = self._database.leaf(index)
        if leaf is None:
            raise LedgerDamaged(f"record {index} is missing")
        return leaf

    def check_node(self, node: Node) -> None:
        """See ``Source``."""
        if self._database.node(node.level, node.position) != node.hash:
            raise LedgerDamaged(f"tree node {node.position} of level {node.level} is not over its records")

    def check_head(self, size: int, root: bytes) -> None:
        """See ``Source``: there is a head of every size."""
        head = self._head(size)
        try:
            head.verify(self._database.log_public)  # the pinned key: ``begin`` has compared them
        except VerificationError as error:
            raise LedgerDamaged(str(error)) from error
        if head.root != root:
            raise LedgerDamaged(f"the signed head of size {size} has another root than the {size} records")

    def evidence(self, digest: bytes) -> bytes:
        """See ``Source``."""
        return self._evidence.get(digest)

    def _head(self, size: int) -> SignedHead:
        head = self._database.head_at(size)
        if head is None:
            raise LedgerDamaged(f"the signed head of size {size} is missing")
        return head


def audit(
    source: Source,
    trust: Trust | None,
    *,
    log: VerifierKey | None = None,
    policies: Iterable[WitnessPolicy] = (),
    known_head: SignedHead | None = None,
    beacon: Beacon | None = None,
    claims: Collection[str] | None = None,
    with_evidence: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Check a whole log from scratch, in one pass; memory for one evidence and one record per task.

    Every epoch is checked under the one before it, from what the auditor has pinned of epoch 0, and every round under
    the epoch in which it stands. Recomputes every leaf hash, subtree and root without believing the stored ones, then
    compares those and every signed head; checks each task's chain; verifies each round's evidence again and compares
    its record.

    Args:
        source: of records, stored hashes, heads and evidence.
        trust: what the auditor has pinned, the log's key included. Without it each round is verified in itself,
            which shows the arithmetic and not who took part.
        log: the log's key, named like its origin; needed where there is no ``trust``.
        policies: what the newest head has to pass, besides the quorum that ``trust`` may pin.
        known_head: a head kept from earlier; the log must still begin with what it covers.
        beacon: where policies draw cohorts.
        claims: that rounds may make, see ``Auditor``; by default what ``trust`` pins for their task, without it sums.
        with_evidence: verify the rounds too; otherwise only that the records are what the log has signed, in
            order and chained.
        progress: called with (records done, records).

    Raises:
        LedgerDamaged: something is missing, changed, too much, or contradicts a head; says what.
        ClaimRefused: a round is not of a claim that is accepted.
        VerificationError: evidence does not prove its record, ``known_head`` is not signed by the log, or too few
            witnesses have cosigned the newest head.
        TrustError: the log, or a round, is not the one that is pinned.
        ConfigError: no log key is given, or two different ones.
        LedgerError: the source can't be reached.
    """
    key = _log_key(source.origin, trust, log)
    size = source.begin(key)
    witnesses = _witnesses(source, key, trust, policies)
    if known_head is not None:
        _check_known(known_head, key, source.origin, size)
    trusts: dict[str, Trust] = {}
    frontier = merkle.Frontier()
    _check_head(source, known_head, frontier)
    chains = Chains()
    bases: dict[str, Bases] = {}
    tasks: dict[str, int] = {}
    claimed: dict[str, int] = {}
    checked: dict[str, int] = {}
    pinned: frozenset[str] | None = None
    spending: dict[str, Spending] = {}
    evidence_bytes = norm_proofs = epochs = edges = 0
    for index in range(size):
        leaf = source.leaf(index)
        for node in frontier.push(leaf.hash):
            source.check_node(node)
        _check_head(source, known_head, frontier)
        record = read_record(leaf)
        previous = chains.last(record.task)
        try:
            chains.take(record)
        except LedgerRefused as error:
            raise LedgerDamaged(f"record {index}: {error}") from error
        if isinstance(record, EpochRecord):
            epochs += 1
            if with_evidence:
                data = _evidence_of(source, index, record)
                new = _check_epoch(trusts.get(record.task, trust), index, record, data, previous)
                if new is not None:
                    trusts[record.task] = new
                evidence_bytes += len(data)
            if progress is not None:
                progress(index + 1, size)
            continue
        tasks[record.task] = tasks.get(record.task, 0) + 1
        claimed[record.claim] = claimed.get(record.claim, 0) + 1
        if with_evidence:
            data = _evidence_of(source, index, record)
            known = trusts.get(root_task(record.task), trust)
            if TreeEvidence.is_one(data):
                compared, walked, read = _check_tree(known, key, index, record, data, beacon, source, previous)
                proofs, edges, evidence_bytes = 0, edges + walked, evidence_bytes + read
            else:
                auditor = Auditor(known, claims)
                verified, config = _check_evidence(auditor, key, index, record, data, beacon, source, previous, bases)
                compared, proofs = verified.pinned | {"log"}, verified.proofs
                if config.policy.privacy is not None:
                    try:
                        spending.setdefault(root_task(record.task), Spending()).add(config, verified.commitments)
                    except VerificationError as error:
                        raise VerificationError(f"record {index}: {error}") from error
            pinned = compared if pinned is None else pinned & compared
            evidence_bytes += len(data)
            norm_proofs += proofs
            checked[record.claim] = checked.get(record.claim, 0) + 1
        if progress is not None:
            progress(index + 1, size)
    return AuditReport(
        size=size,
        root=frontier.root(),
        tasks=tasks,
        claims=claimed,
        verified=sum(checked.get(claim, 0) for claim in PROVED),
        attested=checked.get(ATTESTED, 0),
        pinned=pinned or frozenset(),
        evidence_bytes=evidence_bytes,
        norm_proofs=norm_proofs,
        epochs=epochs,
        edges=edges,
        witnesses=witnesses,
        privacy=spending,
    )


def _log_key(origin: str, trust: Trust | None, log: VerifierKey | None) -> bytes:
    """The pinned public key of the log, whose name is compared wherever it is pinned."""
    pins = [(trust.origin, trust.log)] if trust is not None and trust.log is not None else []
    pins += [(log.name, log.public)] if log is not None else []
    if not pins:
        raise ConfigError("an audit needs the log's public key: the trust names none")
    if len({key for _, key in pins}) != 1:
        raise ConfigError("the trust pins another log key than the one that is given")
    for name, _ in pins:
        if name not in (None, origin):
            raise TrustError(f"the log is {origin!r}, not the pinned {name!r}")
    return pins[0][1]


def _witnesses(source: Source, key: bytes, trust: Trust | None, policies: Iterable[WitnessPolicy]) -> Mapping[str, int]:
    """Hold the newest head to the auditor's policies; returns which of their witnesses have cosigned it, and when."""
    wanted = [*policies, *([trust.witness_policy()] if trust is not None and trust.quorum is not None else [])]
    if not wanted:
        return {}
    note, log = source.checkpoint(), VerifierKey(source.origin, key)
    return {name: seconds for policy in wanted for name, seconds in policy.verify(note, log).witnesses.items()}


def _check_head(source: Source, known: SignedHead | None, frontier: merkle.Frontier) -> None:
    size, root = frontier.size, frontier.root()
    source.check_head(size, root)
    if known is not None and known.size == size and known.root != root:
        raise LedgerDamaged(f"the first {size} records are not those that the known head was signed for")


def _check_known(known: SignedHead, log: bytes, origin: str, size: int) -> None:
    known.verify(log)
    if known.origin != origin:
        raise VerificationError(f"the known head is of log {known.origin!r}, the ledger is {origin!r}")
    if known.size > size:
        raise LedgerDamaged(f"the known head covers {known.size} records, the ledger has only {size}")


def _evidence_of(source: Source, index: int, record: Record) -> bytes:
    try:
        return source.evidence(record.evidence)
    except LedgerDamaged as error:
        raise LedgerDamaged(f"record {index}: {error}") from error


def _check_epoch(
    trust: Trust | None, index: int, record: EpochRecord, data: bytes, previous: Record | None
) -> Trust | None:
    """Check an epoch under the one before; returns what is in force from it on, if the auditor has pinned the task."""
    try:
        evidence = EpochEvidence.from_bytes(data)
        if evidence.says.digest != record.body:
            raise VerificationError(f"{name_of(record)} is not what its evidence says")
        if trust is None:
            return None
        if verify_epoch(trust, evidence, previous) != record:
            raise VerificationError(f"{name_of(record)} differs from its evidence")
    except VerificationError as error:
        raise type(error)(f"record {index}: {error.args[0]}", phase=error.phase) from error
    return under(trust, evidence)


def _check_evidence(
    auditor: Auditor,
    log: bytes,
    index: int,
    record: RoundRecord,
    data: bytes,
    beacon: Beacon | None,
    source: Source,
    previous: Record | None,
    bases: dict[str, Bases],
) -> tuple[Verified, RoundConfig]:
    """Verify one round again.

    Args:
        bases: of each buffered task's round before this one, which take their place.
    """
    try:
        evidence = Evidence.from_bytes(data)
        try:
            evidence = evidence.with_proofs(source.evidence(hashed) for hashed in evidence.proof_hashes)
        except LedgerDamaged as error:
            raise LedgerDamaged(f"record {index}, a norm proof: {error}") from error
        verified = auditor.verify(evidence, beacon=beacon(record) if beacon else None)
    except VerificationError as error:
        raise type(error)(f"record {index}: {error.args[0]}", phase=error.phase, culprit=error.culprit) from error
    _check_same(evidence.config, verified.record, log, index, record, previous)
    if evidence.config.policy.buffer:
        try:
            check_follows(evidence.config, verified.bases, record, bases.get(record.task))
        except LedgerRefused as error:
            raise LedgerDamaged(f"record {index}: {error}") from error
        bases[record.task] = verified.bases
    return verified, evidence.config


def _check_same(
    config: RoundConfig, found: RoundRecord, log: bytes, index: int, record: RoundRecord, previous: Record | None
) -> None:
    """The evidence is of this log's round, which begins as the task's record before says, and leads to this very
    record.
    """
    try:
        check_begins(config, previous)
    except LedgerRefused as error:
        raise LedgerDamaged(f"record {index}: {error}") from error
    if config.log_key != log:  # compared by the auditor already if there is a trust
        raise TrustError(f"record {index}: the round's ledger key is not the pinned one")
    fields = dict.fromkeys((*found.__struct_fields__, *record.__struct_fields__))
    differing = [name for name in fields if getattr(found, name, None) != getattr(record, name, None)]
    if differing or type(found) is not type(record):
        raise VerificationError(f"record {index} differs from its evidence in {', '.join(differing)}")


def _check_tree(
    trust: Trust | None,
    log: bytes,
    index: int,
    record: RoundRecord,
    data: bytes,
    beacon: Beacon | None,
    source: Source,
    previous: Record | None,
) -> tuple[frozenset[str], int, int]:
    """Walk a tree; returns what was compared with the auditor's pins, how many edges it has, and their bytes."""
    try:
        tree = TreeEvidence.from_bytes(data)
        parts = {}
        for name, edge in tree.edges.items():
            try:
                parts[name] = source.evidence(edge.record.evidence)
            except LedgerDamaged as error:
                raise LedgerDamaged(f"record {index}, edge {name!r}: {error}") from error
        pins = TreeTrust(trust, record.task) if trust is not None else None
        known = beacon(record) if beacon else None
        verified = TreeAuditor(pins).verify(tree, map(Evidence.from_bytes, parts.values()), beacon=known)
    except VerificationError as error:
        raise type(error)(f"record {index}: {error.args[0]}", phase=error.phase, culprit=error.culprit) from error
    _check_same(tree.top.config, verified.record, log, index, record, previous)
    return verified.pinned | {"log"}, len(parts), sum(map(len, parts.values()))
