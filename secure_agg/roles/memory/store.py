"""The durable record of what a client has bound itself to.

Everything that must hold across restarts is a value that is written once: the attempt's secret, the
commitment hash, the session, the signed statement, the release. Writing the same value again is harmless, writing
another is refused.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Final

from mpc.framing import frame, integer
from secure_agg.arguments import checked_class
from secure_agg.errors import AlreadyReleased, StoreError

Scope = tuple[str | int, ...]
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS pins "
    "(scope BLOB, name TEXT, value BLOB NOT NULL, PRIMARY KEY (scope, name)) WITHOUT ROWID"
)

_SELECT: Final = "SELECT value FROM pins WHERE scope = ? AND name = ?"


def task_scope(client: str, task: str) -> Scope:
    """What a client is bound to, and remembers, in a task, whichever the round. In a tree it is the tree's task."""
    return client, task, "task"


@checked_class
class AttemptStore:
    """Write-once values on SQLite; each write is on disk before the call returns. Safe to share between
    threads and processes.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        """``:memory:`` keeps nothing beyond the process: for simulations, never for a deployed client.

        Raises:
            StoreError: the file can't be opened, is damaged, or is accessible to others than its owner.
        """
        self._lock = threading.Lock()
        if str(path) != ":memory:":
            make_private(Path(path))
        with typed():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60.0)
        # A client without a store of its own has one in memory, which nobody else knows of and could close.
        self._closing = weakref.finalize(self, self._db.close)
        try:
            with typed():
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("PRAGMA secure_delete = ON")  # freed pages are overwritten
                self._db.execute(_SCHEMA)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def of_bytes(pages: bytes) -> AttemptStore:
        """A store in memory that holds what ``to_bytes`` gave: the same client's, in another process of its owner.

        Raises:
            StoreError: it is no store.
        """
        store = AttemptStore()
        with typed():
            store._db.deserialize(pages)
            store._db.execute(_SCHEMA)
        return store

    def to_bytes(self) -> bytes:
        """All of it, secrets too: for processes of its owner, and nobody else.

        Raises:
            StoreError: it can't be read.
        """
        with self._lock, typed():
            return self._db.serialize()

    def __enter__(self) -> AttemptStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; harmless when closed. A store that nobody holds any more is closed by itself."""
        self._closing()

    def get(self, scope: Scope, name: str) -> bytes | None:
        """The value that stands, if any."""
        with self._lock, typed():
            row = self._db.execute(_SELECT, (_key(scope), name)).fetchone()
        return None if row is None else bytes(row[0])

    def standing(self, scope: Scope, names: Sequence[str]) -> dict[str, bytes]:
        """The values that stand under these names, by name: all as they are at one moment."""
        places = ", ".join("?" * len(names))
        with self._lock, typed():
            rows = self._db.execute(
                f"SELECT name, value FROM pins WHERE scope = ? AND name IN ({places})",  # noqa: S608 - question marks
                (_key(scope), *names),
            ).fetchall()
        return {name: bytes(value) for name, value in rows}

    def put(self, scope: Scope, name: str, value: bytes) -> bytes:
        """Write ``value`` unless one stands; return the one that stands, which is durable."""
        with self._lock, typed():
            key = _key(scope)
            if self._db.execute("INSERT OR IGNORE INTO pins VALUES (?, ?, ?)", (key, name, value)).rowcount:
                return bytes(value)
            row = self._db.execute(_SELECT, (key, name)).fetchone()
        return bytes(row[0])

    def pin(self, scope: Scope, name: str, value: bytes, *, phase: str) -> None:
        """Bind to ``value``.

        Raises:
            AlreadyReleased: bound to another one before.
        """
        if self.put(scope, name, value) != value:
            raise AlreadyReleased(f"this client is bound to another {name} in this attempt", phase=phase)

    def bind(self, scope: Scope, values: Mapping[str, bytes], *, unless: Mapping[str, str], phase: str) -> None:
        """Bind to several values at once, all of them or none, in one transaction: what excludes each other can't both
        be bound, whatever threads and processes try.

        Args:
            values: by name.
            unless: names that must not be bound to anything, each with what that would mean.

        Raises:
            AlreadyReleased: one of those is bound, or a value is another one than before.
        """
        key, why = _key(scope), ""
        with self._lock, typed():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                why = next((said for name, said in unless.items() if self._standing(key, name) is not None), "")
                for name, value in values.items():
                    if not why and self._standing(key, name) not in (None, value):
                        why = f"this party is bound to another {name}"
                if not why:
                    self._db.executemany(
                        "INSERT OR IGNORE INTO pins VALUES (?, ?, ?)",
                        [(key, name, value) for name, value in values.items()],
                    )
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        if why:
            raise AlreadyReleased(why, phase=phase)

    def _standing(self, key: bytes, name: str) -> bytes | None:
        row = self._db.execute(_SELECT, (key, name)).fetchone()
        return None if row is None else bytes(row[0])

    def names(self, scope: Scope, beginning: str) -> tuple[str, ...]:
        """What is bound under names that begin so, in order."""
        with self._lock, typed():
            rows = self._db.execute(
                "SELECT name FROM pins WHERE scope = ? AND substr(name, 1, ?) = ? ORDER BY name",
                (_key(scope), len(beginning), beginning),
            ).fetchall()
        return tuple(row[0] for row in rows)

    def claim(self, scope: Scope, name: str, *, phase: str) -> None:
        """Do something once.

        Raises:
            AlreadyReleased: it was claimed before, by this process or an earlier one.
        """
        with self._lock, typed():
            done = self._db.execute("INSERT OR IGNORE INTO pins VALUES (?, ?, x'')", (_key(scope), name)).rowcount
        if not done:
            raise AlreadyReleased(f"{name} was given out before", phase=phase)

    def forget(self, scope: Scope, *names: str) -> None:
        """Erase secrets when their round is over, in the file and its log (file systems may keep copies)."""
        with self._lock, typed():
            for name in names:
                self._db.execute("DELETE FROM pins WHERE scope = ? AND name = ?", (_key(scope), name))
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


class _Typed:
    """See ``typed``; it keeps nothing, so that one serves all."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"the attempt store failed: {error}") from error


_TYPED: Final = _Typed()


def typed() -> AbstractContextManager[None]:
    """What SQLite raises as a typed error: a ``StoreError`` instead of it."""
    return _TYPED


def make_private(path: Path) -> None:
    """Create the file for its owner alone, before SQLite does; its log takes over the mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        reason = getattr(error, "strerror", error)
        raise StoreError(f"attempt store {path} can't be opened: {reason}") from error
    if mode & 0o077:
        raise StoreError(f"attempt store {path} is accessible to others: chmod 600 it")


@functools.lru_cache(maxsize=1024)
def _key(scope: Scope) -> bytes:
    parts = (part.encode() if isinstance(part, str) else integer(part) for part in scope)
    return frame("scope", *parts)
