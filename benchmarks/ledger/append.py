"""What an append costs, beside what the disk itself takes for writes that are synced.

A few rounds are really run first. Where the verification counts they are replayed into a fresh ledger; elsewhere
records like theirs are appended, each after the other, with evidence of their size.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Final

import numpy as np
from msgspec.structs import replace

from benchmarks.results import Row, Target
from benchmarks.timing import Samples, interleaved
from secure_agg.ledger.log import Ledger
from secure_agg.local.aggregate import aggregate
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.evidence import Evidence, RoundRecord

BATCH: Final = 64
_PARAMS: Final = 1000
_PAGE: Final = bytes(4096)
_COMMITS: Final = (8, 2)  # pages that an append's two transactions write
_SLOWEST: Final = 2.0  # times the disk's own time: half of its rate
_CLIENTS: Final = ("ann", "bob", "cyd")


class Rounds:
    """Rounds that were really run, with the pins and keys of the ledger that they are for."""

    def __init__(self, folder: Path, number: int) -> None:
        """Runs ``number`` rounds with the plain backend into a ledger below ``folder``, which must be empty."""
        self._source = folder / "rounds.db"
        updates = {name: [np.linspace(-1, 1, _PARAMS, dtype=np.float32)] for name in _CLIENTS}
        results = [aggregate(updates, backend="plain", ledger=self._source) for _ in range(number)]
        self.evidence: tuple[Evidence, ...] = tuple(result.evidence for result in results)
        self.record: RoundRecord = results[0].record
        self.content = results[0].evidence.to_bytes()

    def empty(self, folder: Path) -> Ledger:
        """A new ledger with the same key and pins, and no records."""
        folder.mkdir()
        shutil.copytree(f"{self._source}.keys", folder / "rounds.db.keys")
        ledger = Ledger(folder / "rounds.db")
        with Ledger(self._source, read_only=True) as source:
            for task, trust in source.trust.tasks.items():
                ledger.pin(task, trust, source.trust.operators)
        return ledger

    def chain(self, task: str = "measured") -> Iterator[tuple[RoundRecord, bytes]]:
        """Records like the first one, each following the last, with evidence as large."""
        previous: RoundRecord | None = None
        for round in count():
            content = secrets.token_bytes(32) + self.content[32:]
            previous = replace(
                self.record,
                task=task,
                round=round,
                start_model=previous.result_model if previous else NO_DIGEST,
                result_model=secrets.token_bytes(32),
                previous_record=previous.digest() if previous else NO_DIGEST,
                evidence=_sha256(content),
            )
            yield previous, content


class ByHand:
    """The writes that one append can't do without, in their order, by the operating system's own calls."""

    def __init__(self, folder: Path, content: bytes) -> None:
        """``content`` is what the evidence's file holds."""
        folder.mkdir()
        self._folder = folder
        self._content = content
        self._log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def page(self) -> None:
        """One page at the end of a file, synced."""
        os.write(self._log, _PAGE)
        os.fsync(self._log)

    def append(self) -> None:
        """A file in a new directory, written, synced, renamed, its names synced; two commits to a log."""
        directory = self._folder / secrets.token_hex(8)
        directory.mkdir()
        _sync(self._folder)
        with (directory / "new").open("xb") as file:
            file.write(self._content)
            file.flush()
            os.fsync(file.fileno())
        (directory / "new").rename(directory / "evidence")
        _sync(directory)
        for pages in _COMMITS:
            os.write(self._log, _PAGE * pages)
            os.fsync(self._log)

    def close(self) -> None:
        """Close the file."""
        os.close(self._log)


def rows(folder: Path, repeat: int) -> list[Row]:
    """Appends with and without verification. ``folder`` is empty, on the disk that is measured."""
    (folder / "source").mkdir()
    rounds = Rounds(folder / "source", repeat + 1)
    hand = ByHand(folder / "by-hand", rounds.content)
    # One more of each than is measured, for warming up.
    single = iter(list(islice(rounds.chain(), repeat + 1)))
    batched = rounds.chain("batched")
    batches = iter([list(islice(batched, BATCH)) for _ in range(repeat + 1)])
    replayed = iter(rounds.evidence)
    with (
        rounds.empty(folder / "single") as one,
        rounds.empty(folder / "batch") as many,
        rounds.empty(folder / "verified") as verified,
    ):
        samples = interleaved(
            {
                "page": hand.page,
                "hand": hand.append,
                "one": lambda: one._append_records([next(single)]),
                "many": lambda: many._append_records(next(batches)),
                "verified": lambda: verified.append(next(replayed)),
            },
            repeat,
        )
    hand.close()
    page, by_hand = samples["page"], samples["hand"]
    one_at_a_time = ("one at a time", samples["one"])
    each = samples["many"].scaled(1 / BATCH)
    setting = f"plain backend, {len(_CLIENTS)} clients, {_PARAMS:,} parameters"
    return [
        _row("disk", "one page written and synced", page, None, "what the disk can do"),
        _row("append", "append, verified before", samples["one"], ("one page", page), "one at a time", _SLOWEST),
        _row("append_by_hand", "append, verified before", samples["one"], ("the same by hand", by_hand), "", _SLOWEST),
        _row("append_all", "append, verified before", each, ("one page", page), f"{BATCH} at once, each", _SLOWEST),
        _row("append_verified", "append with verification", samples["verified"], one_at_a_time, setting),
    ]


def _row(
    key: str, name: str, samples: Samples, peer: tuple[str, Samples] | None, note: str, most: float | None = None
) -> Row:
    return Row.timed(
        f"ledger.{key}",
        name,
        samples,
        derived=1 / samples.median,
        derived_unit="/s",
        peer=peer,
        targets=() if most is None else (Target("ratio", most),),
        note=note,
    )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
