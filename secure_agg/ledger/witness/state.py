"""What a witness must not forget: the latest checkpoint that it has cosigned of each log."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secure_agg.errors import ConfigError, LedgerDamaged, LedgerError, VerificationError
from secure_agg.files import sync
from secure_agg.ledger.connection import create, make_durable, typed_errors
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.cosignature import WitnessKey, timestamp
from secure_agg.tlog.note import Note

STATE_VERSION: Final = 1

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS witness (version INTEGER PRIMARY KEY, key TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS checkpoints (origin TEXT PRIMARY KEY, note BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS forks (origin TEXT PRIMARY KEY, proof BLOB NOT NULL)",
)


@dataclass(frozen=True)
class Cosigned:
    """The latest checkpoint of a log that this witness has cosigned.

    Attributes:
        checkpoint: that was cosigned.
        note: with the log's signature and the witness's.
        seconds: the cosignature's POSIX time.
    """

    checkpoint: Checkpoint
    note: Note
    seconds: int


class WitnessState:
    """One file, safe to share between threads and processes. What ``exclusive`` has written is on the disk when it
    ends: SQLite with a write-ahead log that is synced at every commit.
    """

    def __init__(self, path: str | Path, key: WitnessKey) -> None:
        """Open the state, or start one where there is none.

        A witness that starts anew cosigns whatever it is shown first: keep the file as carefully as the key.

        Args:
            path: of the file.
            key: the witness's own; the file is for this key only.

        Raises:
            LedgerError: the file can't be opened or written.
            LedgerDamaged: it is something else.
            ConfigError: it is another witness's.
        """
        self.path = Path(path)
        self.key = key
        self._lock = threading.RLock()
        self.is_new = not self.path.exists()
        self._db = create(self.path)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file; harmless when closed."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the one write lock, across threads and processes; durable at the end unless the body raises.

        Raises:
            LedgerError: the lock is held for too long, or the disk is full.
        """
        with self._lock:
            with typed_errors(self.path):
                self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                with typed_errors(self.path):
                    self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def latest(self, origin: str) -> Cosigned | None:
        """The latest checkpoint of a log that was cosigned, or None.

        Raises:
            LedgerDamaged: what is stored is not a checkpoint of this log under the witness's own cosignature.
        """
        data = self._one("SELECT note FROM checkpoints WHERE origin = ?", origin)
        if data is None:
            return None
        try:
            note = Note.from_bytes(data)
            ((_, line), *_) = note.verify([self.key])
            checkpoint = Checkpoint.parse(note.text)
        except VerificationError as error:
            raise LedgerDamaged(f"witness state {self.path}: the checkpoint of {origin!r}: {error}") from error
        if checkpoint.origin != origin:
            raise LedgerDamaged(f"witness state {self.path} has a checkpoint of {checkpoint.origin!r} for {origin!r}")
        return Cosigned(checkpoint, note, timestamp(line.signature))

    def keep(self, origin: str, note: Note) -> None:
        """Replace the latest checkpoint of a log, inside ``exclusive``."""
        with typed_errors(self.path):
            self._db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", (origin, note.to_bytes()))

    def fork(self, origin: str) -> bytes | None:
        """The encoded proof that a log has forked, if one was kept."""
        return self._one("SELECT proof FROM forks WHERE origin = ?", origin)

    def keep_fork(self, origin: str, proof: bytes) -> None:
        """Keep the proof that a log has forked, inside ``exclusive``; the first stays."""
        with typed_errors(self.path):
            self._db.execute("INSERT OR IGNORE INTO forks VALUES (?, ?)", (origin, proof))

    def _prepare(self) -> None:
        with typed_errors(self.path):
            make_durable(self._db, self.path)
            # A process that was killed between writing and syncing has left what reads as cosigned: sync it first.
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        with self.exclusive(), typed_errors(self.path):
            for statement in _SCHEMA:
                self._db.execute(statement)
            self._db.execute(
                "INSERT INTO witness SELECT ?, ? WHERE NOT EXISTS (SELECT * FROM witness)",
                (STATE_VERSION, str(self.key)),
            )
            rows = self._db.execute("SELECT version, key FROM witness").fetchall()
        if [version for version, _ in rows] != [STATE_VERSION]:
            raise LedgerDamaged(f"witness state {self.path} is of another version than {STATE_VERSION}")
        if rows[0][1] != str(self.key):
            raise ConfigError(f"witness state {self.path} is of the witness {rows[0][1]!r}, not {self.key}")
        try:
            sync(Path(os.path.abspath(self.path)).parent)  # the file's name, too, outlives a power cut
        except OSError as error:
            raise LedgerError(f"witness state {self.path} can't be made durable: {error}") from error

    def _one(self, query: str, origin: str) -> bytes | None:
        with self._lock, typed_errors(self.path):
            row = self._db.execute(query, (origin,)).fetchone()
        if row is None:
            return None
        if not isinstance(row[0], bytes):
            raise LedgerDamaged(f"witness state {self.path} is malformed for {origin!r}")
        return row[0]
