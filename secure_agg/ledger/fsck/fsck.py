"""``fsck``: what is wrong with a ledger's files, in plain words, and what can be put right.

Nothing is invented: a repair writes what follows from the records, or what a signature or a hash in the ledger proves
to have been there, and removes what no ledger needs. fsck signs nothing, and verifies no round: that is for an audit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from secure_agg import files
from secure_agg.errors import ConfigError, LedgerDamaged, LedgerError, VerificationError
from secure_agg.ledger.database import Database
from secure_agg.ledger.evidence_store import TEMPORARY
from secure_agg.ledger.fsck.report import Findings, FsckReport
from secure_agg.ledger.fsck.tree import TreeCheck
from secure_agg.ledger.place import LOG_ROLE, Place
from secure_agg.protocol.identity import Identity, KeyDirectory
from secure_agg.roles.trust import Trust
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import VerifierKey

_COPY: Final = "bring back a copy of the ledger's files that is whole; fsck it too"
# What SQLite's check says of an index that does not fit its table; the table is what counts.
_INDEX_ONLY: Final = re.compile(r"row \d+ missing from index .*|wrong # of entries in index .*|non-unique entry in .*")


def fsck(path: str | Path, *, repair: bool = False, progress: Callable[[int, int], None] | None = None) -> FsckReport:
    """Examine a ledger's files.

    Memory grows by one digest per record.

    Args:
        path: of the database.
        repair: put right what can be; other writers are kept out meanwhile. Otherwise nothing is changed.
        progress: called with (records done, records).

    Raises:
        LedgerError: there is no ledger, it can't be opened, or another process has held the lock for a minute.
    """
    return _Fsck(Path(path), Findings(repair)).run(progress)


class _Fsck:
    def __init__(self, path: Path, findings: Findings) -> None:
        self._path = path
        self._findings = findings
        place = Place(path)
        self._store = place.evidence
        self._trust = place.trust
        self._keys = place.keys
        self._released = place.released
        self._unreadable = ""

    def run(self, progress: Callable[[int, int], None] | None) -> FsckReport:
        tree: TreeCheck | None = None
        if not self._path.exists():
            if not (self._trust.exists() or self._store.path.exists()):
                raise LedgerError(f"there is no ledger at {self._path}")
            self._findings.damage(
                str(self._path),
                "the database is gone; the files beside it are of a ledger that was here",
                "bring it back from a copy. Don't begin anew under the same key: that would be a second history",
            )
        else:
            tree = self._check_database(progress)
        whole = tree is not None and tree.root is not None
        size = tree.size if tree is not None and whole else None
        return FsckReport(size, tree.root if tree is not None else None, tuple(self._findings.items))

    def _check_database(self, progress: Callable[[int, int], None] | None) -> TreeCheck | None:
        wal = Path(f"{self._path}-wal")
        if wal.exists() and wal.stat().st_size:
            self._findings.note(
                str(wal),
                "a process that had the ledger open has not closed it, or still runs; what it committed counts",
                "keep the file with the database; the next process that closes the ledger merges it",
            )
        repair = self._findings.repair
        try:
            database = Database(self._path, read_only=not repair, untouched=not repair)
        except LedgerDamaged as error:
            self._findings.damage(str(self._path), str(error), _COPY)
            return None
        try:
            # Read before the database, which is never behind it.
            log = VerifierKey(database.origin, database.log_public)
            released = self._read_released(log)
            try:
                with database.exclusive() if repair else database.snapshot():
                    tree = self._check_content(database, log, released, progress)
            except BaseException:
                self._findings.undo()
                raise
            self._check_trust(database, log)
            self._check_key(database)
            return tree
        except LedgerDamaged as error:
            self._findings.damage(str(self._path), str(error), _COPY)
            return None
        except ConfigError as error:
            self._findings.damage(str(self._path), f"it does not say which log it is: {error}", _COPY)
            return None
        finally:
            database.close()

    def _check_content(
        self,
        database: Database,
        log: VerifierKey,
        released: SignedHead | None,
        progress: Callable[[int, int], None] | None,
    ) -> TreeCheck | None:
        if not self._check_pages(database):
            return None
        tree = TreeCheck(database, self._store, released, self._findings)
        tree.run(progress)
        if tree.root is not None:
            self._check_evidence_files(tree)
            if released is None and (tree.size or self._unreadable):
                self._findings.tidy(
                    str(self._released.path),
                    f"{self._unreadable or 'it is missing'}; it notes the newest head that was given out, and a crash "
                    "or a power cut can do this",
                    lambda: self._released.advance(database.head(), log),
                    "the next process that opens the ledger for writing writes it anew, and so does fsck with --repair",
                )
        self._check_leftovers()
        return tree

    def _check_pages(self, database: Database) -> bool:
        """SQLite's own check; False if it finds more than an index that can be made anew."""
        complaints = [str(row[0]) for row in database.rows("PRAGMA integrity_check(20)")]
        if complaints == ["ok"]:
            return True
        if all(_INDEX_ONLY.fullmatch(complaint) for complaint in complaints):
            self._findings.mend(
                str(self._path), f"SQLite's index is wrong: {complaints[0]}", lambda: database.change("REINDEX")
            )
            return True
        for complaint in complaints:
            self._findings.damage(str(self._path), f"SQLite: {complaint}", _COPY)
        return False

    def _read_released(self, log: VerifierKey) -> SignedHead | None:
        try:
            return self._released.read(log)
        except VerificationError as error:
            self._unreadable = f"it is not a head of this log: {error}"
            return None

    def _check_evidence_files(self, tree: TreeCheck) -> None:
        """Files that no record names; those that a record names were looked at with it."""
        for path, digest in self._store.files():
            if path.name.startswith(TEMPORARY):
                continue
            if digest is None:
                self._findings.note(str(path), "not a file of the ledger's", "move it elsewhere")
            elif digest not in tree.named and digest not in tree.unfinished:
                self._findings.note(
                    str(path),
                    "evidence, or a norm proof, that no record names: the append that stored it was cut short before "
                    "it stored a record, or the record was lost",
                    "if somebody holds a receipt for it, the record was lost: bring back a copy; else remove it or "
                    "append the round again",
                )

    def _check_leftovers(self) -> None:
        """Temporary files of processes that were killed. With ``repair`` no writer is at work, so they are nobody's."""
        database = re.compile(rf"\.{re.escape(self._path.name)}-[0-9a-f]{{16}}(-wal|-shm|-journal)?")
        found = [
            entry
            for entry in sorted(self._path.parent.iterdir())
            if database.fullmatch(entry.name) or files.half_of(entry.name) == self._trust.name[: files.HALF_NAME]
        ]
        if self._keys.is_dir():  # the log's, and those of the parties of rounds that one process has played
            found += [key for key in sorted(self._keys.iterdir()) if (files.half_of(key.name) or "").endswith(".key")]
        found += [file for file, _ in self._store.files() if file.name.startswith(TEMPORARY)]
        for entry in found:
            what = "left over from a process that was killed while writing, or still being written"
            self._findings.tidy(str(entry), what, entry.unlink)

    def _check_trust(self, database: Database, log: VerifierKey) -> None:
        where = str(self._trust)
        if not self._trust.exists() and not self._keys.is_dir():
            self._findings.note(where, "neither trust file nor keys are here: this copy can be read, nothing more")
            return
        try:
            trust = Trust.load(self._trust)
        except ConfigError as error:
            self._findings.damage(where, str(error), "bring it back: it says which rosters and policies are pinned")
            return
        if trust.log != database.log_public or trust.origin not in (None, log.name):
            self._findings.damage(where, "it pins another log than this one", "bring back the ledger's own")

    def _check_key(self, database: Database) -> None:
        file = KeyDirectory(self._keys).locate(LOG_ROLE, LOG_ROLE) if self._keys.is_dir() else self._keys
        where = str(file)
        if not file.exists():
            self._findings.note(
                where, "the log's signing key is not here: this copy can be read and not be appended to"
            )
            return
        try:
            identity = Identity.load(LOG_ROLE, file)
        except (ConfigError, OSError) as error:
            self._findings.damage(where, str(error), "bring the key back, or mend its mode; nothing replaces it")
            return
        if identity.public != database.log_public:
            self._findings.damage(where, "it is the key of another log", "bring back the ledger's own")
