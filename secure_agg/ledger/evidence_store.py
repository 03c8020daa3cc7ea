"""Evidence on disk, named by its content: large files beside the database. A leaf holds the digest."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from secure_agg import files
from secure_agg.errors import LedgerDamaged, LedgerError, LedgerRefused

TEMPORARY: Final = ".new-"
"""How the name of a file begins that is not whole yet."""

MAX_EVIDENCE: Final = (1 << 32) - 1
"""Most bytes of one evidence: what a MessagePack byte string can hold."""


_BEGINNING: Final = 64
_NAME: Final = re.compile(r"[0-9a-f]{64}")


class EvidenceStore:
    """Files named by the SHA-256 of their content, in ``ab/abcd….evidence`` below one directory.

    A file appears whole and durable or not at all. Writing the same content twice is harmless, also at once.
    """

    def __init__(self, path: Path, limit: int = MAX_EVIDENCE) -> None:
        """Nothing is created before the first ``put``. ``limit`` is in bytes per file."""
        self.path = path
        self.limit = limit
        self._durable: set[Path] = set()  # directories whose names this process knows to be on the disk

    def locate(self, digest: bytes) -> Path:
        """Where the evidence with this digest (32 bytes) lies, or would."""
        name = digest.hex()
        return self.path / name[:2] / f"{name}.evidence"

    def put(self, data: bytes) -> bytes:
        """Store durably; returns the digest. Raises as ``put_all``."""
        return self.put_all([data])[0]

    def put_all(self, contents: Sequence[bytes]) -> list[bytes]:
        """Store several contents durably; returns their digests. On an error some may have been stored.

        Raises:
            LedgerRefused: one is longer than the limit. Nothing was stored.
            LedgerError: a file can't be written.
        """
        for data in contents:
            if len(data) > self.limit:
                raise LedgerRefused(f"the evidence has {len(data)} bytes, above {self.limit}")
        digests = [hashlib.sha256(data).digest() for data in contents]
        try:
            for digest, data in zip(digests, contents, strict=True):
                self._write(self.locate(digest), data)
            for directory in {self.locate(digest).parent for digest in digests}:
                files.sync(directory)
        except OSError as error:
            raise LedgerError(f"evidence can't be written to {self.path}: {error}") from error
        return digests

    def begins(self, digest: bytes, like: Callable[[bytes], bool]) -> bool:
        """Whether there is evidence with this digest, and its first bytes are like that."""
        try:
            with self.locate(digest).open("rb") as file:
                return like(file.read(_BEGINNING))
        except OSError:
            return False

    def files(self) -> Iterator[tuple[Path, bytes | None]]:
        """Every file in the store with the digest that it is named by; None for a file with any other name."""
        for path in sorted(self.path.rglob("*")):
            if path.is_file() or path.is_symlink():
                name = path.name.removesuffix(".evidence")
                digest = bytes.fromhex(name) if _NAME.fullmatch(name) else None
                yield path, digest if digest is not None and path == self.locate(digest) else None

    def _write(self, target: Path, data: bytes) -> None:
        """The file with durable content; its name is not durable yet."""
        self._make_directory(target.parent)
        with files.whole(target, half=f"{TEMPORARY}{secrets.token_hex(8)}") as file:
            file.write(data)

    def _make_directory(self, path: Path) -> None:
        """Create a directory and its parents, each durably in its own parent.

        One that is there already may be so in memory only, if whoever made it was cut short.
        """
        if path in self._durable:
            return
        if path != self.path:
            self._make_directory(path.parent)
        elif not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        path.mkdir(exist_ok=True)
        files.sync(path.parent)
        self._durable.add(path)

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
