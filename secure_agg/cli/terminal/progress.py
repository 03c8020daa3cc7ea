"""How far a command is, on stderr: a bar where somebody watches a terminal, else a line now and then for a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

PAUSE_S: Final = 5.0
"""Between two lines of one task, unless it ends or has something new to say."""


class Watched(Protocol):
    """What commands report their progress to."""

    def add_task(self, description: str, *, total: float | None, note: str) -> TaskID:
        """Begin something; returns its number."""

    def update(
        self,
        task: TaskID,
        *,
        completed: float | None = None,
        total: float | None = None,
        advance: float | None = None,
        note: str | None = None,
    ) -> None:
        """Say how far it is."""

    def say(self, text: str) -> None:
        """Say something that stays, at once."""


@contextmanager
def progress() -> Iterator[Watched]:
    """A progress display on stderr: on a terminal it leaves nothing behind."""
    if sys.stderr.isatty():
        with _Bar() as bar:
            yield bar
    else:
        yield Lines()


class _Bar(Progress):
    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=Console(file=sys.stderr),
            transient=True,
        )

    def add_task(self, description: str, *, total: float | None, note: str) -> TaskID:  # type: ignore[override]
        return super().add_task(description, total=total, note=note)

    def update(  # type: ignore[override]
        self,
        task: TaskID,
        *,
        completed: float | None = None,
        total: float | None = None,
        advance: float | None = None,
        note: str | None = None,
    ) -> None:
        more: dict[str, Any] = {} if note is None else {"note": note}
        super().update(task, completed=completed, total=total, advance=advance, **more)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


@dataclass
class _Task:
    description: str
    total: float | None
    note: str
    completed: float = 0.0
    said: float = float("-inf")


class Lines:
    """Progress as plain lines: of each task the first and the last, whatever is new, and else one each ``PAUSE_S``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds."""
        self._clock = clock
        self._tasks: list[_Task] = []

    def add_task(self, description: str, *, total: float | None, note: str) -> TaskID:
        """See ``Watched``."""
        self._tasks.append(_Task(description.strip(), total, note))
        return TaskID(len(self._tasks) - 1)

    def update(
        self,
        task: TaskID,
        *,
        completed: float | None = None,
        total: float | None = None,
        advance: float | None = None,
        note: str | None = None,
    ) -> None:
        """See ``Watched``."""
        found = self._tasks[task]
        new = note is not None and note != found.note
        found.total = found.total if total is None else total
        found.note = found.note if note is None else note
        found.completed = (found.completed if completed is None else completed) + (advance or 0.0)
        now = self._clock()
        if new or found.completed == found.total or now >= found.said + PAUSE_S:
            found.said = now
            of = "" if found.total is None else f"/{found.total:g}"
            more = f", {found.note}" if found.note else ""
            self.say(f"{found.description}: {found.completed:g}{of}{more}")

    def say(self, text: str) -> None:
        """See ``Watched``."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
