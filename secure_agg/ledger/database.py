"""The ledger's SQLite file as it is written: see ``tables`` for what it says.

An append is two durable transactions: first the leaves with their nodes and the log's approval, then, signed only now,
the heads that cover them. What a crash leaves between the two is finished before anything else is written, and signs
the same bytes again, Ed25519 being deterministic: the log never signs two roots of one size. Until then nobody sees
those leaves: what the newest head covers is the ledger.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from secure_agg.errors import LedgerDamaged, LedgerError, LedgerRefused, SecureAggError, VerificationError
from secure_agg.files import sync
from secure_agg.ledger.approval import approval_text, check_approval
from secure_agg.ledger.connection import create, make_durable
from secure_agg.ledger.tables import SCHEMA, SCHEMA_VERSION, Leaf, Tables
from secure_agg.tlog.cosignature import WitnessKey
from secure_agg.tlog.head import SignedHead
from zk import merkle

SignHead = Callable[[int, bytes], SignedHead]
"""``(size, root)`` to a head signed by the log's key."""

Approve = Callable[[bytes], bytes]
"""A text of ``approval_text`` to its signature by the log's key."""


@dataclass(frozen=True)
class NewLeaf:
    """What an append adds: see ``Leaf``."""

    task: str
    round: int
    record: bytes


