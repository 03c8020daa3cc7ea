"""What a ledger's SQLite file says: leaves, the complete subtrees over them, and one signed head for every size.

Knows trees and heads but not what a leaf means. The tables are described here; ``database`` writes them.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from secure_agg.errors import ConfigError, LedgerDamaged, LedgerError, VerificationError
from secure_agg.ledger.connection import connect, typed_errors
from secure_agg.protocol.identity import KEY_BYTES
from secure_agg.tlog.cosignature import WitnessKey
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import SignatureLine
from zk import merkle

SCHEMA_VERSION: Final = 3

SCHEMA: Final = (
    "CREATE TABLE ledger (version INTEGER NOT NULL, origin TEXT NOT NULL, log_public BLOB NOT NULL)",
    "CREATE TABLE leaves (idx INTEGER PRIMARY KEY, task TEXT NOT NULL, round INTEGER NOT NULL,"
    " record BLOB NOT NULL, leaf_hash BLOB NOT NULL, UNIQUE (task, round))",
    "CREATE TABLE nodes (level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL,"
    " PRIMARY KEY (level, idx)) WITHOUT ROWID",
    "CREATE TABLE heads (size INTEGER PRIMARY KEY, root BLOB NOT NULL, signature BLOB NOT NULL)",
    "CREATE TABLE cosignatures (size INTEGER NOT NULL, witness TEXT NOT NULL, signature BLOB NOT NULL,"
    " PRIMARY KEY (size, witness)) WITHOUT ROWID",
    # When each head was signed, by this machine's clock: nothing is signed over it, and nothing depends on it.
    "CREATE TABLE times (size INTEGER PRIMARY KEY, seconds INTEGER NOT NULL)",
    # At most one row: leaves up to this size are durable, their heads are not signed yet.
    "CREATE TABLE approved (size INTEGER PRIMARY KEY, root BLOB NOT NULL, approval BLOB NOT NULL)",
)
_LEAF: Final = "SELECT idx, task, round, record, leaf_hash FROM leaves"
_INDEX: Final = "SELECT idx FROM leaves"
_COVERED: Final = "idx < (SELECT max(size) FROM heads)"
_TASKS: Final = "SELECT task FROM leaves WHERE idx < (SELECT max(size) FROM heads) GROUP BY task ORDER BY min(idx)"


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


class Tables:
    """What can be read of a ledger file over one connection, which threads may share."""

    def __init__(self, path: Path, *, read_only: bool = False, untouched: bool = False) -> None:
        """Open an existing ledger.

        Args:
            path: of the file.
            read_only: change nothing in the ledger.
            untouched: with ``read_only``, don't even merge a write-ahead log that lies beside the file.

        Raises:
            LedgerError: there is no such file, or it can't be opened.
            LedgerDamaged: not a ledger, or of an unknown schema version.
        """
        self.path = path
        self.read_only = read_only
        self._lock = threading.RLock()
        if not path.is_file():
            raise LedgerError(f"there is no ledger at {path}")
        self._db = connect(path, read_only=read_only, untouched=untouched)
        try:
            with self._errors():
                self._check_tables()
                self.origin, self.log_public = self._identify()
        except BaseException:
            self._db.close()
            raise

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

    def signed_at(self, size: int) -> int | None:
        """When the head of a size was signed, in POSIX seconds by this ledger's own clock; None where that is lost."""
        row = self._one("SELECT seconds FROM times WHERE size = ?", size)
        return row[0] if row is not None and isinstance(row[0], int) and row[0] > 0 else None

    def cosignatures(self, head: SignedHead) -> tuple[SignatureLine, ...]:
        """The stored cosignatures of a head, verified under the keys stored with them, in the order of the keys.

        Raises:
            LedgerDamaged: one is malformed or does not verify.
        """
        with self._lock, self._errors():
            query = "SELECT witness, signature FROM cosignatures WHERE size = ? ORDER BY witness"
            rows = self._db.execute(query, (head.size,)).fetchall()
        lines = []
        for witness, signature in rows:
            try:
                key = WitnessKey.parse(witness)
                key.verify(head.checkpoint.text, signature)
            except (ConfigError, TypeError, AttributeError, VerificationError) as error:
                raise LedgerDamaged(f"a cosignature of the head of size {head.size} is malformed: {error}") from error
            lines.append(key.line(signature))
        return tuple(lines)

    def cosigned(self, least: int) -> tuple[int, ...]:
        """The sizes from ``least`` on whose heads have cosignatures, largest first."""
        with self._lock, self._errors():
            query = "SELECT DISTINCT size FROM cosignatures WHERE size >= ? ORDER BY size DESC"
            return tuple(size for (size,) in self._db.execute(query, (least,)))

    def leaf(self, index: int) -> Leaf | None:
        """The leaf at an index, or None; like all below but ``leaf_at``, of those that the newest head covers.

        Raises:
            LedgerDamaged: it is malformed or does not have the stored hash.
        """
        return self._leaf(f"{_LEAF} WHERE idx = ? AND {_COVERED}", index)

    def leaf_at(self, index: int) -> Leaf | None:
        """The same, whether or not a head covers it: for an append that was cut short."""
        return self._leaf(f"{_LEAF} WHERE idx = ?", index)

    def find(self, task: str, round: int) -> Leaf | None:
        """The leaf of a task's round, or None.

        Raises:
            LedgerDamaged: see ``leaf``.
        """
        return self._leaf(f"{_LEAF} WHERE task = ? AND round = ? AND {_COVERED}", task, round)

    def last(self, task: str) -> Leaf | None:
        """The leaf of a task's highest round, or None.

        Raises:
            LedgerDamaged: see ``leaf``.
        """
        return self._leaf(f"{_LEAF} WHERE task = ? AND round >= 0 AND {_COVERED} ORDER BY round DESC LIMIT 1", task)

    def newest(self, task: str) -> Leaf | None:
        """The newest leaf of a task, of a round or an epoch, or None.

        Raises:
            LedgerDamaged: see ``leaf``.
        """
        return self._leaf(f"{_LEAF} WHERE task = ? AND {_COVERED} ORDER BY idx DESC LIMIT 1", task)

    def indexes(self, task: str) -> tuple[int, ...]:
        """Of all leaves of a task's rounds, in their order."""
        found = self.rows(f"{_INDEX} WHERE task = ? AND round >= 0 AND {_COVERED} ORDER BY round", task)
        return tuple(index for (index,) in found)

    def epochs(self, task: str) -> tuple[int, ...]:
        """Of all leaves of a task's epochs, in their order; they are filed below all rounds."""
        found = self.rows(f"{_INDEX} WHERE task = ? AND round < 0 AND {_COVERED} ORDER BY round DESC", task)
        return tuple(index for (index,) in found)

    def tasks(self) -> tuple[str, ...]:
        """The tasks of the leaves, in the order of their first ones.

        Raises:
            LedgerDamaged: one has no name.
        """
        with self._lock, self._errors():
            found = tuple(task for (task,) in self._db.execute(_TASKS))
        if not all(isinstance(task, str) for task in found):
            raise LedgerDamaged(f"ledger {self.path} has a task whose name is no text")
        return found

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
        """How much each table holds, without what an append that was cut short has left for the next one to finish.

        Raises:
            LedgerDamaged: the file can't be read, or there is no head.
        """
        row = self._one(
            "SELECT (SELECT count(*) FROM leaves), (SELECT count(*) FROM nodes), (SELECT count(*) FROM heads),"
            " (SELECT max(size) FROM heads), (SELECT max(size) FROM approved)"
        )
        if row is None or not all(isinstance(value, int) for value in row[:4]):
            raise LedgerDamaged(f"ledger {self.path} has no signed head")
        leaves, nodes, heads, size, approved = row
        if isinstance(approved, int) and approved > size:
            leaves -= approved - size
            nodes -= _node_count(approved) - _node_count(size)
        return Counts(leaves, nodes, heads, size)

    def rows(self, query: str, *values: int | str | bytes) -> list[tuple[Any, ...]]:
        """All rows of a query, as they are stored: for looking into a file that may be damaged.

        Raises:
            LedgerDamaged: they can't be read.
        """
        with self._lock, self._errors():
            return self._db.execute(query, values).fetchall()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything that is read inside is of one moment, whatever is appended meanwhile."""
        with self._lock:
            with self._errors():
                self._db.execute("BEGIN")
            try:
                yield
            finally:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")

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

    def _check_tables(self) -> None:
        """Refuse a file that does something when it is read or written: a ledger has tables and their indices only."""
        # What has no pages of its own is a view, a trigger, or a virtual table.
        row = self._one("SELECT type, name FROM sqlite_master WHERE coalesce(rootpage, 0) = 0")
        if row is not None:
            raise LedgerDamaged(f"ledger {self.path} has the {row[0]} {row[1]!r}, which no ledger has")

    def _one(self, query: str, *values: int | str | bytes) -> tuple[Any, ...] | None:
        with self._lock, self._errors():
            row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        return row

    def _head(self, row: tuple[Any, ...]) -> SignedHead:
        try:
            if not isinstance(row[0], int):
                raise TypeError("its size is no integer")
            return SignedHead(self.origin, *row)
        except (ConfigError, TypeError) as error:
            raise LedgerDamaged(f"the head of size {row[0]!r} is malformed: {error}") from error

    def _leaf(self, query: str, *values: int | str | bytes) -> Leaf | None:
        row = self._one(query, *values)
        if row is None:
            return None
        leaf = Leaf(*row)
        if not isinstance(leaf.record, bytes) or merkle.leaf_hash(leaf.record) != leaf.hash:
            raise LedgerDamaged(f"record {leaf.index} does not have its stored hash")
        return leaf

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return typed_errors(self.path)


def _node_count(size: int) -> int:
    """Complete subtrees of two leaves and more in a tree."""
    return size - size.bit_count()
