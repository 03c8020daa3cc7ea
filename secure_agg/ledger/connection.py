"""How the ledger's SQLite file is opened, and what SQLite's errors mean."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from secure_agg.errors import LedgerDamaged, LedgerError
from secure_agg.protocol.evidence import MAX_RECORD

BUSY_SECONDS: Final = 60.0
_MAX_VALUE: Final = 2 * MAX_RECORD  # SQLite refuses to allocate more for any one row of a damaged file
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


def connect(path: Path, *, read_only: bool, untouched: bool = False) -> sqlite3.Connection:
    """Open a file that exists; see ``Database``."""
    if not read_only:
        return _open(path, "rw")
    # Every reader of a WAL file makes an index beside it, and the last that closes the file removes it, if it may
    # write. So a reader that may write does, though not to the ledger.
    has_log = Path(f"{path}-wal").exists()
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) and not (untouched and has_log):
        db = _open(path, "rw")
    elif has_log:
        db = _open(path, "ro")
    else:  # nobody has a log open: the file itself is complete and is read as it is
        db = _open(path, "ro", "&immutable=1")
    try:
        db.execute("PRAGMA query_only = ON")
    except BaseException:
        db.close()
        raise
    return db


def create(path: Path) -> sqlite3.Connection:
    """Open a file that is made if it does not exist."""
    return _open(path, "rwc")


def _open(path: Path, mode: str, options: str = "") -> sqlite3.Connection:
    """Open a file as a URI, so that no name is special."""
    uri = f"{path.absolute().as_uri()}?mode={mode}{options}"
    try:
        db = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise LedgerError(f"ledger {path} can't be opened: {error}") from error
    try:
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
        db.execute("PRAGMA trusted_schema = OFF")  # nothing hidden in a stranger's file is run
    except BaseException:
        db.close()
        raise
    return db


def make_durable(db: sqlite3.Connection, path: Path) -> None:
    """Have every commit on the disk when it returns, and see that SQLite has agreed.

    Raises:
        LedgerError: the file system can't hold a write-ahead log, or the setting was not taken.
    """
    for pragma, value, accepted in (
        ("journal_mode", "WAL", "wal"),
        ("synchronous", "FULL", 2),
        ("fullfsync", "ON", 1),  # macOS, where fsync leaves data in the drive's cache; ignored elsewhere
        ("checkpoint_fullfsync", "ON", 1),
    ):
        db.execute(f"PRAGMA {pragma} = {value}").fetchall()
        found = db.execute(f"PRAGMA {pragma}").fetchone()
        if found is None or found[0] != accepted:
            raise LedgerError(f"ledger {path} can't be written safely: SQLite has {pragma} {found}, not {value}")


@contextlib.contextmanager
def typed_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's exceptions into the ledger's.

    Raises:
        LedgerError: somebody else holds the lock, or the file system refuses.
        LedgerDamaged: everything else.
    """
    try:
        yield
    except OverflowError as error:
        raise LedgerError(f"no such place in ledger {path}: {error}") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)  # absent where Python itself complains
        if isinstance(error, sqlite3.ProgrammingError):
            raise LedgerError(f"ledger {path}: {error}") from error
        if code is not None and code & 0xFF in _ENVIRONMENT:  # the low byte is the primary code
            raise LedgerError(f"ledger {path} can't be used now: {error}") from error
        raise LedgerDamaged(f"ledger {path} is not a ledger, or damaged: {error}") from error
