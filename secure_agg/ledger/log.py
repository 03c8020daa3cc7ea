"""The ledger: verified rounds, appended once, provable to anyone who holds the log's public key.

On disk, beside the database at ``path``: ``path.evidence/`` (what the leaves are digests of), ``path.keys/``
(the log's signing key, private), ``path.trust.json`` (what rounds are verified against) and ``path.head`` (the newest
head that was given out).
"""

from __future__ import annotations

import functools
import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Final

from secure_agg import files
from secure_agg.arguments import checked_class
from secure_agg.errors import (
    ClaimRefused,
    ConfigError,
    FileExists,
    LedgerDamaged,
    LedgerError,
    LedgerRefused,
    VerificationError,
)
from secure_agg.ledger.audit import AuditReport, Beacon, DatabaseSource, audit
from secure_agg.ledger.chain import check_link, read_record
from secure_agg.ledger.checkpoint_time import CheckpointTime
from secure_agg.ledger.database import Database, NewLeaf
from secure_agg.ledger.evidence_store import EvidenceStore
from secure_agg.ledger.publish.export import ExportReport, export
from secure_agg.ledger.released import ReleasedHead, check_released
from secure_agg.protocol.claims import check_claims, in_order
from secure_agg.protocol.evidence import MAX_RECORD, Evidence, RoundRecord
from secure_agg.protocol.identity import Identity, KeyDirectory, Roster
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.trust import TaskTrust, Trust
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.cosignature import WitnessKey, timestamp
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import MAX_SIGNATURES, Note, VerifierKey
from secure_agg.tlog.policy import CLOCK_TOLERANCE, WitnessPolicy
from secure_agg.tlog.receipt import Receipt
from zk import merkle

LOG_ROLE: Final = "log"
"""Role and name of the log's key in the key directory."""


