"""Evidence on disk, named by its content: large files beside the database. A leaf holds the digest."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

from secure_agg.errors import LedgerDamaged, LedgerError, LedgerRefused

MAX_EVIDENCE: Final = (1 << 32) - 1
"""Most bytes of one evidence: what a MessagePack byte string can hold."""


class EvidenceStore:
    """Files named by the SHA-256 of their content, in ``ab/cd/abcd….evidence`` below one directory.

    A file appears whole and durable or not at all. Writing the same content twice is harmless, also at once.
    """

    def __init__(self, path: Path, limit: int = MAX_EVIDENCE) -> None:
        """Nothing is created before the first ``put``. ``limit`` is in bytes per file."""
        self.path = path
        self.limit = limit

    def locate(self, digest: bytes) -> Path:
        """Where the evidence with this digest (32 bytes) lies, or would."""
        name = digest.hex()
        return self.path / name[:2] / name[2:4] / f"{name}.evidence"

    def put(self, data: bytes) -> bytes:
        """Store durably; returns the digest.

        Raises:
            LedgerRefused: longer than the limit.
            LedgerError: the file can't be written.
        """
        if len(data) > self.limit:
            raise LedgerRefused(f"the evidence has {len(data)} bytes, above {self.limit}")
        digest = hashlib.sha256(data).digest()
        target = self.locate(digest)
        try:
            _make_durable_directory(target.parent)
            name = target.parent / f".new-{secrets.token_hex(8)}"
            try:
                with name.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, target)
            finally:
                name.unlink(missing_ok=True)
            sync_directory(target.parent)
        except OSError as error:
            raise LedgerError(f"evidence {digest.hex()} can't be written: {error}") from error
        return digest

    def get(self, digest: bytes) -> bytes:
        """The content with this SHA-256 (32 bytes), checked.

        Raises:
            LedgerDamaged: missing, unreadable, longer than the limit, or changed.
        """
        path = self.locate(digest)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > self.limit:
                    raise LedgerDamaged(f"evidence file {path} has {size} bytes, above {self.limit}")
                data = file.read(size)
        except FileNotFoundError:
            raise LedgerDamaged(f"evidence file {path} is missing") from None
        except OSError as error:
            raise LedgerDamaged(f"evidence file {path} can't be read: {error}") from error
        if hashlib.sha256(data).digest() != digest:
            raise LedgerDamaged(f"evidence file {path} has other content than its name says")
        return data


def sync_directory(path: Path) -> None:
    """Make names created in, or removed from, a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_durable_directory(path: Path) -> None:
    """Create a directory and its parents, each synced into its own parent."""
    if not path.is_dir():
        _make_durable_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)
