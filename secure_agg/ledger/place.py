"""Where a ledger's files lie, and the making of a new one.

Beside the database at ``path`` there are ``path.evidence/`` (what the leaves are digests of), ``path.keys/`` (the log's
signing key, private), ``path.trust.json`` (what rounds are verified against), ``path.head`` (the newest head that was
given out) and, once there is one, ``path.faults/`` (proofs of fault).
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Final

from secure_agg import files
from secure_agg.errors import FileExists, LedgerDamaged, LedgerError
from secure_agg.ledger.database import Database
from secure_agg.ledger.evidence_store import EvidenceStore
from secure_agg.ledger.faults import FaultFolder
from secure_agg.ledger.released import ReleasedHead
from secure_agg.protocol.identity import Identity, KeyDirectory
from secure_agg.roles.trust import Trust
from secure_agg.tlog.head import SignedHead

LOG_ROLE: Final = "log"
"""Role and name of the log's key in the key directory."""


class Place:
    """A ledger's database and what lies beside it; nothing is read or made by naming them.

    Attributes:
        path: of the database.
        trust: path of the trust file.
        keys: of the key directory, where the log's key is among others.
        evidence: the store.
        released: the newest head that was given out.
        faults: proofs of fault.
    """

    def __init__(self, path: Path) -> None:
        """``path`` is that of the database."""
        self.path = path
        self.trust = Path(f"{path}.trust.json")
        self.keys = Path(f"{path}.keys")
        self.evidence = EvidenceStore(Path(f"{path}.evidence"))
        self.released = ReleasedHead(Path(f"{path}.head"))
        self.faults = FaultFolder(Path(f"{path}.faults"))

    def prepare(self, origin: str | None) -> Identity:
        """The log's key, and a database; both are made where there is neither.

        Args:
            origin: the log's unique name, for a new one; by default made from its public key.

        Raises:
            LedgerError: it can't be made, or there is a database and no key.
            LedgerDamaged: there is a trust file that names a log, and no database.
            ConfigError: the origin can't be one.
        """
        self._check()
        # In this order: a trust file is only written once its database is there.
        trusted = self.trust.exists() and Trust.load(self.trust).log is not None
        exists = self.path.exists()
        if trusted and not exists:
            raise LedgerDamaged(
                f"{self.trust} is of a ledger that is gone: bring {self.path} back, or move the file; "
                "an empty ledger under the same key would sign a second history"
            )
        keys = KeyDirectory(self.keys)
        known = keys.find(LOG_ROLE, LOG_ROLE)
        if exists:
            if known is None:
                raise LedgerError(f"the signing key of ledger {self.path} is not in {self.keys}")
            return known
        identity = Identity.generate(LOG_ROLE) if known is None else known
        name = origin or f"secure-agg/{hashlib.sha256(identity.public).hexdigest()[:16]}"
        try:
            with files.failing(self.path, LedgerError), files.folders(self.path.parent):
                Database.create(
                    self.path,
                    name,
                    identity.public,
                    lambda size, root: SignedHead.sign(identity, name, size, root),
                    before=functools.partial(keys.add, LOG_ROLE, identity) if known is None else None,
                )
        except FileExists:  # another process was faster: its key is the key
            return self.prepare(origin)
        return identity

    def _check(self) -> None:
        """See that a ledger can lie where it is asked for, before anything is written."""
        if not self.path.name or "\0" in str(self.path):
            raise LedgerError(f"a ledger is a file, and {str(self.path)!r} names none")
        with files.failing(self.path, LedgerError):
            if self.path.is_dir():
                raise LedgerError(f"{self.path} is a folder: a ledger is a file, choose a name in it")
            if self.path.exists() and not self.path.is_file():
                raise LedgerError(f"{self.path} is no file that a ledger could be")
            place = self.path.parent
            while not place.exists() and place != place.parent:
                place = place.parent
            if not place.is_dir():
                raise LedgerError(f"ledger {self.path} can't be made: {place} is no folder")
