"""What a server keeps of rounds that came to nothing: one line each, and the proofs of fault beside it.

The ledger holds only what was verified, so that a missing round can be explained this is a file of its own. It is a
journal, not evidence: nobody signs it. What proves something are the proofs of fault, which anyone can check.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secure_agg import locks
from secure_agg.errors import SecureAggError
from secure_agg.ledger.faults import FaultFolder
from secure_agg.protocol.config import RoundConfig

_MAX_TEXT: Final = 2000


@dataclass(frozen=True)
class Abort:
    """A round that came to nothing.

    Attributes:
        task, round, attempt: which.
        error: name of the error's type.
        message: what it says, the first 2000 characters.
        phase, culprit: where they are known.
        at: POSIX time in seconds.
    """

    task: str
    round: int
    attempt: int
    error: str
    message: str
    phase: str | None
    culprit: str | None
    at: float


class AbortJournal:
    """The journal in ``folder``: ``aborts.jsonl``, and beside it ``faults``, of these rounds and of others."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path, self.faults = folder / "aborts.jsonl", FaultFolder(folder)
        self._clock = clock

    def __iter__(self) -> Iterator[Abort]:
        """All entries, oldest first; a line that a crash has cut off is left out."""
        if not self.path.exists():
            return
        *lines, _ = self.path.read_bytes().split(b"\n")
        for line in lines:
            yield Abort(**json.loads(line))

    def record(self, config: RoundConfig, error: BaseException, *, phase: str | None = None) -> Abort:
        """Append an entry, durably; ``phase`` is for an error that names none."""
        plain = isinstance(error, SecureAggError) and error.args
        text = str(error.args[0]) if plain else str(error)
        abort = Abort(
            task=config.task,
            round=config.round,
            attempt=config.attempt,
            error=type(error).__name__,
            message=text[:_MAX_TEXT],
            phase=getattr(error, "phase", None) or phase,
            culprit=getattr(error, "culprit", None),
            at=self._clock(),
        )
        line = json.dumps(abort.__dict__, sort_keys=True) + "\n"  # in ASCII: what peers write ends no line
        with self.path.open("a+b") as file:
            locks.hold(file.fileno())
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # what a crash has cut off
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        return abort