@checked_class
class Ledger:
    """An append-only log of rounds. Safe to share between threads; processes each open their own.

    Only what ``Auditor`` verifies against the trust file enters, each (task, round) once, in order, each
    record starting from its task's previous result.

    Attributes:
        path: of the database.
        trust_path: of the trust file.
        keys: of the key directory, where the log's key is among others.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        read_only: bool = False,
        origin: str | None = None,
        claims: Collection[str] | None = None,
    ) -> None:
        """Open a ledger, or make one where there is none.

        Args:
            path: of the database file.
            read_only: for auditors: needs no key, writes nothing, and there must be a ledger.
            origin: the log's unique name, for a new one; by default made from its public key.
            claims: that rounds may make which are appended or audited here, see ``protocol.claims``; by default
                those that the trust file pins for their task, which are sums unless something else was asked for.

        Raises:
            LedgerError: it can't be opened or made, or the signing key is missing or another.
            LedgerDamaged: not a ledger, of an unknown schema version, or its trust file is gone.
            ConfigError: the origin is not the ledger's, or can't be one; one of the claims is none; the trust file
                does not parse.
        """
        if not os.fspath(path):
            raise LedgerError("a ledger is a file, and '' names none")
        self._claims = None if claims is None else check_claims(claims)
        self.path = Path(path)
        self.trust_path = Path(f"{self.path}.trust.json")
        self.keys = Path(f"{self.path}.keys")
        self._evidence = EvidenceStore(Path(f"{self.path}.evidence"))
        self._released = ReleasedHead(Path(f"{self.path}.head"))
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
    def verifier_key(self) -> VerifierKey:
        """The log's key as witnesses and verifiers configure it: named like the origin."""
        return VerifierKey(self.origin, self.log_public)

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
            ClaimRefused: its results may claim what this ledger was opened not to accept.
            LedgerRefused: opened read-only.
        """
        with self._database.exclusive():  # the trust file's lock as well
            old, new = self.trust, self.planned(task, trust, operators)
            if new != old:
                new.save(self.trust_path)

    def planned(self, task: str, trust: TaskTrust, operators: Roster) -> Trust:
        """What the trust file would say after ``pin``, with its arguments and errors; nothing is written."""
        if self._claims is not None and not trust.claims <= self._claims:
            raise ClaimRefused(
                f"task {task!r} may have results of claim {', '.join(in_order(trust.claims - self._claims))}; this "
                f"ledger was opened to accept {', '.join(in_order(self._claims))}: open it with other claims"
            )
        old = self.trust
        if (old.tasks or old.operators) and old.operators != operators:
            names = sorted({name for name, _ in old.operators.items() ^ operators.items()})
            raise ConfigError(f"the ledger's operators are pinned and differ in {', '.join(names)}")
        return replace(old.with_task(task, trust), operators=operators)

    def append(
        self, evidence: Evidence, *, beacon: bytes | None = None, claims: Collection[str] | None = None
    ) -> Receipt:
        """Verify a round and add it. When this returns, evidence, record and the new signed head are durable.

        Args:
            evidence: of the round; its context binds this ledger's key.
            beacon: the public randomness that drew the cohort, where the policy draws one.
            claims: that the round may make; by default as this ledger was opened.

        Raises:
            VerificationError: the evidence does not prove its result or contradicts the trust file.
            ClaimRefused: its result is not of a claim that is accepted.
            LedgerRefused: opened read-only, or the record is too long, a repetition, or does not follow its
                task's last one. Nothing was written.
            LedgerDamaged: what is stored is not what its head was signed for, or less than was given out.
            LedgerError: the disk is full or fails, or another process has held the lock for a minute. The round may be
                in the ledger all the same, when it is next opened or appended to; the same call again returns its
                receipt.
        """
        return self.append_all([evidence], beacons=[beacon], claims=claims)[0]

    def append_all(
        self,
        rounds: Sequence[Evidence],
        *,
        beacons: Sequence[bytes | None] | None = None,
        claims: Collection[str] | None = None,
    ) -> tuple[Receipt, ...]:
        """Verify several rounds and add them in this order, all or none; the disk is waited for once for all records.

        Args:
            rounds: each as for ``append``; those of one task in order.
            beacons: of each round, in the same order; by default none.
            claims: as for ``append``.

        Raises:
            See ``append``.
        """
        if self._identity is None:
            raise LedgerRefused(f"ledger {self.path} is open for reading only")
        auditor = Auditor(self.trust, self._claims if claims is None else claims)
        known = [None] * len(rounds) if beacons is None else beacons
        return self._append_records(
            [
                (auditor.verify(evidence, beacon=beacon).record, evidence.to_bytes())
                for evidence, beacon in zip(rounds, known, strict=True)
            ]
        )

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

    def checkpoint(self, size: int | None = None) -> bytes:
        """The head of ``size``, by default the newest, as a C2SP checkpoint note with its stored cosignatures.

        Raises:
            LedgerError: the ledger has never had this size.
            LedgerDamaged: a stored cosignature is malformed.
        """
        return self._note(self.head() if size is None else self.head_at(size)).to_bytes()

    def add_cosignatures(self, note: bytes, witnesses: Iterable[WitnessKey] = ()) -> tuple[WitnessKey, ...]:
        """Verify the cosignatures of a checkpoint of this log, and keep them durably beside its head.

        The lines of other keys, the log's own among them, are ignored.

        Args:
            note: the checkpoint with the cosignatures.
            witnesses: keys to accept, besides the witnesses that the trust file pins.

        Returns:
            The witnesses whose cosignatures are now kept; one that was kept already counts.

        Raises:
            VerificationError: not a note, not of a checkpoint that this log has signed, a cosignature that does
                not verify, or none of a known witness.
            ConfigError: two known witnesses have the same name and key id, or a pinned one an id that can't name a key.
            LedgerRefused: opened read-only, or the checkpoint has as many cosignatures as a note can hold.
            LedgerError: the disk is full, or another process has held the lock for a minute.
        """
        parsed = Note.from_bytes(note)
        checkpoint = Checkpoint.parse(parsed.text)
        with self._database.exclusive():
            head = self._database.head_at(checkpoint.size)
            if head is None or head.checkpoint != checkpoint:
                raise VerificationError(f"this log has signed no such checkpoint of size {checkpoint.size}")
            verified = parsed.verify({*self.trust.witness_keys(), *witnesses})
            kept: dict[WitnessKey, None] = {}
            for key, line in verified:
                # A time that has not come would keep every later one out.
                if isinstance(key, WitnessKey) and timestamp(line.signature) <= time.time() + CLOCK_TOLERANCE:
                    self._database.cosign(head.size, key, line.signature)
                    kept[key] = None
            if len(self._database.cosignatures(head)) >= MAX_SIGNATURES:  # one line is the log's own
                raise LedgerRefused(f"a checkpoint has room for {MAX_SIGNATURES - 1} cosignatures")
        return tuple(kept)

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

    def signed_at(self, size: int) -> int | None:
        """When the head of ``size`` was signed, in POSIX seconds by the ledger's own clock, unsigned; None if lost."""
        return self._database.signed_at(size)

    def time_of(self, index: int) -> CheckpointTime:
        """When the record at an index came under a signed checkpoint, see ``CheckpointTime``.

        Raises:
            LedgerError: there is no such record.
            LedgerDamaged: a stored cosignature is malformed.
        """
        if not 0 <= index < len(self):
            raise LedgerError(f"there is no record {index}, the ledger has {len(self)}")
        size = index + 1
        witnessed = min(self._database.cosigned(size), default=None)
        lines = () if witnessed is None else self._database.cosignatures(self.head_at(witnessed))
        cosigned = {line.name: timestamp(line.signature) for line in lines}
        return CheckpointTime(size, self._database.signed_at(size), witnessed, cosigned)

    def find(self, task: str, round: int) -> int | None:
        """The index of a task's round, or None."""
        leaf = self._database.find(task, round)
        return None if leaf is None else leaf.index

    def indexes(self, task: str) -> tuple[int, ...]:
        """The indexes of a task's rounds, in order. Their numbers grow, but may leave some out: of rounds that came to
        nothing, and of no others.
        """
        return self._database.indexes(task)

    def tasks(self) -> tuple[str, ...]:
        """The ids of the tasks that have rounds here, in the order of their first ones."""
        return self._database.tasks()

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

    def receipt(self, index: int, size: int | None = None, *, policy: WitnessPolicy | None = None) -> Receipt:
        """Proof that the record at ``index`` is under the head of ``size``, with that head's stored cosignatures.

        Args:
            index: of the record.
            size: of the tree; by default the newest.
            policy: what the receipt is to pass. Without ``size``, the newest head that passes is taken.

        Raises:
            LedgerError: there is no such record or head, or none that passes ``policy``.
            LedgerDamaged: the stored tree has a gap, or a stored cosignature is malformed.
        """
        head = self.head() if size is None else self.head_at(size)
        if not 0 <= index < head.size:
            raise LedgerError(f"there is no record {index} under the head of size {head.size}")
        older = self._database.cosigned(index + 1) if policy is not None and size is None else ()
        for candidate in (head, *(self.head_at(cosigned) for cosigned in older)):
            note = self._note(candidate)
            if policy is None or self._passes(policy, note):
                proof = merkle.inclusion_proof(index, candidate.size, self._database.node)
                return Receipt(index, proof, note)
        raise LedgerError(f"no signed head over record {index} has the cosignatures that the policy asks for")

    def consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Proof for ``check_consistency`` that the tree of ``new_size`` begins with the other.

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
        claims: Collection[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> AuditReport:
        """Check everything from scratch; see ``secure_agg.ledger.audit.audit`` for the arguments and errors.

        Without ``trust`` the ledger is checked against its own trust file: proof of nothing to those who
        doubt whoever can write that file.
        """
        self._check_released()
        return audit(
            DatabaseSource(self._database, self._evidence),
            self.trust if trust is None else trust,
            known_head=known_head,
            beacon=beacon,
            claims=self._claims if claims is None else claims,
            progress=progress,
        )

    def export(
        self,
        directory: str | Path,
        *,
        with_evidence: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> ExportReport:
        """Publish as static files, or bring them up to date; see ``secure_agg.ledger.publish.export.export``."""
        return export(
            self._database,
            self._evidence,
            self.checkpoint,
            Path(directory),
            with_evidence=with_evidence,
            progress=progress,
        )

    def _prepare(self, origin: str | None) -> Identity:
        """The log's key, and a database; both are made where there is neither."""
        self._check_place()
        # In this order: a trust file is only written once its database is there.
        trusted = self.trust_path.exists() and self.trust.log is not None
        exists = self.path.exists()
        if trusted and not exists:
            raise LedgerDamaged(
                f"{self.trust_path} is of a ledger that is gone: bring {self.path} back, or move the file; "
                "an empty ledger under the same key would sign a second history"
            )
        keys = KeyDirectory(self.keys)
        known = keys.find(LOG_ROLE, LOG_ROLE)
        if exists:
            if known is None:
                raise LedgerError(f"the signing key of ledger {self.path} is not in {self.keys}")
            return known
        identity = Identity.generate(LOG_ROLE) if known is None else known
        name = origin or f"secure-agg/{hashlib.sha256(identity.public).hexdigest()[:16]}"
        try:
            with files.failing(self.path, LedgerError), files.folders(self.path.parent):
                Database.create(
                    self.path,
                    name,
                    identity.public,
                    lambda size, root: SignedHead.sign(identity, name, size, root),
                    before=functools.partial(keys.add, LOG_ROLE, identity) if known is None else None,
                )
        except FileExists:  # another process was faster: its key is the key
            return self._prepare(origin)
        return identity

    def _check_place(self) -> None:
        """See that a ledger can lie where it is asked for, before anything is written."""
        if not self.path.name or "\0" in str(self.path):
            raise LedgerError(f"a ledger is a file, and {str(self.path)!r} names none")
        with files.failing(self.path, LedgerError):
            if self.path.is_dir():
                raise LedgerError(f"{self.path} is a folder: a ledger is a file, choose a name in it")
            if self.path.exists() and not self.path.is_file():
                raise LedgerError(f"{self.path} is no file that a ledger could be")
            place = self.path.parent
            while not place.exists() and place != place.parent:
                place = place.parent
            if not place.is_dir():
                raise LedgerError(f"ledger {self.path} can't be made: {place} is no folder")

    def _start_trust(self) -> None:
        """See that the trust file names the log's key; it is made for an empty ledger only."""
        with self._database.exclusive():
            self._finish()
            if self.trust_path.exists():
                trust = self.trust
            elif len(self) == 0:
                trust = Trust()
            else:
                raise LedgerDamaged(f"the trust file {self.trust_path} is gone: bring it back")
            if trust.log is None:
                replace(trust, log=self.log_public, origin=self.origin).save(self.trust_path)
            elif trust.log != self.log_public or trust.origin not in (None, self.origin):
                raise LedgerDamaged(f"the trust file {self.trust_path} names another log")
        self._catch_up()

    def _catch_up(self) -> None:
        """Note a head that a crash left newer than the note: it can be cosigned and published from now on."""
        head = self.head()
        try:
            released = self._released.read(self.verifier_key)
        except VerificationError:
            released = None
        if head.size > (released.size if released else 0):
            self._database.sync()  # the note is never ahead of the disk
            self._released.advance(head, self.verifier_key)

    def _append_records(self, rounds: Sequence[tuple[RoundRecord, bytes]]) -> tuple[Receipt, ...]:
        """Add records with the evidence that is known to prove them."""
        leaves = [NewLeaf(record.task, record.round, record.to_bytes()) for record, _ in rounds]
        for leaf in leaves:
            if len(leaf.record) > MAX_RECORD:
                raise LedgerRefused(f"the record has {len(leaf.record)} bytes, above {MAX_RECORD}")
        if not leaves:
            return ()
        with self._database.exclusive():
            places = self._finish()
            if not all(leaf.record in places for leaf in leaves):  # else this very call had been cut short
                self._check_new([record for record, _ in rounds])
                self._evidence.put_all([evidence for _, evidence in rounds])  # durable before what names it
                begin = self._database.append(leaves, self._sign, self._approve)
                places = {leaf.record: begin + offset for offset, leaf in enumerate(leaves)}
        receipts = tuple(self.receipt(places[leaf.record], places[leaf.record] + 1) for leaf in leaves)
        self._released.advance(self.head(), self.verifier_key)
        return receipts

    def _check_new(self, records: Sequence[RoundRecord]) -> None:
        """Refuse records that are in the ledger already, or do not follow their tasks' last ones and each other."""
        last: dict[str, RoundRecord | None] = {}
        for record in records:
            if self.find(record.task, record.round) is not None:
                raise LedgerRefused(f"round {record.round} of task {record.task!r} is in the ledger already")
            previous = last[record.task] if record.task in last else self.last(record.task)
            check_link(record, previous)
            last[record.task] = record

    def _finish(self) -> dict[bytes, int]:
        """Finish an append that was cut short, inside ``exclusive``; returns its records with their places."""
        self._check_released()
        return {leaf.record: leaf.index for leaf in self._database.finish(self._sign)}

    def _check_released(self) -> None:
        """See that nothing is missing that was given out, before anything else is.

        Raises:
            LedgerDamaged: the database is behind, or contradicts it.
        """
        try:
            released = self._released.read(self.verifier_key)
        except VerificationError:  # after a power cut it may be empty: ``ledger fsck`` says so
            return
        if released is not None:
            check_released(released, self.head(), self._database.head_at(released.size))

    def _note(self, head: SignedHead) -> Note:
        """A head as a note, with its stored cosignatures."""
        return head.note(self.log_public, self._database.cosignatures(head))

    def _passes(self, policy: WitnessPolicy, note: Note) -> bool:
        """Whether a checkpoint of this log has the quorum of the witness policy."""
        try:
            policy.verify(note, self.verifier_key)
        except VerificationError:
            return False
        return True

    def _sign(self, size: int, root: bytes) -> SignedHead:
        if self._identity is None:
            raise LedgerRefused(f"ledger {self.path} is open for reading only")
        return SignedHead.sign(self._identity, self.origin, size, root)

    def _approve(self, text: bytes) -> bytes:
        if self._identity is None:
            raise LedgerRefused(f"ledger {self.path} is open for reading only")
        return self._identity.sign(text)
