"""The newest head that a ledger has given out, in a small file beside it.

The database can fall behind what was acknowledged without a trace of it inside: its write-ahead log is cut off or
overwritten, or an old copy is brought back. Appending to it then would sign a second history. The file shows it: it
is written after the head is durable, so it is never ahead of a database that has kept everything.

It is written in place and not synced. After a crash it may be older than the database, or half of it written; then it
says less, never something wrong, and the next process that opens the ledger for writing writes it anew.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from secure_agg.errors import LedgerDamaged, LedgerError, VerificationError
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import MAX_NOTE, Note, VerifierKey


class ReleasedHead:
    """The file ``path``: a checkpoint note with the log's signature."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or created yet."""
        self.path = path
        self._verified: tuple[bytes, SignedHead] | None = None  # what the file held when it was last looked at

    def read(self, log: VerifierKey) -> SignedHead | None:
        """The head in the file; None where there is none.

        Raises:
            VerificationError: the file holds something else, or the head of another log.
            LedgerError: it can't be read.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_NOTE + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LedgerError(f"{self.path} can't be read: {error.strerror}") from error
        if self._verified is None or self._verified[0] != data:
            self._verified = data, SignedHead.from_note(Note.from_bytes(data), log)
        return self._verified[1]

    def advance(self, head: SignedHead, log: VerifierKey) -> None:
        """Write a head that is durable in the database, unless the file has a later one.

        A failure is no failure of the append, which is durable: the file says less until the next one.
        """
        try:
            old = self.read(log)
        except (VerificationError, LedgerError):
            old = None
        if old is not None and old.size >= head.size:
            return
        data = head.note(log.public).to_bytes()
        with contextlib.suppress(OSError):  # in place: replacing a file makes some file systems wait for the disk
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if os.pwrite(descriptor, data, 0) == len(data) < os.fstat(descriptor).st_size:
                    os.ftruncate(descriptor, len(data))
                self._verified = data, head
            finally:
                os.close(descriptor)


def check_released(released: SignedHead | None, newest: SignedHead, same_size: SignedHead | None) -> None:
    """Compare the head that was given out with what the database holds.

    Args:
        released: read from the file before the database was.
        newest: the database's newest head.
        same_size: the database's head of the released size, if it has one.

    Raises:
        LedgerDamaged: the database has fallen behind it, or has another root of that size.
    """
    if released is None:
        return
    if newest.size < released.size:
        raise LedgerDamaged(
            f"the database ends at {newest.size} records, but a head of {released.size} was given out: records were "
            "lost, or an old copy was brought back"
        )
    if same_size is None or same_size.root != released.root:
        raise LedgerDamaged(f"the database's head of size {released.size} is not the one that was given out")
