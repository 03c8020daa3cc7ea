"""The ledger's SQLite file: leaves, the complete subtrees over them, and one signed head for every size.

Knows trees and heads but not what a leaf means. A leaf, its nodes and the head that covers it are written in
one transaction, which compares the head that it replaces: no two heads of one size, nothing half written.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from secure_agg.errors import ConfigError, LedgerDamaged, LedgerError, LedgerRefused, VerificationError
from secure_agg.evidence import MAX_RECORD
from secure_agg.identity import KEY_BYTES
from secure_agg.ledger import merkle
from secure_agg.ledger.evidence_store import sync_directory
from secure_agg.ledger.head import SignedHead

SCHEMA_VERSION: Final = 1

_BUSY_SECONDS: Final = 60.0
_MAX_VALUE: Final = 2 * MAX_RECORD  # SQLite refuses to allocate more for any one row of a damaged file
_SCHEMA: Final = (
    "CREATE TABLE ledger (version INTEGER NOT NULL, origin TEXT NOT NULL, log_public BLOB NOT NULL)",
    "CREATE TABLE leaves (idx INTEGER PRIMARY KEY, task TEXT NOT NULL, round INTEGER NOT NULL,"
    " record BLOB NOT NULL, leaf_hash BLOB NOT NULL, UNIQUE (task, round))",
    "CREATE TABLE nodes (level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL,"
    " PRIMARY KEY (level, idx)) WITHOUT ROWID",
    "CREATE TABLE heads (size INTEGER PRIMARY KEY, root BLOB NOT NULL, signature BLOB NOT NULL)",
)
_LEAF: Final = "SELECT idx, task, round, record, leaf_hash FROM leaves"
# Not a sign of damage: somebody else holds the lock, or the file system refuses.
_ENVIRONMENT: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
    }
)

SignHead = Callable[[int, bytes], SignedHead]
"""``(size, root)`` to a head signed by the log's key."""


@dataclass(frozen=True)
class Leaf:
    """A stored leaf, whose hash has been checked.

    Attributes:
        index: place in the tree.
        task, round: as stored beside the record, for finding it.
        record: the leaf's bytes.
        hash: its leaf hash.
    """

    index: int
    task: str
    round: int
    record: bytes
    hash: bytes


@dataclass(frozen=True)
class Counts:
    """Rows of each table, and the size of the newest head; read in one statement, so they belong together."""

    leaves: int
    nodes: int
    heads: int
    size: int


