"""The ledger: verified rounds, appended once, provable to anyone who holds the log's public key.

``place`` says which files it has on disk, ``reader`` what can be read of it; here is what writes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from secure_agg.arguments import checked_class
from secure_agg.errors import (
    ClaimRefused,
    ConfigError,
    LedgerDamaged,
    LedgerError,
    LedgerRefused,
    VerificationError,
)
from secure_agg.ledger.chain import check_begins, check_follows, check_link, name_of
from secure_agg.ledger.database import Database, NewLeaf
from secure_agg.ledger.place import Place
from secure_agg.ledger.reader import LedgerReader
from secure_agg.protocol.claims import check_claims, in_order, require_claim
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.buffer import Bases
from secure_agg.protocol.epoch import EpochEvidence, Record
from secure_agg.protocol.epoch.record import filed_under
from secure_agg.protocol.evidence import MAX_RECORD, Evidence
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.tree.evidence import TreeEvidence
from secure_agg.roles.auditor import Auditor, Verified
from secure_agg.roles.epochs.checking import verify_epoch
from secure_agg.roles.tree.auditor import TreeAuditor
from secure_agg.roles.tree.pins import TreeTrust
from secure_agg.roles.trust import TaskTrust, Trust
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.cosignature import WitnessKey, timestamp
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import MAX_SIGNATURES, Note
from secure_agg.tlog.policy import CLOCK_TOLERANCE
from secure_agg.tlog.receipt import Receipt


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Appended:
    """A round that has entered a ledger.

    Attributes:
        receipt: proof that its record is in the log.
        verified: what the ledger's own check of its evidence returned.
    """

    receipt: Receipt
    verified: Verified


@checked_class
class Ledger(LedgerReader):
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
        accepted = None if claims is None else check_claims(claims)
        place = Place(Path(path))
        self._identity = None if read_only else place.prepare(origin)
        self._database = Database(place.path, read_only=read_only)
        super().__init__(place, self._database, accepted)
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
    ) -> Appended:
        """Verify a round and add it. When this returns, evidence, record and the new signed head are durable.

        Args:
            evidence: of the round; its context binds this ledger's key.
            beacon: the public randomness that drew the cohort, where the policy draws one.
            claims: that the round may make; by default as this ledger was opened.

        Raises:
            VerificationError: the evidence does not prove its result or contradicts the trust file; or it is of a round
                with a norm bound, and proofs are not with it (``Evidence.with_proofs``).
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
    ) -> tuple[Appended, ...]:
        """Verify several rounds and add them in this order, all or none; the disk is waited for once for all records.

        Args:
            rounds: each as for ``append``; those of one task in order.
            beacons: of each round, in the same order; by default none.
            claims: as for ``append``.

        Raises:
            See ``append``.
        """
        self._key()
        accepted = self._claims if claims is None else claims
        tasks = {evidence.config.task for evidence in rounds}
        auditors = {task: Auditor(self.in_force(task), accepted) for task in tasks}
        known = [None] * len(rounds) if beacons is None else beacons
        verified = [
            auditors[evidence.config.task].verify(evidence, beacon=beacon)
            for evidence, beacon in zip(rounds, known, strict=True)
        ]
        for found in verified:
            if found.norm and found.proofs < found.record.participants:
                raise VerificationError(
                    f"{found.proofs} of {found.record.participants} norm proofs are with the evidence, not all"
                )
        self._check_buffers([(evidence.config, found) for found, evidence in zip(verified, rounds, strict=True)])
        receipts = self._append_records(
            [(found.record, evidence.to_bytes()) for found, evidence in zip(verified, rounds, strict=True)],
            [evidence.proofs[hashed] for evidence in rounds for hashed in evidence.proof_hashes],
            {found.record: evidence.config for found, evidence in zip(verified, rounds, strict=True)},
        )
        return tuple(Appended(receipt, found) for receipt, found in zip(receipts, verified, strict=True))

    def append_epoch(self, evidence: EpochEvidence) -> Receipt:
        """Verify an epoch under the one in force, and add it: from its record on it is in force.

        Raises:
            VerificationError: it is not authorised, accepted or closed as it must be, or does not follow.
            LedgerRefused: opened read-only, or its task has gone on meanwhile. Nothing was written.
            LedgerDamaged, LedgerError: see ``append``; the same call again returns the receipt.
        """
        self._key()
        body = evidence.says
        for index in self.epochs(body.task):
            if self.entry(index).evidence == evidence.digest():  # an append that was cut short and finished
                return self.receipt(index)
        record = verify_epoch(self.in_force(body.task), evidence, self.newest(body.task))
        return self._append_records([(record, evidence.to_bytes())])[0]

    def append_tree(
        self, evidence: TreeEvidence, edges: Sequence[Evidence], *, beacon: bytes | None = None
    ) -> Appended:
        """Verify a tree's round with all its edges and add it: one record, with the tree's evidence and each edge's.

        Args:
            evidence: of the tree, whose edges' tasks are pinned like its own.
            edges: evidence of every edge in the sum, without sums.
            beacon: the public randomness that drew members into edges, where they are drawn.

        Returns:
            The receipt, and a ``VerifiedTree``.

        Raises:
            VerificationError: the evidence does not prove its result or contradicts the trust file; an edge's is
                missing, or holds the edge's sums.
            LedgerRefused, LedgerDamaged, LedgerError: see ``append``.
        """
        self._key()
        tree = TreeTrust(self.trust, evidence.top.config.task)
        found = TreeAuditor(tree).verify(evidence, edges, beacon=beacon)
        if not found.saw_all or any(item.sums.size for item in edges):
            raise VerificationError("a ledger takes a tree with the evidence of all its edges, and not their sums")
        require_claim(
            found.record.claim, self.accepted(found.record.task), task=found.record.task, round=found.record.round
        )
        kept = [item.to_bytes() for item in edges]
        (receipt,) = self._append_records([(found.record, evidence.to_bytes())], kept)
        return Appended(receipt, found)

    def accepted(self, task: str) -> Collection[str]:
        """Claims that rounds of a task may make here."""
        return self._claims if self._claims is not None else self.trust.task(task).claims

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

    def _append_records(
        self,
        rounds: Sequence[tuple[Record, bytes]],
        proofs: Sequence[bytes] = (),
        configs: Mapping[Record, RoundConfig] | None = None,
    ) -> tuple[Receipt, ...]:
        """Add records with the evidence that is known to prove them, and with the norm proofs that this names."""
        leaves = [NewLeaf(record.task, filed_under(record), record.to_bytes()) for record, _ in rounds]
        for leaf in leaves:
            if len(leaf.record) > MAX_RECORD:
                raise LedgerRefused(f"the record has {len(leaf.record)} bytes, above {MAX_RECORD}")
        if not leaves:
            return ()
        with self._database.exclusive():
            places = self._finish()
            if not all(leaf.record in places for leaf in leaves):  # else this very call had been cut short
                self._check_new([record for record, _ in rounds], configs or {})
                self._evidence.put_all([*proofs, *(evidence for _, evidence in rounds)])  # durable before what names it
                begin = self._database.append(leaves, self._sign, self._approve)
                places = {leaf.record: begin + offset for offset, leaf in enumerate(leaves)}
        receipts = tuple(self.receipt(places[leaf.record], places[leaf.record] + 1) for leaf in leaves)
        self._released.advance(self.head(), self.verifier_key)
        return receipts

    def _check_new(self, records: Sequence[Record], configs: Mapping[Record, RoundConfig]) -> None:
        """Refuse records that are in the ledger already, or do not follow their tasks' last ones and each other."""
        last: dict[str, Record | None] = {}
        for record in records:
            if self.find(record.task, filed_under(record)) is not None:
                raise LedgerRefused(f"{name_of(record)} is in the ledger already")
            previous = last[record.task] if record.task in last else self.newest(record.task)
            config, epochs = configs.get(record), self.epochs(record.task)
            if config is not None:
                if config.epoch != len(epochs):
                    raise LedgerRefused(f"{name_of(record)} is of epoch {config.epoch}, and {len(epochs)} has begun")
                check_begins(config, previous)
            since = self._tables.newest(record.task)
            check_link(record, previous, new_policy=bool(epochs) and since is not None and since.index < epochs[-1])
            last[record.task] = record

    def _check_buffers(self, rounds: Sequence[tuple[RoundConfig, Verified]]) -> None:
        """Refuse buffered rounds whose bases are not what the records before them lead to."""
        before: dict[str, Bases] = {}
        for config, found in rounds:
            if config.policy.buffer is None or self.find(config.task, config.round) is not None:
                continue  # one that is there is said to be, and had its bases checked
            if config.task not in before and (last := self.last(config.task)) is not None:
                before[config.task] = Auditor.bases(self.evidence(last))
            check_follows(config, found.bases, found.record, before.get(config.task))
            before[config.task] = found.bases

    def _finish(self) -> dict[bytes, int]:
        """Finish an append that was cut short, inside ``exclusive``; returns its records with their places."""
        self._check_released()
        return {leaf.record: leaf.index for leaf in self._database.finish(self._sign)}

    def _key(self) -> Identity:
        """The log's, with which heads are signed."""
        if self._identity is None:
            raise LedgerRefused(f"ledger {self.path} is open for reading only")
        return self._identity

    def _sign(self, size: int, root: bytes) -> SignedHead:
        return SignedHead.sign(self._key(), self.origin, size, root)

    def _approve(self, text: bytes) -> bytes:
        return self._key().sign(text)
