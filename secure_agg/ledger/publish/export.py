"""Writing a ledger as static files (C2SP tlog-tiles), with its evidence, for any web server to serve.

What is there stays: files are added, and the checkpoint, written last, is the only one that is replaced. A reader of
the old checkpoint finds all it needs while a new one is being written; a crash leaves the old one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secure_agg import locks
from secure_agg.errors import ConfigError, LedgerDamaged, LedgerError, LedgerRefused, VerificationError
from secure_agg.files import sync, whole
from secure_agg.ledger.chain import as_round, read_record
from secure_agg.ledger.evidence_store import EvidenceStore
from secure_agg.ledger.tables import Leaf, Tables
from secure_agg.protocol.tree.evidence import TreeEvidence, named_contents
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import MAX_NOTE, Note, VerifierKey
from secure_agg.tlog.tiles import CHECKPOINT, HEIGHT, MAX_ENTRY, WIDTH, Tile, encode_bundle, tiles
from zk import merkle

_BEFORE_CHECKPOINT: Final = {"tile", "evidence", f".{CHECKPOINT}.new"}
"""What a first export that was cut off leaves."""


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        size: records under the checkpoint that is published now.
        since: records under the one that was published before, 0 for none.
        files: written, the checkpoint included.
        bytes: in them.
    """

    size: int
    since: int
    files: int
    bytes: int


class _Directory:
    """Writes files whole; counts them, and remembers which directories have names that are not durable yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = 0
        self.bytes = 0
        self._unsynced: set[Path] = set()

    def write(self, name: str, data: bytes) -> None:
        target = self.path / name
        self._make(target.parent)
        with whole(target, half=f".{target.name}.new") as file:  # one export runs at a time: what is there is a crash's
            file.write(data)
        self._unsynced.add(target.parent)
        self.files += 1
        self.bytes += len(data)

    def sync(self) -> None:
        for directory in self._unsynced:
            sync(directory)
        self._unsynced.clear()

    def _make(self, path: Path) -> None:
        if not path.is_dir():
            self._make(path.parent)
            path.mkdir()
            self._unsynced.add(path.parent)


def export(
    database: Tables,
    evidence_store: EvidenceStore,
    newest: Callable[[], bytes],
    directory: Path,
    *,
    with_evidence: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Publish a ledger in a directory, or bring one that is published there up to date.

    Writes only what the checkpoint in the directory does not cover. To write everything again, remove that
    checkpoint first. Partial tiles are removed once their full tile is published.

    Args:
        database: the ledger's file.
        evidence_store: its evidence.
        newest: gives the ledger's newest checkpoint, a note with the log's signature. Asked once other exports are
            kept out: of two at once the later must not bring an older checkpoint.
        directory: made where it is missing; holds nothing else.
        with_evidence: publish the evidence too. Without it nobody else can verify the rounds.
        progress: called with (records done, records).

    Raises:
        ConfigError: the directory holds another log, or files of something else.
        LedgerDamaged: the ledger has a gap, or what is published contradicts it.
        LedgerRefused: a record of more than 65535 bytes, which the format can't hold.
        LedgerError: a file can't be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory):
            checkpoint = newest()
            head = _read_checkpoint(checkpoint, database)
            if merkle.Frontier.load(head.size, database.node).root() != head.root:
                raise LedgerDamaged(f"the stored tree does not have the root of its checkpoint of size {head.size}")
            old = _published(directory, database, head)
            since = old.size if old else 0
            files = _Directory(directory)
            new = list(tiles(head.size, since))
            for tile in new:
                files.write(tile.path, b"".join(_hashes(tile, database)))
                if tile.level == 0:
                    files.write(tile.entries_path, encode_bundle([_entry(leaf) for leaf in _leaves(tile, database)]))
            if with_evidence:
                _copy_evidence(database, evidence_store, files, since, head.size, progress)
            files.sync()
            if _current(directory) != checkpoint:
                files.write(CHECKPOINT, checkpoint)
                files.sync()
            for tile in new:
                if tile.width == WIDTH:
                    _remove_partial(directory / tile.path)
                    if tile.level == 0:
                        _remove_partial(directory / tile.entries_path)
    except OSError as error:
        raise LedgerError(f"{directory} can't be written: {error}") from error
    return ExportReport(head.size, since, files.files, files.bytes)


def _read_checkpoint(data: bytes, database: Tables) -> SignedHead:
    """The head in a checkpoint that is signed by the ledger's log key."""
    return SignedHead.from_note(Note.from_bytes(data), VerifierKey(database.origin, database.log_public))


def _current(directory: Path) -> bytes | None:
    """The published checkpoint as it is, or None."""
    try:
        with (directory / CHECKPOINT).open("rb") as file:
            return file.read(MAX_NOTE + 1)
    except FileNotFoundError:
        return None


def _published(directory: Path, database: Tables, head: SignedHead) -> SignedHead | None:
    """The published checkpoint if it is of this log and its tree the beginning of the one under ``head``."""
    data = _current(directory)
    if data is None:
        strange = sorted({entry.name for entry in directory.iterdir()} - _BEFORE_CHECKPOINT)
        if strange:
            raise ConfigError(f"{directory} holds {strange[0]!r} and no checkpoint: choose a new directory")
        return None
    try:
        old = _read_checkpoint(data, database)
    except VerificationError as error:
        raise ConfigError(f"{directory / CHECKPOINT} is not of this ledger: {error}") from error
    if old.size > head.size:
        raise LedgerDamaged(f"{old.size} records are published in {directory}, the ledger has only {head.size}")
    if merkle.Frontier.load(old.size, database.node).root() != old.root:
        raise LedgerDamaged(f"the {old.size} records published in {directory} are not the first of the ledger's")
    return old


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other exports out: the later one must not bring back an older checkpoint."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        locks.hold(descriptor)
        yield
    finally:
        os.close(descriptor)


def _remove_partial(full: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(f"{full}.p")


def _hashes(tile: Tile, database: Tables) -> Iterator[bytes]:
    begin = tile.index * WIDTH
    return (database.node(tile.level * HEIGHT, place) for place in range(begin, begin + tile.width))


def _leaves(tile: Tile, database: Tables) -> Iterator[Leaf]:
    begin = tile.index * WIDTH
    return (_leaf(database, place) for place in range(begin, begin + tile.width))


def _leaf(database: Tables, index: int) -> Leaf:
    leaf = database.leaf(index)
    if leaf is None:
        raise LedgerDamaged(f"record {index} is missing")
    return leaf


def _entry(leaf: Leaf) -> bytes:
    if len(leaf.record) > MAX_ENTRY:
        raise LedgerRefused(f"record {leaf.index} has {len(leaf.record)} bytes, tlog-tiles allow {MAX_ENTRY}")
    return leaf.record


def _copy_evidence(
    database: Tables,
    source: EvidenceStore,
    files: _Directory,
    since: int,
    size: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    target = EvidenceStore(files.path / "evidence")
    if since and not target.locate(read_record(_leaf(database, since - 1)).evidence).exists():
        since = 0  # the last export was without evidence
    for index in range(since, size):
        record = read_record(_leaf(database, index))
        digest = record.evidence
        if not target.locate(digest).exists():
            data = source.get(digest)
            round = as_round(record)
            named = named_contents(data) if round and (round.norm_bound or TreeEvidence.is_one(data)) else ()
            for content in (*map(source.get, named), data):  # whoever finds the evidence finds all that it names
                target.put(content)
                files.files += 1
                files.bytes += len(content)
        if progress is not None:
            progress(index + 1, size)
