"""An audit: everything that a ledger claims, recomputed from its leaves and its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from secure_agg.auditor import Auditor
from secure_agg.errors import (
    ConfigError,
    LedgerDamaged,
    LedgerRefused,
    TrustError,
    VerificationError,
)
from secure_agg.evidence import Evidence, RoundRecord
from secure_agg.ledger import merkle
from secure_agg.ledger.chain import check_link, read_record
from secure_agg.ledger.database import Database
from secure_agg.ledger.evidence_store import EvidenceStore
from secure_agg.ledger.head import SignedHead
from secure_agg.trust import Trust

Beacon = Callable[[RoundRecord], bytes | None]
"""The public randomness that drew a round's cohort, as the auditor knows it."""


@dataclass(frozen=True)
class AuditReport:
    """What an audit found in order.

    Attributes:
        size: records in the ledger; each was checked.
        root: tree head over all of them.
        tasks: number of records by task id.
        pinned: what was compared with the auditor's own trust in *every* round, see ``Verified.pinned``.
        evidence_bytes: evidence read and verified.
    """

    size: int
    root: bytes
    tasks: Mapping[str, int]
    pinned: frozenset[str]
    evidence_bytes: int


class _HeadChecker:
    """Compares stored heads, and one that the auditor kept, with roots that were recomputed."""

    def __init__(self, database: Database, log: bytes, known: SignedHead | None) -> None:
        self._database = database
        self._log = log
        self._known = known

    def check(self, size: int, root: bytes) -> None:
        head = self._database.head_at(size)
        if head is None:
            raise LedgerDamaged(f"the signed head of size {size} is missing")
        try:
            head.verify(self._log)
        except VerificationError as error:
            raise LedgerDamaged(str(error)) from error
        if head.root != root:
            raise LedgerDamaged(f"the signed head of size {size} has another root than the {size} records")
        if self._known is not None and self._known.size == size and self._known.root != root:
            raise LedgerDamaged(f"the first {size} records are not those that the known head was signed for")


def audit(
    database: Database,
    evidence_store: EvidenceStore,
    trust: Trust,
    *,
    known_head: SignedHead | None = None,
    beacon: Beacon | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Check a whole ledger from scratch, in one pass; memory for one evidence and one record per task.

    Recomputes every leaf hash, subtree and root without believing the stored ones, then compares those and
    every signed head; checks each task's chain; verifies each round's evidence again and compares its record.

    Args:
        database: the ledger's file.
        evidence_store: its evidence.
        trust: what the auditor has pinned, the log's key included.
        known_head: a head kept from earlier; the ledger must still begin with what it covers.
        beacon: where policies draw cohorts.
        progress: called with (records done, records).

    Raises:
        LedgerDamaged: something is missing, changed, too much, or contradicts a head; says what.
        VerificationError: evidence does not prove its record, or ``known_head`` is not signed by the log.
        TrustError: the ledger, or a round, is not the one that is pinned.
        ConfigError: ``trust`` names no log key.
    """
    if trust.log is None:
        raise ConfigError("an audit needs the log's public key: the trust names none")
    if database.log_public != trust.log:
        raise TrustError("the ledger is signed by another key than the pinned one")
    counts = database.counts()
    size = counts.size
    expected = (size, size - size.bit_count(), size + 1)
    if (counts.leaves, counts.nodes, counts.heads) != expected:
        raise LedgerDamaged(
            f"{counts.leaves} leaves, {counts.nodes} nodes and {counts.heads} heads are stored; "
            f"the newest head, of size {size}, calls for {expected[0]}, {expected[1]} and {expected[2]}"
        )
    if known_head is not None:
        _check_known(known_head, trust.log, database.origin, size)

    heads = _HeadChecker(database, trust.log, known_head)
    auditor = Auditor(trust)
    frontier = merkle.Frontier()
    heads.check(0, frontier.root())
    last: dict[str, RoundRecord] = {}
    tasks: dict[str, int] = {}
    pinned: frozenset[str] | None = None
    evidence_bytes = 0
    for index in range(size):
        leaf = database.leaf(index)
        if leaf is None:
            raise LedgerDamaged(f"record {index} is missing")
        for node in frontier.push(leaf.hash):
            if database.node(node.level, node.position) != node.hash:
                raise LedgerDamaged(f"tree node {node.position} of level {node.level} is not over its records")
        heads.check(index + 1, frontier.root())
        record = read_record(leaf)
        try:
            check_link(record, last.get(record.task))
        except LedgerRefused as error:
            raise LedgerDamaged(f"record {index}: {error}") from error
        last[record.task] = record
        tasks[record.task] = tasks.get(record.task, 0) + 1
        try:
            data = evidence_store.get(record.evidence)
        except LedgerDamaged as error:
            raise LedgerDamaged(f"record {index}: {error}") from error
        compared = _check_evidence(auditor, index, record, data, beacon)
        pinned = compared if pinned is None else pinned & compared
        evidence_bytes += len(data)
        if progress is not None:
            progress(index + 1, size)
    return AuditReport(size, frontier.root(), tasks, pinned or frozenset(), evidence_bytes)


def _check_known(known: SignedHead, log: bytes, origin: str, size: int) -> None:
    known.verify(log)
    if known.origin != origin:
        raise VerificationError(f"the known head is of log {known.origin!r}, the ledger is {origin!r}")
    if known.size > size:
        raise LedgerDamaged(f"the known head covers {known.size} records, the ledger has only {size}")


def _check_evidence(
    auditor: Auditor, index: int, record: RoundRecord, data: bytes, beacon: Beacon | None
) -> frozenset[str]:
    """Verify one round again; returns what was compared with the trust."""
    try:
        verified = auditor.verify(Evidence.from_bytes(data), beacon=beacon(record) if beacon else None)
    except VerificationError as error:
        raise type(error)(f"record {index}: {error.args[0]}", phase=error.phase, culprit=error.culprit) from error
    differing = [f for f in RoundRecord.__struct_fields__ if getattr(verified.record, f) != getattr(record, f)]
    if differing:
        raise VerificationError(f"record {index} differs from its evidence in {', '.join(differing)}")
    return verified.pinned
