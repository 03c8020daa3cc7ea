"""What can be read of a ledger, and proved of it, to those who write it and to those who don't."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from secure_agg.arguments import checked_class
from secure_agg.errors import LedgerDamaged, LedgerError, VerificationError
from secure_agg.ledger.audit import AuditReport, Beacon, DatabaseSource, audit
from secure_agg.ledger.chain import as_round, name_of, read_record
from secure_agg.ledger.checkpoint_time import CheckpointTime
from secure_agg.ledger.place import Place
from secure_agg.ledger.publish.export import ExportReport, export
from secure_agg.ledger.released import check_released
from secure_agg.ledger.tables import Tables
from secure_agg.protocol.epoch import EpochEvidence, EpochRecord, Record, root_task
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.protocol.messages import encode
from secure_agg.protocol.tree.evidence import TreeEvidence
from secure_agg.roles.epochs.following import STEPS_FRAME, Step, Steps
from secure_agg.roles.epochs.pins import under
from secure_agg.roles.trust import Trust
from secure_agg.tlog.cosignature import timestamp
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import Note, VerifierKey
from secure_agg.tlog.policy import WitnessPolicy
from secure_agg.tlog.receipt import Receipt
from zk import merkle


@checked_class
class LedgerReader:
    """The reading half of ``Ledger``, which opens it. Safe to share between threads.

    Attributes:
        path: of the database.
        trust_path: of the trust file.
        keys: of the key directory, where the log's key is among others.
        faults: proofs of fault that are kept beside it.
    """

    def __init__(self, place: Place, tables: Tables, claims: frozenset[str] | None) -> None:
        """
        Args:
            place: where the ledger's files lie.
            tables: its database, opened; ``close`` closes it.
            claims: that rounds may make which are audited here; None for those that the trust file pins.
        """
        self.path = place.path
        self.trust_path = place.trust
        self.keys, self.faults = place.keys, place.faults
        self._evidence = place.evidence
        self._released = place.released
        self._tables = tables
        self._claims = claims
        self._parsed: tuple[bytes, Trust] | None = None

    def __enter__(self) -> Self:
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
        return f"{type(self).__name__}({str(self.path)!r}, origin={self.origin!r})"

    def close(self) -> None:
        """Close the file; harmless when closed."""
        self._tables.close()

    @property
    def origin(self) -> str:
        """The log's unique name, first line of what every head signs."""
        return self._tables.origin

    @property
    def log_public(self) -> bytes:
        """The log's public key as the ledger states it, 32 bytes. Verifiers use the one they have pinned."""
        return self._tables.log_public

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
        said, parsed = Trust.read(self.trust_path), self._parsed
        if parsed is None or parsed[0] != said:  # a round asks dozens of times
            self._parsed = parsed = said, Trust.of_file(said, self.trust_path)
        return parsed[1]

    def head(self) -> SignedHead:
        """The newest signed head."""
        return self._tables.head()

    def head_at(self, size: int) -> SignedHead:
        """The signed head of an earlier size.

        Raises:
            LedgerError: the ledger has never had it.
        """
        head = self._tables.head_at(size)
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

    def records(self) -> Iterator[RoundRecord]:
        """The records of all rounds in order, read one by one; those that are appended meanwhile are left out.

        Raises:
            LedgerDamaged: a record is missing or changed.
        """
        for index in range(len(self)):
            record = as_round(self.entry(index))
            if record is not None:
                yield record

    def record(self, index: int) -> RoundRecord:
        """The record of a round at an index from 0.

        Raises:
            LedgerError: there is none, or an epoch's.
            LedgerDamaged: it is missing or changed.
        """
        record = as_round(found := self.entry(index))
        if record is None:
            raise LedgerError(f"record {index} is of no round: it is of {name_of(found)}")
        return record

    def entry(self, index: int) -> Record:
        """The record at an index from 0, of a round or of an epoch.

        Raises:
            LedgerError: there is none.
            LedgerDamaged: it is missing or changed.
        """
        size = len(self)
        if not 0 <= index < size:
            raise LedgerError(f"there is no record {index}, the ledger has {size}")
        leaf = self._tables.leaf(index)
        if leaf is None:
            raise LedgerDamaged(f"record {index} is missing")
        return read_record(leaf)

    def signed_at(self, size: int) -> int | None:
        """When the head of ``size`` was signed, in POSIX seconds by the ledger's own clock, unsigned; None if lost."""
        return self._tables.signed_at(size)

    def time_of(self, index: int) -> CheckpointTime:
        """When the record at an index came under a signed checkpoint, see ``CheckpointTime``.

        Raises:
            LedgerError: there is no such record.
            LedgerDamaged: a stored cosignature is malformed.
        """
        if not 0 <= index < len(self):
            raise LedgerError(f"there is no record {index}, the ledger has {len(self)}")
        size = index + 1
        witnessed = min(self._tables.cosigned(size), default=None)
        lines = () if witnessed is None else self._tables.cosignatures(self.head_at(witnessed))
        cosigned = {line.name: timestamp(line.signature) for line in lines}
        return CheckpointTime(size, self._tables.signed_at(size), witnessed, cosigned)

    def find(self, task: str, round: int) -> int | None:
        """The index of a task's round, or None."""
        leaf = self._tables.find(task, round)
        return None if leaf is None else leaf.index

    def indexes(self, task: str) -> tuple[int, ...]:
        """The indexes of a task's rounds, in order. Their numbers grow, but may leave some out: of rounds that came to
        nothing, and of no others.
        """
        return self._tables.indexes(task)

    def tasks(self) -> tuple[str, ...]:
        """The ids of the tasks that have rounds here, in the order of their first ones."""
        return self._tables.tasks()

    def last(self, task: str) -> RoundRecord | None:
        """The record of a task's newest round, or None.

        Raises:
            LedgerDamaged: it is changed.
        """
        leaf = self._tables.last(task)
        return None if leaf is None else as_round(read_record(leaf))

    def newest(self, task: str) -> Record | None:
        """A task's newest record, of a round or of an epoch, or None: what its next one follows on.

        Raises:
            LedgerDamaged: it is changed.
        """
        leaf = self._tables.newest(task)
        return None if leaf is None else read_record(leaf)

    def epochs(self, task: str) -> tuple[int, ...]:
        """The indexes of the epochs that a task is under, in order; none where all is as it was pinned at first."""
        return self._tables.epochs(root_task(task))

    def epoch(self, index: int) -> tuple[EpochRecord, EpochEvidence]:
        """The epoch at an index, with the evidence that its record names.

        Raises:
            LedgerError: there is none.
            LedgerDamaged: it is missing or changed.
        """
        record = self.entry(index)
        if not isinstance(record, EpochRecord):
            raise LedgerError(f"record {index} is of no epoch: it is of {name_of(record)}")
        try:
            return record, EpochEvidence.from_bytes(self._evidence.get(record.evidence))
        except VerificationError as error:
            raise LedgerDamaged(f"{name_of(record)}: {error}") from error

    def in_force(self, task: str) -> Trust:
        """What rounds of a task are verified against now: as the trust file says, changed by the task's epochs.

        Raises:
            ConfigError: the trust file is missing or does not parse.
            LedgerDamaged: the newest epoch is missing or changed.
        """
        trust, found = self.trust, self.epochs(task)
        return under(trust, self.epoch(found[-1])[1]) if found and root_task(task) in trust.tasks else trust

    def closure(self, task: str) -> bytes:
        """The certificate that a task's next round goes on from, where an epoch has begun and no round since; else
        empty.
        """
        found, newest = self.epochs(task), self.newest(task)
        if not found or not isinstance(newest, EpochRecord) or not newest.generation:
            return b""
        return self.epoch(found[-1])[1].closure

    def steps(self, task: str, since: int = 0, seen: int | None = None, most: int | None = None) -> Steps:
        """The epochs of a task, for whoever follows them: see ``roles.epochs.following``.

        Args:
            since: number of the epoch that the follower is in.
            seen: size of the checkpoint that it has seen last, None for none.
            most: bytes; as many epochs as fit, and one at least. None for all.
        """
        found, room = list[Step](), None if most is None else most - STEPS_FRAME
        for index in self.epochs(task)[since:]:
            record, evidence = self.epoch(index)
            receipt = self.receipt(index, policy=self._for_receipts())
            size = receipt.checkpoint.size
            proof = self.consistency(seen, size) if seen is not None and seen < size else ()
            seen = max(size, seen or 0)
            step = Step(record.to_bytes(), evidence.to_bytes(), receipt.to_bytes(), proof)
            if room is not None and (room := room - len(encode(step))) < 0 and found:
                break
            found.append(step)
        return Steps(tuple(found))

    def _for_receipts(self) -> WitnessPolicy | None:
        """The pinned quorum, where there is one."""
        trust = self.trust
        return trust.witness_policy() if trust.quorum else None

    def evidence(self, record: RoundRecord) -> Evidence:
        """The evidence of a record: with the content that the record names, otherwise unchecked. Of a tree that of its
        top round.

        Raises:
            LedgerDamaged: missing, changed, or not evidence.
        """
        data = self._evidence.get(record.evidence)
        try:
            return TreeEvidence.from_bytes(data).top if TreeEvidence.is_one(data) else Evidence.from_bytes(data)
        except VerificationError as error:
            raise LedgerDamaged(f"round {record.round} of task {record.task!r}: {error}") from error

    def proved_evidence(self, record: RoundRecord) -> Evidence:
        """The same with its norm proofs at hand, for whoever checks them: some 80 kB for each participant, if any.

        Raises:
            LedgerDamaged: evidence, or a proof, is missing or changed.
        """
        evidence = self.evidence(record)
        return evidence.with_proofs(self._evidence.get(hashed) for hashed in evidence.proof_hashes)

    def tree(self, record: RoundRecord) -> tuple[TreeEvidence, tuple[Evidence, ...]] | None:
        """The evidence of a tree's record, and of the edges in its sum; None where it is of a round without edges.

        Raises:
            LedgerDamaged: missing, changed, or not evidence.
        """
        data = self._evidence.get(record.evidence)
        if not TreeEvidence.is_one(data):
            return None
        try:
            tree = TreeEvidence.from_bytes(data)
            return tree, tuple(
                Evidence.from_bytes(self._evidence.get(edge.record.evidence)) for edge in tree.edges.values()
            )
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
        older = self._tables.cosigned(index + 1) if policy is not None and size is None else ()
        for candidate in (head, *(self.head_at(cosigned) for cosigned in older)):
            note = self._note(candidate)
            if policy is None or self._passes(policy, note):
                proof = merkle.inclusion_proof(index, candidate.size, self._tables.node)
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
        return merkle.consistency_proof(old_size, new_size, self._tables.node)

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
            DatabaseSource(self._tables, self._evidence),
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
            self._tables,
            self._evidence,
            self.checkpoint,
            Path(directory),
            with_evidence=with_evidence,
            progress=progress,
        )

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
            check_released(released, self.head(), self._tables.head_at(released.size))

    def _note(self, head: SignedHead) -> Note:
        """A head as a note, with its stored cosignatures."""
        return head.note(self.log_public, self._tables.cosignatures(head))

    def _passes(self, policy: WitnessPolicy, note: Note) -> bool:
        """Whether a checkpoint of this log has the quorum of the witness policy."""
        try:
            policy.verify(note, self.verifier_key)
        except VerificationError:
            return False
        return True
