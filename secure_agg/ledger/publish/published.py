"""A log as its operator publishes it (C2SP tlog-tiles), read for an audit. Nothing that comes is believed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final, Protocol

from secure_agg.errors import LedgerDamaged, TrustError, VerificationError
from secure_agg.ledger.tables import Leaf
from secure_agg.protocol.epoch import read_leaf
from secure_agg.protocol.epoch.record import filed_under
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import MAX_NOTE, Note, VerifierKey
from secure_agg.tlog.tiles import CHECKPOINT, HEIGHT, MAX_BUNDLE, WIDTH, Tile, decode_bundle, decode_tile, evidence_path
from zk.merkle import HASH_BYTES, Node, leaf_hash

MAX_EVIDENCE: Final = 1 << 30
"""Most bytes of one round's evidence by default: 250 million parameters. It is held in memory."""


class Files(Protocol):
    """Where a publication's files come from: a web server, or a directory."""

    def get(self, path: str, limit: int) -> bytes | None:
        """A file's content, at most ``limit`` bytes; None where there is none."""


class PublishedSource:
    """A publication as the source of an audit, at the checkpoint that was published when it was opened."""

    def __init__(self, files: Files, *, max_evidence: int = MAX_EVIDENCE) -> None:
        """
        Args:
            files: below the log's URL prefix.
            max_evidence: most bytes of one round's evidence.

        Raises:
            LedgerError: no answer.
            LedgerDamaged: there is no checkpoint, or it is malformed.
        """
        self._files = files
        self._max_evidence = max_evidence
        data = files.get(CHECKPOINT, MAX_NOTE)
        if data is None:
            raise LedgerDamaged("no checkpoint is published here")
        try:
            self._note = Note.from_bytes(data)
            self._head = Checkpoint.parse(self._note.text)
        except VerificationError as error:
            raise LedgerDamaged(f"the published checkpoint: {error}") from error
        self._bundle: tuple[int, tuple[bytes, ...]] = (-1, ())
        self._tiles: dict[int, tuple[int, tuple[bytes, ...]]] = {}

    @property
    def origin(self) -> str:
        """As the checkpoint states it."""
        return self._head.origin

    def begin(self, log: bytes) -> int:
        """See ``Source``: the checkpoint's size, if the log has signed it."""
        try:
            SignedHead.from_note(self._note, VerifierKey(self.origin, log))
        except VerificationError as error:
            raise TrustError(f"the published checkpoint is not the pinned log's: {error}") from error
        return self._head.size

    def checkpoint(self) -> Note:
        """See ``Source``."""
        return self._note

    def leaf(self, index: int) -> Leaf:
        """See ``Source``."""
        bundle = index // WIDTH
        if self._bundle[0] != bundle:
            tile = self._tile(0, bundle)
            data = self._get(tile, entries=True)
            try:
                self._bundle = (bundle, decode_bundle(data, tile.width))
            except VerificationError as error:
                raise LedgerDamaged(f"{tile.entries_path}: {error}") from error
        data = self._bundle[1][index % WIDTH]
        try:
            record = read_leaf(data)
        except VerificationError as error:
            raise LedgerDamaged(f"record {index}: {error}") from error
        return Leaf(index, record.task, filed_under(record), data, leaf_hash(data))

    def check_node(self, node: Node) -> None:
        """See ``Source``: every eighth level is published."""
        level, between = divmod(node.level, HEIGHT)
        if between:
            return
        index = node.position // WIDTH
        tile = self._tile(level, index)
        if self._tiles.get(level, (-1,))[0] != index:
            try:
                self._tiles[level] = (index, decode_tile(self._get(tile), tile.width))
            except VerificationError as error:
                raise LedgerDamaged(f"{tile.path}: {error}") from error
        if self._tiles[level][1][node.position % WIDTH] != node.hash:
            raise LedgerDamaged(f"{tile.path}: hash {node.position % WIDTH} is not over the log's records")

    def check_head(self, size: int, root: bytes) -> None:
        """See ``Source``: only the newest head is published."""
        if size == self._head.size and root != self._head.root:
            raise LedgerDamaged(f"the published checkpoint has another root than the {size} records")

    def evidence(self, digest: bytes) -> bytes:
        """See ``Source``."""
        path = evidence_path(digest)
        data = self._files.get(path, self._max_evidence)
        if data is None:
            raise LedgerDamaged(f"{path} is missing")
        if hashlib.sha256(data).digest() != digest:
            raise LedgerDamaged(f"{path} has other content than its name says")
        return data

    def _tile(self, level: int, index: int) -> Tile:
        """The tile as it has to be at the checkpoint's size."""
        hashes = self._head.size >> level * HEIGHT
        return Tile(level, index, min(WIDTH, hashes - index * WIDTH))

    def _get(self, tile: Tile, *, entries: bool = False) -> bytes:
        """A tile or bundle; where a partial one is gone the full one, which may have replaced it meanwhile."""
        limit = MAX_BUNDLE if entries else WIDTH * HASH_BYTES
        for wanted in (tile, replace(tile, width=WIDTH)):
            data = self._files.get(wanted.entries_path if entries else wanted.path, limit)
            if data is not None:
                return data
        raise LedgerDamaged(f"{tile.entries_path if entries else tile.path} is missing")