class Database:
    """One connection to a ledger file, safe to share between threads; other processes have their own."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open an existing ledger.

        Raises:
            LedgerError: there is no such file, or it can't be opened.
            LedgerDamaged: not a ledger, or of an unknown schema version.
        """
        self.path = path
        self.read_only = read_only
        self._lock = threading.RLock()
        if not path.is_file():
            raise LedgerError(f"there is no ledger at {path}")
        self._db = _connect(path, "ro" if read_only else "rw")
        try:
            with self._errors():
                if read_only:
                    self._db.execute("PRAGMA query_only = ON")
                else:
                    self._db.execute("PRAGMA synchronous = FULL")
                self.origin, self.log_public = self._identify()
        except BaseException:
            self._db.close()
            raise

    @staticmethod
    def create(path: Path, origin: str, log_public: bytes, sign: SignHead) -> None:
        """Make a ledger with no leaves and a signed head of size 0, unless the file exists.

        The file appears complete or not at all, so that two processes can start at the same time.

        Raises:
            LedgerError: it can't be written.
            ConfigError: the origin can't be one.
        """
        head = sign(0, merkle.EMPTY_ROOT)
        try:
            name = path.parent / f".{path.name}-{secrets.token_hex(8)}"
            try:
                db = _connect(name, "rwc")
                try:
                    db.execute("PRAGMA journal_mode = WAL")
                    db.execute("PRAGMA synchronous = FULL")
                    db.execute("BEGIN IMMEDIATE")
                    for statement in _SCHEMA:
                        db.execute(statement)
                    db.execute("INSERT INTO ledger VALUES (?, ?, ?)", (SCHEMA_VERSION, origin, log_public))
                    db.execute("INSERT INTO heads VALUES (0, ?, ?)", (head.root, head.signature))
                    db.execute("COMMIT")
                finally:
                    db.close()
                with contextlib.suppress(FileExistsError):  # another process was faster: its ledger is the ledger
                    os.link(name, path)
                sync_directory(path.parent)
            finally:
                name.unlink(missing_ok=True)
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(f"ledger {path} can't be created: {error}") from error

    def close(self) -> None:
        """Close the connection; harmless when closed."""
        with self._lock:
            self._db.close()

    def head(self) -> SignedHead:
        """The newest signed head.

        Raises:
            LedgerDamaged: there is none, or it is malformed.
        """
        row = self._one("SELECT size, root, signature FROM heads ORDER BY size DESC LIMIT 1")
        if row is None:
            raise LedgerDamaged(f"ledger {self.path} has no signed head")
        return self._head(row)

    def head_at(self, size: int) -> SignedHead | None:
        """The signed head of a size, or None.

        Raises:
            LedgerDamaged: it is malformed.
        """
        row = self._one("SELECT size, root, signature FROM heads WHERE size = ?", size)
        return None if row is None else self._head(row)

    def leaf(self, index: int) -> Leaf | None:
        """The leaf at an index, or None.

        Raises:
            LedgerDamaged: it is malformed or does not have the stored hash.
        """
        return self._leaf(f"{_LEAF} WHERE idx = ?", index)

    def find(self, task: str, round: int) -> Leaf | None:
        """The leaf of a task's round, or None.

        Raises:
            LedgerDamaged: see ``leaf``.
        """
        return self._leaf(f"{_LEAF} WHERE task = ? AND round = ?", task, round)

    def last(self, task: str) -> Leaf | None:
        """The leaf of a task's highest round, or None.

        Raises:
            LedgerDamaged: see ``leaf``.
        """
        return self._leaf(f"{_LEAF} WHERE task = ? ORDER BY round DESC LIMIT 1", task)

    def node(self, level: int, index: int) -> bytes:
        """The root of a complete subtree: a :data:`merkle.NodeSource`.

        Raises:
            LedgerDamaged: it is missing or malformed.
        """
        if level == 0:
            row = self._one("SELECT leaf_hash FROM leaves WHERE idx = ?", index)
        else:
            row = self._one("SELECT hash FROM nodes WHERE level = ? AND idx = ?", level, index)
        if row is None or not isinstance(row[0], bytes) or len(row[0]) != merkle.HASH_BYTES:
            raise LedgerDamaged(f"tree node {index} of level {level} is missing or malformed")
        return row[0]

    def counts(self) -> Counts:
        """How much each table holds.

        Raises:
            LedgerDamaged: the file can't be read.
        """
        row = self._one(
            "SELECT (SELECT count(*) FROM leaves), (SELECT count(*) FROM nodes),"
            " (SELECT count(*) FROM heads), (SELECT max(size) FROM heads)"
        )
        if row is None or not all(isinstance(value, int) for value in row):
            raise LedgerDamaged(f"ledger {self.path} has no signed head")
        return Counts(*row)

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

    def append(self, task: str, round: int, record: bytes, sign: SignHead) -> int:
        """Add a leaf and the head that covers it, inside ``exclusive``; returns the leaf's index.

        The stored tree must lead to the stored head, and that to the log's key, before a new head is signed.
        The caller has made sure that the task's round is new.

        Raises:
            LedgerDamaged: the stored tree contradicts its head.
        """
        old = self.head()
        try:
            old.verify(self.log_public)
        except VerificationError as error:
            raise LedgerDamaged(f"the head of size {old.size} is not signed by the ledger's key") from error
        frontier = merkle.Frontier.load(old.size, self.node)
        if frontier.root() != old.root:
            raise LedgerDamaged(f"the stored tree does not have the root of its head of size {old.size}")
        leaf, *parents = frontier.push(merkle.leaf_hash(record))
        head = sign(frontier.size, frontier.root())
        with self._errors():
            self._db.execute("INSERT INTO leaves VALUES (?, ?, ?, ?, ?)", (old.size, task, round, record, leaf.hash))
            self._db.executemany("INSERT INTO nodes VALUES (?, ?, ?)", parents)
            self._db.execute("INSERT INTO heads VALUES (?, ?, ?)", (head.size, head.root, head.signature))
        return old.size

    def _identify(self) -> tuple[str, bytes]:
        """Origin and log key, if the schema is one that this version knows."""
        version = self._one("SELECT version FROM ledger")
        if version is None or version[0] != SCHEMA_VERSION:
            found = None if version is None else version[0]
            raise LedgerDamaged(f"ledger {self.path} has schema version {found}, not {SCHEMA_VERSION}")
        row = self._one("SELECT origin, log_public FROM ledger")
        if row is None or not isinstance(row[0], str) or not isinstance(row[1], bytes) or len(row[1]) != KEY_BYTES:
            raise LedgerDamaged(f"ledger {self.path} does not say which log it is")
        return row[0], row[1]

    def _one(self, query: str, *values: int | str) -> tuple[Any, ...] | None:
        with self._lock, self._errors():
            row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        return row

    def _head(self, row: tuple[Any, ...]) -> SignedHead:
        try:
            return SignedHead(self.origin, *row)
        except (ConfigError, TypeError) as error:
            raise LedgerDamaged(f"the head of size {row[0]!r} is malformed: {error}") from error

    def _leaf(self, query: str, *values: int | str) -> Leaf | None:
        row = self._one(query, *values)
        if row is None:
            return None
        leaf = Leaf(*row)
        if not isinstance(leaf.record, bytes) or merkle.leaf_hash(leaf.record) != leaf.hash:
            raise LedgerDamaged(f"record {leaf.index} does not have its stored hash")
        return leaf

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn SQLite's exceptions into the ledger's."""
        try:
            yield
        except OverflowError as error:
            raise LedgerError(f"no such place in ledger {self.path}: {error}") from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)  # absent where Python itself complains
            if isinstance(error, sqlite3.ProgrammingError):
                raise LedgerError(f"ledger {self.path}: {error}") from error
            if code is not None and code & 0xFF in _ENVIRONMENT:  # the low byte is the primary code
                raise LedgerError(f"ledger {self.path} can't be used now: {error}") from error
            raise LedgerDamaged(f"ledger {self.path} is not a ledger, or damaged: {error}") from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a file that exists; as a URI, so that no name is special."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    # Readers of a WAL file create its index beside it. Where they can't, and nobody has a log open, the file
    # itself is complete and is read as it is.
    if mode == "ro" and not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists():
        uri += "&immutable=1"
    try:
        db = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise LedgerError(f"ledger {path} can't be opened: {error}") from error
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
    db.execute("PRAGMA trusted_schema = OFF")  # nothing hidden in a stranger's file is run
    return db
