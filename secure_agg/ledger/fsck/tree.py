"""The part of ``fsck`` that goes through the records, and through what follows from them.

A signed head fixes every record before it. So a record is right if the tree that it completes has the root of the
head of that size, wherever its bytes come from; everything else in the database but the signatures follows from the
records.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from secure_agg.errors import ConfigError, LedgerDamaged, LedgerRefused, VerificationError
from secure_agg.ledger.approval import check_approval
from secure_agg.ledger.chain import Chains, as_round, read_record
from secure_agg.ledger.database import Database
from secure_agg.ledger.evidence_store import EvidenceStore
from secure_agg.ledger.fsck.report import Findings
from secure_agg.ledger.tables import Leaf
from secure_agg.protocol.claims import CLAIMS
from secure_agg.protocol.epoch import Record, read_leaf
from secure_agg.protocol.epoch.record import filed_under
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.protocol.tree.evidence import TreeEvidence, named_contents
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.tree.auditor import TreeAuditor
from secure_agg.tlog.cosignature import WitnessKey
from secure_agg.tlog.head import SignedHead
from zk import merkle

_RESTORE = "bring back a copy of the ledger's files that is whole; fsck it too"


class TreeCheck:
    """One pass over the records, in order.

    Attributes:
        size: records under the newest head.
        root: over all of them; None if the pass could not go through.
        named: digests of the evidence of the records that were read.
        unfinished: the same of records that the next writer is to finish.
    """

    def __init__(
        self, database: Database, evidence: EvidenceStore, released: SignedHead | None, findings: Findings
    ) -> None:
        """``released`` is the head in the file beside the database, verified, or None."""
        self._db = database
        self._store = evidence
        self._released = released
        self._findings = findings
        self._frontier = merkle.Frontier()
        self._chains = Chains()
        self.size = 0
        self.root: bytes | None = None
        self.named: set[bytes] = set()
        self.unfinished: set[bytes] = set()
        self._stored = -1  # the database's own newest size

    def run(self, progress: Callable[[int, int], None] | None) -> None:
        """Look at everything.

        Raises:
            LedgerDamaged: a table can't be read at all.
        """
        newest = self._db.rows("SELECT max(size) FROM heads")[0][0]
        stored = self._stored = newest if isinstance(newest, int) else -1
        self.size = max(stored, self._released.size if self._released else -1, 0)
        approved = self._check_approved(stored)
        self._check_head(0, merkle.EMPTY_ROOT)
        for index in range(self.size):
            if not self._check_record(index):
                break
            if progress is not None:
                progress(index + 1, self.size)
        else:
            self.root = self._frontier.root()
            self._check_surplus(max(approved, self.size))
        self._check_cosignatures()

    def _check_record(self, index: int) -> bool:
        """One record, the subtrees it completes, its head and its evidence; False if the record is lost."""
        where = f"record {index}"
        rows = self._db.rows("SELECT task, round, record, leaf_hash FROM leaves WHERE idx = ?", index)
        head = self._head(index + 1)
        for data in self._candidates(index, rows[0][2] if rows else None):
            trial = self._root_with(data)
            if (head is not None and head.root == trial) or (
                head is None and rows and rows[0][3] == merkle.leaf_hash(data)
            ):
                break
        else:
            what = "not what its head was signed for" if rows else "missing"
            if index >= self._stored:
                what += (
                    f", though a head of size {self.size} was given out: it was lost, or an old copy was brought back"
                )
            tail = "and no evidence here proves what it was; the records after it were not looked at"
            self._findings.damage(where, f"{where} is {what}, {tail}", _RESTORE)
            return False
        leaf_hash = merkle.leaf_hash(data)
        try:
            record = read_leaf(data)
        except VerificationError as error:
            self._findings.damage(where, f"{where} is signed and is no record: {error}", "no crash does this: audit it")
            return False
        right = (record.task, filed_under(record), data, leaf_hash)
        if not rows or rows[0] != right:
            what = f"the row of {where} was wrong or missing; its content follows from the signed head"

            def rewrite() -> None:
                # A row that is filed in this one's place gets an impossible one until its turn comes.
                aside = "UPDATE leaves SET round = -1 - idx WHERE idx != ? AND task = ? AND round = ?"
                self._db.change(aside, index, record.task, filed_under(record))
                self._db.change("INSERT OR REPLACE INTO leaves VALUES (?, ?, ?, ?, ?)", index, *right)

            self._mend(head is not None, where, what, rewrite)
        self._check_nodes(self._frontier.push(leaf_hash)[1:], head is not None)
        self._check_head(index + 1, self._frontier.root())
        self._check_content(where, Leaf(index, record.task, filed_under(record), data, leaf_hash), record)
        return True

    def _check_content(self, where: str, leaf: Leaf, record: Record) -> None:
        try:
            self._chains.take(read_record(leaf))
        except LedgerRefused as error:
            self._findings.damage(where, f"{error}", "no crash does this: whoever holds the log's key signed it")
        try:
            for digest in self._files_of(record):
                self.named.add(digest)
                self._store.get(digest)
        except LedgerDamaged as error:
            self._findings.damage(
                where, f"{error}", "bring the file back from a copy, or from any client or auditor that has it"
            )

    def _files_of(self, record: Record) -> Iterator[bytes]:
        """Digests of what the store holds of a record: its evidence, and what this names: norm proofs, edges."""
        yield record.evidence
        if (round := as_round(record)) is None:
            return
        if round.norm_bound or self._store.begins(record.evidence, TreeEvidence.is_one):
            with contextlib.suppress(VerificationError):
                yield from named_contents(self._store.get(record.evidence))

    def _mend(self, confirmed: bool, where: str, what: str, action: Callable[[], None]) -> None:
        """Repair what follows from a record, if a head says that the record is right."""
        if confirmed:
            self._findings.mend(where, what, action)
        else:
            self._findings.damage(where, f"{what}; but the head that would show it is lost", _RESTORE)

    def _check_nodes(self, nodes: list[merkle.Node], confirmed: bool) -> None:
        for node in nodes:
            place = (node.level, node.position)
            if self._db.rows("SELECT hash FROM nodes WHERE level = ? AND idx = ?", *place) != [(node.hash,)]:
                self._mend(
                    confirmed,
                    f"tree node {node.position} of level {node.level}",
                    "it was missing, or not the hash of what is below it",
                    lambda row=(*place, node.hash): self._db.change(  # type: ignore[misc]
                        "INSERT OR REPLACE INTO nodes VALUES (?, ?, ?)", *row
                    ),
                )

    def _head(self, size: int) -> SignedHead | None:
        """A head of this size that the log's key has signed: the stored one, or the one that was given out."""
        for row in self._db.rows("SELECT root, signature FROM heads WHERE size = ?", size):
            head = self._signed(size, *row)
            if head is not None:
                return head
        return self._released if self._released is not None and self._released.size == size else None

    def _signed(self, size: int, root: object, signature: object) -> SignedHead | None:
        if not isinstance(root, bytes) or not isinstance(signature, bytes):
            return None
        try:
            head = SignedHead(self._db.origin, size, root, signature)
            head.verify(self._db.log_public)
        except (ConfigError, VerificationError):
            return None
        return head

    def _check_head(self, size: int, root: bytes) -> None:
        where = f"head of size {size}"
        rows = self._db.rows("SELECT root, signature FROM heads WHERE size = ?", size)
        stored = self._signed(size, *rows[0]) if rows else None
        if self._released is not None and self._released.size == size and self._released.root != root:
            self._findings.damage(
                where,
                "a head with another root was given out: there are two histories",
                "no crash does this: keep all files, and find out who used the log's key",
            )
        if stored is not None and stored.root == root:
            return
        mended = self._signed(size, root, rows[0][1]) if rows else None
        if mended is None and self._released is not None and (self._released.size, self._released.root) == (size, root):
            mended = self._released
        if mended is not None:
            row = (size, mended.root, mended.signature)
            self._findings.mend(
                where,
                "it was missing or damaged; a signature that stands says what it was",
                lambda: self._db.change("INSERT OR REPLACE INTO heads VALUES (?, ?, ?)", *row),
            )
            return
        self._findings.damage(where, "it is missing or its signature does not stand, and fsck signs nothing", _RESTORE)

    def _root_with(self, data: bytes) -> bytes:
        """The root over the records so far and one more."""
        frontier = self._frontier.copy()
        frontier.push(merkle.leaf_hash(data))
        return frontier.root()

    def _candidates(self, index: int, stored: object) -> Iterator[bytes]:
        """What the record may be: what is stored, else what evidence proves that belongs to no readable record."""
        if isinstance(stored, bytes):
            yield stored
        known = set()
        for (data,) in self._db.rows("SELECT record FROM leaves WHERE idx != ?", index):
            try:
                known.add(read_leaf(data).evidence)
            except (VerificationError, TypeError):
                continue
        for _, digest in self._store.files():
            if digest is None or digest in known:
                continue
            try:
                yield self._proved(self._store.get(digest)).to_bytes()
            except (LedgerDamaged, VerificationError):
                continue

    def _proved(self, data: bytes) -> RoundRecord:
        """The record that evidence leads to, in itself."""
        if not TreeEvidence.is_one(data):
            return Auditor(claims=CLAIMS).verify(Evidence.from_bytes(data)).record
        tree = TreeEvidence.from_bytes(data)
        edges = [Evidence.from_bytes(self._store.get(edge.record.evidence)) for edge in tree.edges.values()]
        return TreeAuditor().verify(tree, edges, beacon=tree.forest.beacon or None).record

    def _check_approved(self, newest: int) -> int:
        """What an append that was cut short has left; the size that it was to reach."""
        reached = newest
        for size, root, approval in self._db.rows("SELECT size, root, approval FROM approved ORDER BY size"):
            where = f"approval of size {size!r}"
            if not isinstance(size, int) or size <= max(newest, self.size):
                self._findings.tidy(
                    where,
                    "left over from an append that is finished",
                    lambda size=size: self._db.change(  # type: ignore[misc]
                        "DELETE FROM approved WHERE size = ?", size
                    ),
                )
                continue
            try:
                check_approval(self._db.log_public, self._db.origin, size, root, approval)
            except LedgerDamaged as error:
                self._findings.damage(where, str(error), _RESTORE)
            else:
                self._findings.note(
                    where,
                    f"an append was cut short: records {newest} to {size - 1} are on the disk, and nobody was told of "
                    "them",
                    "nothing has to be done: the next process that opens the ledger for writing finishes it",
                )
            reached = max(reached, size)
            for (data,) in self._db.rows("SELECT record FROM leaves WHERE idx >= ? AND idx < ?", newest, size):
                with contextlib.suppress(VerificationError, TypeError, LedgerDamaged):
                    self.unfinished.update(self._files_of(read_leaf(data)))
        return reached

    def _check_surplus(self, size: int) -> None:
        """Rows beyond the newest head, or the append that was cut short."""
        for (index,) in self._db.rows("SELECT idx FROM leaves WHERE idx < 0 OR idx >= ? LIMIT 20", size):
            self._findings.damage(
                f"record {index}", "it is beyond the newest head, and the log's key never approved it", _RESTORE
            )
        for (found,) in self._db.rows("SELECT size FROM heads WHERE size < 0 OR size > ? LIMIT 20", size):
            self._findings.damage(f"head of size {found}", "there are not so many records", _RESTORE)
        if self._db.rows("SELECT 1 FROM times WHERE size < 0 OR size > ? LIMIT 1", size):
            self._findings.mend(
                "times of heads",
                "there are not so many records",
                lambda: self._db.change("DELETE FROM times WHERE size < 0 OR size > ?", size),
            )
        surplus = "level < 1 OR idx < 0 OR ((idx + 1) << level) > ?"
        for level, index in self._db.rows(f"SELECT level, idx FROM nodes WHERE {surplus} LIMIT 20", size):  # noqa: S608
            self._findings.mend(
                f"tree node {index} of level {level}",
                "there are not so many records",
                lambda: self._db.change(f"DELETE FROM nodes WHERE {surplus}", size),  # noqa: S608
            )

    def _check_cosignatures(self) -> None:
        for size, witness, signature in self._db.rows("SELECT size, witness, signature FROM cosignatures"):
            head = self._head(size)
            try:
                if head is None:
                    raise VerificationError("there is no such head")
                WitnessKey.parse(witness).verify(head.checkpoint.text, signature)
            except (ConfigError, TypeError, AttributeError, VerificationError):
                self._findings.mend(
                    f"cosignature of the head of size {size!r} by {witness!r}",
                    "it does not verify, and is removed: gather it again",
                    lambda row=(size, witness): self._db.change(  # type: ignore[misc]
                        "DELETE FROM cosignatures WHERE size = ? AND witness = ?", *row
                    ),
                )