class Database(Tables):
    """One connection to a ledger file, safe to share between threads; other processes have their own."""

    def __init__(self, path: Path, *, read_only: bool = False, untouched: bool = False) -> None:
        """Open an existing ledger; arguments and errors as for ``Tables``."""
        super().__init__(path, read_only=read_only, untouched=untouched)
        self._verified: SignedHead | None = None  # the head that was last verified
        if not read_only:
            try:
                with self._errors():
                    make_durable(self._db, path)
            except BaseException:
                self.close()
                raise

    @staticmethod
    def create(
        path: Path, origin: str, log_public: bytes, sign: SignHead, *, before: Callable[[], None] | None = None
    ) -> None:
        """Make a ledger with no leaves and a signed head of size 0, unless the file exists.

        The file appears complete or not at all, so that two processes can start at the same time.

        Args:
            before: makes durable what the ledger needs, its key above all, once it is known that the file can be
                written and before it appears.

        Raises:
            LedgerError: it can't be written.
            ConfigError: the origin can't be one.
        """
        head = sign(0, merkle.EMPTY_ROOT)
        try:
            name = path.parent / f".{path.name}-{secrets.token_hex(8)}"
            try:
                db = create(name)
                try:
                    make_durable(db, path)
                    db.execute("BEGIN IMMEDIATE")
                    for statement in SCHEMA:
                        db.execute(statement)
                    db.execute("INSERT INTO ledger VALUES (?, ?, ?)", (SCHEMA_VERSION, origin, log_public))
                    db.execute("INSERT INTO heads VALUES (0, ?, ?)", (head.root, head.signature))
                    db.execute("COMMIT")
                finally:
                    db.close()
                if before is not None:
                    before()
                sync(path.parent)  # what a ledger needs, its key above all, is there before it is
                with contextlib.suppress(FileExistsError):  # another process was faster: its ledger is the ledger
                    os.link(name, path)
                sync(path.parent)
            finally:
                # SQLite keeps its own files where it could not close the database in order, on a full disk.
                for suffix in ("", "-wal", "-shm", "-journal"):
                    name.with_name(name.name + suffix).unlink(missing_ok=True)
        except SecureAggError:
            raise
        except (OSError, ValueError, sqlite3.Error) as error:  # a name with a zero byte is a ValueError
            raise LedgerError(f"ledger {path} can't be created: {error}") from error

    def cosign(self, size: int, key: WitnessKey, signature: bytes) -> None:
        """Keep a witness's cosignature of a head, inside ``exclusive``; of two of one witness the later stays.

        The caller has verified it.
        """
        with self._errors():  # a signature begins with its time, big-endian
            self._db.execute(
                "INSERT INTO cosignatures VALUES (?, ?, ?) ON CONFLICT (size, witness) DO UPDATE"
                " SET signature = excluded.signature WHERE substr(excluded.signature, 1, 8) > substr(signature, 1, 8)",
                (size, str(key), signature),
            )

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the one write lock, across threads and processes; commits durably unless the body raises.

        Raises:
            LedgerRefused: opened read-only.
            LedgerError: another process has held the lock for a minute, or the disk is full.
        """
        if self.read_only:
            raise LedgerRefused(f"ledger {self.path} is open for reading only")
        with self._lock:
            with self._errors():
                self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                with self._errors():
                    self._db.execute("COMMIT")
            except BaseException:
                # A rollback that fails has nothing left to undo: SQLite had rolled back by itself.
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def append(self, leaves: Sequence[NewLeaf], sign: SignHead, approve: Approve) -> int:
        """Add leaves and a head for each size, inside ``exclusive``; returns the first leaf's index.

        Commits twice, and what the caller wrote before with it. The stored tree must lead to the stored head, and
        that to the log's key, before anything is signed. The caller has called ``finish`` before, and made sure that
        each task's round is new.

        Raises:
            LedgerDamaged: the stored tree contradicts its head.
            LedgerError: the disk is full or fails. The leaves may be durable; then the next ``finish`` signs them.
        """
        frontier = self._frontier()
        begin = frontier.size
        heads: list[tuple[int, bytes]] = []
        if not leaves:
            return begin
        with self._errors():
            for new in leaves:
                leaf, *parents = frontier.push(merkle.leaf_hash(new.record))
                row = (leaf.position, new.task, new.round, new.record, leaf.hash)
                self._db.execute("INSERT INTO leaves VALUES (?, ?, ?, ?, ?)", row)
                self._db.executemany("INSERT INTO nodes VALUES (?, ?, ?)", parents)
                heads.append((frontier.size, frontier.root()))
            size, root = heads[-1]
            approval = approve(approval_text(self.origin, size, root))
            self._db.execute("INSERT INTO approved VALUES (?, ?, ?)", (size, root, approval))
            self._db.execute("COMMIT")
            self._db.execute("BEGIN IMMEDIATE")
        if self._one("SELECT 1 FROM approved WHERE size = ? AND root = ?", size, root) is not None:
            self._add_heads(heads, sign)
        elif (head := self.head_at(size)) is None or head.root != root:  # else another process has finished it
            raise LedgerDamaged(f"what was appended up to size {size} is gone")
        return begin

    def finish(self, sign: SignHead) -> tuple[Leaf, ...]:
        """Sign the heads of an append that was cut short, inside ``exclusive``; returns its leaves, if there was one.

        Raises:
            LedgerDamaged: what is there is not what the log's key approved.
        """
        row = self._one("SELECT size, root, approval FROM approved ORDER BY size DESC LIMIT 1")
        if row is None:
            return ()
        size, root, approval = row
        frontier = self._frontier()
        if not isinstance(root, bytes) or not isinstance(size, int) or not frontier.size < size:
            raise LedgerDamaged(f"the approval of size {size} is malformed, or of a size that has a head")
        check_approval(self.log_public, self.origin, size, root, approval)
        leaves, heads = [], []
        for index in range(frontier.size, size):
            leaf = self.leaf_at(index)
            if leaf is None:
                raise LedgerDamaged(f"record {index}, which was being appended, is missing")
            frontier.push(leaf.hash)
            leaves.append(leaf)
            heads.append((frontier.size, frontier.root()))
        if frontier.root() != root:
            raise LedgerDamaged(f"the records up to size {size} are not those that were being appended")
        self.sync()
        self._add_heads(heads, sign)
        return tuple(leaves)

    def _add_heads(self, heads: Sequence[tuple[int, bytes]], sign: SignHead) -> None:
        """Sign roots whose leaves are durable."""
        for size, root in heads:
            head = sign(size, root)
            with self._errors():
                self._db.execute("INSERT INTO heads VALUES (?, ?, ?)", (head.size, head.root, head.signature))
                self._db.execute("INSERT OR REPLACE INTO times VALUES (?, ?)", (head.size, int(time.time())))
            self._verified = head  # by whom it was made
        with self._errors():
            self._db.execute("DELETE FROM approved")

    def _frontier(self) -> merkle.Frontier:
        """The stored tree under the newest head, which is the log's."""
        head = self.head()
        if head != self._verified:
            try:
                head.verify(self.log_public)
            except VerificationError as error:
                raise LedgerDamaged(f"the head of size {head.size} is not signed by the ledger's key") from error
            self._verified = head
        frontier = merkle.Frontier.load(head.size, self.node)
        if frontier.root() != head.root:
            raise LedgerDamaged(f"the stored tree does not have the root of its head of size {head.size}")
        return frontier

    def sync(self) -> None:
        """Make durable what another process committed: it may have been killed between writing and syncing.

        Raises:
            LedgerError: the disk fails.
        """
        wal = Path(f"{self.path}-wal")  # closing a second descriptor drops no lock: SQLite has none on this file
        try:
            sync(wal)
            sync(wal.parent)
        except OSError as error:
            raise LedgerError(f"{wal} can't be synced: {error.strerror}") from error

    def change(self, statement: str, *values: int | str | bytes) -> None:
        """One statement, inside ``exclusive``: for repairs.

        Raises:
            LedgerDamaged: the file is too damaged for it.
        """
        with self._lock, self._errors():
            self._db.execute(statement, values)
