"""What an aggregator must not forget of a round: every answer that it has taken, and which phases it has closed.

A round is finished by the same answers over the same set, or not at all: its clients give their updates to no other.
So an aggregator writes down each answer before it says that it has it, and one that is started anew takes them all in
again, in order. Hidden vectors are the bulk of them; where a backend can say what they come to, that is kept in their
place as soon as the set is fixed. Ciphertexts, which a key holder could read one by one, are never written down.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from secure_agg.arguments import checked_class
from secure_agg.errors import StoreError
from secure_agg.protocol.evidence import CohortMember
from secure_agg.protocol.messages import Wire, decode, encode
from secure_agg.roles.memory.store import make_private, typed

_PIECE: Final = 1 << 26
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS events (place INTEGER PRIMARY KEY, kind TEXT NOT NULL, phase TEXT NOT NULL, "
    "head BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS bulks (place INTEGER, piece INTEGER, data BLOB NOT NULL, PRIMARY KEY (place, piece))",
)
_MAX_BEGUN: Final = 1 << 30

BEGUN: Final = "begun"
TAKEN: Final = "taken"
SUMMED: Final = "summed"
CLOSED: Final = "closed"
REOPENED: Final = "reopened"


class Begun(Wire, frozen=True, kw_only=True):
    """What a round has begun with.

    Attributes:
        aggregator: its id.
        config: the round's, encoded.
        cohort, operators: ids and identity keys.
        setup, renounced, convicted: see ``Aggregator``; the convicted in order.
    """

    aggregator: str
    config: bytes
    cohort: tuple[CohortMember, ...]
    operators: tuple[CohortMember, ...]
    setup: bytes
    renounced: bytes
    convicted: tuple[str, ...]


class Event(NamedTuple):
    """One thing that has happened.

    Attributes:
        kind: ``taken``, an answer; ``summed``, what all hidden vectors of a phase come to, which are gone then;
            ``closed``, a phase; ``reopened``, one in which somebody answers late.
        phase: in which.
        head: of an answer, the message without its bulk.
        bulk: of an answer, or the sum.
        whole: whether an answer still has the bulk that it came with.
    """

    kind: str
    phase: str
    head: bytes
    bulk: bytes
    whole: bool


@checked_class
class RoundLog:
    """One attempt at one round, on SQLite; each event is on disk before the call returns."""

    def __init__(self, path: str | Path = ":memory:") -> None:
        """``:memory:`` keeps nothing beyond the process: for tests.

        Raises:
            StoreError: the file can't be opened, is damaged, or is accessible to others than its owner.
        """
        self.path = None if str(path) == ":memory:" else Path(path)
        self._lock = threading.Lock()
        if self.path is not None:
            make_private(self.path)
        with typed():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60.0)
        self._closing = weakref.finalize(self, self._db.close)
        try:
            with typed():
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                for table in _SCHEMA:
                    self._db.execute(table)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"RoundLog({str(self.path or ':memory:')!r})"

    def __enter__(self) -> RoundLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; harmless when closed."""
        self._closing()

    def remove(self) -> None:
        """Close the file and delete it: the round is in the ledger, or given up for good."""
        self.close()
        if self.path is not None:
            for end in ("", "-wal", "-shm"):
                Path(f"{self.path}{end}").unlink(missing_ok=True)

    def begin(self, begun: Begun) -> None:
        """Note what the round is.

        Raises:
            StoreError: another round is written here.
        """
        known = self.begun()
        if known not in (None, begun):
            raise StoreError("another round is written in this file")
        if known is None:
            self._add(BEGUN, "", encode(begun))

    def begun(self) -> Begun | None:
        """What the round is; None where none was begun.

        Raises:
            StoreError: the file holds something else.
        """
        with self._lock, typed():
            row = self._db.execute("SELECT head FROM events WHERE kind = ? ORDER BY place", (BEGUN,)).fetchone()
        return None if row is None else decode(Begun, bytes(row[0]), _MAX_BEGUN)

    def take(self, phase: str, head: bytes, bulk: memoryview | bytes) -> None:
        """Keep an answer."""
        self._add(TAKEN, phase, head, bulk)

    def close_phase(self, phase: str) -> None:
        """Note that a phase was closed with those who have answered."""
        self._add(CLOSED, phase)

    def reopen(self, phase: str) -> None:
        """Note that somebody is asked late in a phase that was closed."""
        self._add(REOPENED, phase)

    def close_summed(self, phase: str, heads: Sequence[bytes], total: memoryview | bytes) -> None:
        """Close a phase of hidden vectors of which none is ever written down: their messages without them, and what
        they come to.
        """
        with self._lock, typed():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for head in heads:
                    self._insert(TAKEN, phase, head, b"")
                self._insert(SUMMED, phase, b"", total)  # what follows may ask for it
                self._insert(CLOSED, phase, b"", b"")
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def sum_up(self, phase: str, total: memoryview | bytes) -> None:
        """Put what the hidden vectors of a phase come to in their place."""
        with self._lock, typed():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute(
                    "DELETE FROM bulks WHERE place IN (SELECT place FROM events WHERE phase = ?)", (phase,)
                )
                self._insert(SUMMED, phase, b"", total)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def _add(self, kind: str, phase: str, head: bytes = b"", bulk: memoryview | bytes = b"") -> None:
        with self._lock, typed():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._insert(kind, phase, head, bulk)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def _insert(self, kind: str, phase: str, head: bytes, bulk: memoryview | bytes) -> None:
        insert = "INSERT INTO events (kind, phase, head) VALUES (?, ?, ?)"
        place, view = self._db.execute(insert, (kind, phase, head)).lastrowid, memoryview(bulk).cast("B")
        for piece, start in enumerate(range(0, len(view), _PIECE)):
            self._db.execute("INSERT INTO bulks VALUES (?, ?, ?)", (place, piece, view[start : start + _PIECE]))

    def events(self) -> Iterator[Event]:
        """All that has happened since the round was begun, in order."""
        with self._lock, typed():
            rows = self._db.execute(
                "SELECT place, kind, phase, head FROM events WHERE kind != ? ORDER BY place", (BEGUN,)
            ).fetchall()
        summed = {row[2] for row in rows if row[1] == SUMMED}
        for place, kind, phase, head in rows:
            with self._lock, typed():
                pieces = self._db.execute("SELECT data FROM bulks WHERE place = ? ORDER BY piece", (place,)).fetchall()
            whole = kind == TAKEN and phase not in summed
            yield Event(kind, phase, bytes(head), b"".join(bytes(piece[0]) for piece in pieces), whole)
