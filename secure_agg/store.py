"""The durable record of what a client has bound itself to.

Everything that must hold across restarts is a value that is written once: the attempt's secret, the
    commitment hash, the session, the
signed statement, the release. Writing the same value again is harmless, writing another is refused.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Final

from mpc.framing import frame, integer
from secure_agg.errors import AlreadyReleased

Scope = tuple[str | int, ...]
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS pins "
    "(scope BLOB, name TEXT, value BLOB NOT NULL, PRIMARY KEY (scope, name)) WITHOUT ROWID"
)


class AttemptStore:
    """Write-once values on SQLite; each write is on disk before the call returns. Safe to share between
    threads and processes.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        """``:memory:`` keeps nothing beyond the process: for simulations, never for a deployed client."""
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA secure_delete = ON")  # forgotten secrets are overwritten
        self._db.execute(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, scope: Scope, name: str) -> bytes | None:
        """The value that stands, if any."""
        with self._lock:
            row = self._db.execute(
                "SELECT value FROM pins WHERE scope = ? AND name = ?", (_key(scope), name)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, scope: Scope, name: str, value: bytes) -> bytes:
        """Write ``value`` unless one stands; return the one that stands, which is durable."""
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO pins VALUES (?, ?, ?)", (_key(scope), name, value))
            row = self._db.execute(
                "SELECT value FROM pins WHERE scope = ? AND name = ?", (_key(scope), name)
            ).fetchone()
        return bytes(row[0])

    def pin(self, scope: Scope, name: str, value: bytes, *, phase: str) -> None:
        """Bind to ``value``.

        Raises:
            AlreadyReleased: bound to another one before.
        """
        if self.put(scope, name, value) != value:
            raise AlreadyReleased(f"this client is bound to another {name} in this attempt", phase=phase)

    def claim(self, scope: Scope, name: str, *, phase: str) -> None:
        """Do something once.

        Raises:
            AlreadyReleased: it was claimed before, by this process or an earlier one.
        """
        with self._lock:
            done = self._db.execute("INSERT OR IGNORE INTO pins VALUES (?, ?, x'')", (_key(scope), name)).rowcount
        if not done:
            raise AlreadyReleased(f"{name} was given out before in this attempt", phase=phase)

    def forget(self, scope: Scope, name: str) -> None:
        """Erase a secret when its round is over (best effort: Python and file systems keep copies)."""
        with self._lock:
            self._db.execute("DELETE FROM pins WHERE scope = ? AND name = ?", (_key(scope), name))


def _key(scope: Scope) -> bytes:
    parts = (part.encode() if isinstance(part, str) else integer(part) for part in scope)
    return frame("scope", *parts)
