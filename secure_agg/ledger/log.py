"""The ledger: verified rounds, appended once, provable to anyone who holds the log's public key.

On disk, beside the database at ``path``: ``path.evidence/`` (what the leaves are digests of), ``path.keys/``
(the log's signing key, private) and ``path.trust.json`` (what rounds are verified against).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final

from secure_agg.auditor import Auditor
from secure_agg.errors import (
    ConfigError,
    LedgerDamaged,
    LedgerError,
    LedgerRefused,
    VerificationError,
)
from secure_agg.evidence import MAX_RECORD, Evidence, RoundRecord
from secure_agg.identity import Identity, KeyDirectory, Roster
from secure_agg.ledger import merkle
from secure_agg.ledger.audit import AuditReport, Beacon, audit
from secure_agg.ledger.chain import check_link, read_record
from secure_agg.ledger.database import Database
from secure_agg.ledger.evidence_store import EvidenceStore
from secure_agg.ledger.head import SignedHead
from secure_agg.ledger.receipt import Receipt
from secure_agg.trust import TaskTrust, Trust

LOG_ROLE: Final = "log"
"""Role and name of the log's key in the key directory."""


class Ledger:
    """An append-only log of rounds. Safe to share between threads; processes each open their own.

    Only what ``Auditor`` verifies against the trust file enters, each (task, round) once, in order, each
    record starting from its task's previous result.

    Attributes:
        path: of the database.
        trust_path: of the trust file.
        keys: of the key directory, where the log's key is among others.
    """

    def __init__(self, path: str | Path, *, read_only: bool = False, origin: str | None = None) -> None:
        """Open a ledger, or make one where there is none.

        Args:
            path: of the database file.
            read_only: for auditors: needs no key, writes nothing, and there must be a ledger.
            origin: the log's unique name, for a new one; by default made from its public key.

        Raises:
            LedgerError: it can't be opened or made, or the signing key is missing or another.
            LedgerDamaged: not a ledger, of an unknown schema version, or its trust file is gone.
            ConfigError: the origin is not the ledger's, or can't be one; the trust file does not parse.
        """
        self.path = Path(path)
        self.trust_path = Path(f"{path}.trust.json")
        self.keys = Path(f"{path}.keys")
        self._evidence = EvidenceStore(Path(f"{path}.evidence"))
        self._identity: Identity | None = None
        if not read_only:
            self._identity = self._prepare(origin)
        self._database = Database(self.path, read_only=read_only)
        try:
            if origin is not None and origin != self.origin:
                raise ConfigError(f"ledger {path} has the origin {self.origin!r}, not {origin!r}")
            if self._identity is not None:
                if self._identity.public != self.log_public:
                    raise LedgerError(f"the key in {self.keys} is not the one that signs ledger {path}")
                self._start_trust()
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of records."""
        return self.head().size

    def __bool__(self) -> bool:
        """True: an empty ledger is a ledger."""
        return True

    def __repr__(self) -> str:
        return f"Ledger({str(self.path)!r}, origin={self.origin!r})"

    def close(self) -> None:
        """Close the file; harmless when closed."""
        self._database.close()

    @property
    def origin(self) -> str:
        """The log's unique name, first line of what every head signs."""
        return self._database.origin

    @property
    def log_public(self) -> bytes:
        """The log's public key as the ledger states it, 32 bytes. Verifiers use the one they have pinned."""
        return self._database.log_public

    @property
    def trust(self) -> Trust:
        """What rounds are verified against, as the trust file says now.

        Raises:
            ConfigError: the file is missing or does not parse.
        """
        return Trust.load(self.trust_path)

    def pin(self, task: str, trust: TaskTrust, operators: Roster) -> None:
        """Add a task to the trust file, durably. Pinning the same again changes nothing.

        Args:
            task: id.
            trust: its roster and policy.
            operators: the aggregators and key holders; one set for all tasks of a ledger.

        Raises:
            ConfigError: the task, or the operators, are pinned to something else; names what differs.
            LedgerRefused: opened read-only.
        """
        with self._database.exclusive():  # the trust file's lock as well
            old = self.trust
            if (old.tasks or old.operators) and old.operators != operators:
                names = sorted({name for name, _ in old.operators.items() ^ operators.items()})
                raise ConfigError(f"the ledger's operators are pinned and differ in {', '.join(names)}")
            new = replace(old.with_task(task, trust), operators=operators)
            if new != old:
                new.save(self.trust_path)

    def append(self, evidence: Evidence, *, beacon: bytes | None = None) -> Receipt:
        """Verify a round and add it. When this returns, evidence, record and the new signed head are durable.

        Args:
            evidence: of the round; its context binds this ledger's key.
            beacon: the public randomness that drew the cohort, where the policy draws one.

        Raises:
            VerificationError: the evidence does not prove its result or contradicts the trust file.
            LedgerRefused: opened read-only, or the record is too long, a repetition, or does not follow its
                task's last one. Nothing was written.
            LedgerDamaged: what is stored is not what its head was signed for.
            LedgerError: the disk is full, or another process has held the lock for a minute.
        """
        if self._identity is None:
            raise LedgerRefused(f"ledger {self.path} is open for reading only")
        verified = Auditor(self.trust).verify(evidence, beacon=beacon)
        return self._append_record(verified.record, evidence.to_bytes())

    def head(self) -> SignedHead:
        """The newest signed head."""
        return self._database.head()

    def head_at(self, size: int) -> SignedHead:
        """The signed head of an earlier size.

        Raises:
            LedgerError: the ledger has never had it.
        """
        head = self._database.head_at(size)
        if head is None:
            raise LedgerError(f"there is no head of size {size}, the ledger has {len(self)} records")
        return head

    def records(self) -> Iterator[RoundRecord]:
        """All records in order, read one by one; those that are appended meanwhile are left out.

        Raises:
            LedgerDamaged: a record is missing or changed.
        """
        for index in range(len(self)):
            yield self.record(index)

    def record(self, index: int) -> RoundRecord:
        """The record at an index from 0.

        Raises:
            LedgerError: there is none.
            LedgerDamaged: it is missing or changed.
        """
        size = len(self)
        if not 0 <= index < size:
            raise LedgerError(f"there is no record {index}, the ledger has {size}")
        leaf = self._database.leaf(index)
        if leaf is None:
            raise LedgerDamaged(f"record {index} is missing")
        return read_record(leaf)

    def find(self, task: str, round: int) -> int | None:
        """The index of a task's round, or None."""
        leaf = self._database.find(task, round)
        return None if leaf is None else leaf.index

    def last(self, task: str) -> RoundRecord | None:
        """A task's newest record, or None.

        Raises:
            LedgerDamaged: it is changed.
        """
        leaf = self._database.last(task)
        return None if leaf is None else read_record(leaf)

    def evidence(self, record: RoundRecord) -> Evidence:
        """The evidence of a record: with the content that the record names, otherwise unchecked.

        Raises:
            LedgerDamaged: missing, changed, or not evidence.
        """
        data = self._evidence.get(record.evidence)
        try:
            return Evidence.from_bytes(data)
        except VerificationError as error:
            raise LedgerDamaged(f"round {record.round} of task {record.task!r}: {error}") from error

    def evidence_path(self, record: RoundRecord) -> Path:
        """Where the evidence of a record lies; whether it does is not checked."""
        return self._evidence.locate(record.evidence)

    def receipt(self, index: int, size: int | None = None) -> Receipt:
        """Proof that the record at ``index`` is under the head of ``size``, by default the newest.

        Raises:
            LedgerError: there is no such record or head.
            LedgerDamaged: the stored tree has a gap.
        """
        head = self.head() if size is None else self.head_at(size)
        if not 0 <= index < head.size:
            raise LedgerError(f"there is no record {index} under the head of size {head.size}")
        return Receipt(index, merkle.inclusion_proof(index, head.size, self._database.node), head)

    def consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Proof for ``merkle.verify_consistency`` that the tree of ``new_size`` begins with the other.

        Raises:
            LedgerError: not 0 ≤ old_size ≤ new_size ≤ number of records.
            LedgerDamaged: the stored tree has a gap.
        """
        size = len(self)
        if not 0 <= old_size <= new_size <= size:
            raise LedgerError(f"sizes {old_size} and {new_size} are not in order within [0, {size}]")
        return merkle.consistency_proof(old_size, new_size, self._database.node)

    def audit(
        self,
        trust: Trust | None = None,
        *,
        known_head: SignedHead | None = None,
        beacon: Beacon | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> AuditReport:
        """Check everything from scratch; see ``secure_agg.ledger.audit.audit`` for the arguments and errors.

        Without ``trust`` the ledger is checked against its own trust file: proof of nothing to those who
        doubt whoever can write that file.
        """
        return audit(
            self._database,
            self._evidence,
            self.trust if trust is None else trust,
            known_head=known_head,
            beacon=beacon,
            progress=progress,
        )

    def _prepare(self, origin: str | None) -> Identity:
        """The log's key, and a database; both are made where there is neither."""
        # In this order: a trust file is only written once its database is there.
        trusted = self.trust_path.exists() and self.trust.log is not None
        exists = self.path.exists()
        if trusted and not exists:
            raise LedgerDamaged(
                f"{self.trust_path} is of a ledger that is gone: bring {self.path} back, or move the file; "
                "an empty ledger under the same key would sign a second history"
            )
        keys = KeyDirectory(self.keys)
        if exists and not keys.locate(LOG_ROLE, LOG_ROLE).exists():
            raise LedgerError(f"the signing key of ledger {self.path} is not in {self.keys}")
        identity = keys.get(LOG_ROLE, LOG_ROLE)
        if not exists:
            name = origin or f"secure-agg/{hashlib.sha256(identity.public).hexdigest()[:16]}"
            Database.create(
                self.path,
                name,
                identity.public,
                lambda size, root: SignedHead.sign(identity, name, size, root),
            )
        return identity

    def _start_trust(self) -> None:
        """See that the trust file names the log's key; it is made for an empty ledger only."""
        with self._database.exclusive():
            if self.trust_path.exists():
                trust = self.trust
            elif len(self) == 0:
                trust = Trust()
            else:
                raise LedgerDamaged(f"the trust file {self.trust_path} is gone: bring it back")
            if trust.log is None:
                replace(trust, log=self.log_public).save(self.trust_path)
            elif trust.log != self.log_public:
                raise LedgerDamaged(f"the trust file {self.trust_path} names another log key")

    def _append_record(self, record: RoundRecord, evidence: bytes) -> Receipt:
        """Add a record that is known to be what ``evidence`` proves."""
        leaf = record.to_bytes()
        if len(leaf) > MAX_RECORD:
            raise LedgerRefused(f"the record has {len(leaf)} bytes, above {MAX_RECORD}")
        with self._database.exclusive():
            if self.find(record.task, record.round) is not None:
                raise LedgerRefused(f"round {record.round} of task {record.task!r} is in the ledger already")
            check_link(record, self.last(record.task))
            self._evidence.put(evidence)  # durable before the record that names it
            index = self._database.append(record.task, record.round, leaf, self._sign)
        return self.receipt(index, index + 1)

    def _sign(self, size: int, root: bytes) -> SignedHead:
        if self._identity is None:
            raise LedgerRefused(f"ledger {self.path} is open for reading only")
        return SignedHead.sign(self._identity, self.origin, size, root)
