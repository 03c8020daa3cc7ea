"""How busy the whole machine is while something is measured: its load average, which medians and quartiles hide.

The load average counts what runs or waits to run, over about a minute, whoever started it. Where it is above one for
each core, what is measured has waited for something else, or for itself: its times are those of a loaded machine.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final

WARN_ABOVE: Final = 1.0
"""Load for each core from which on results carry a warning."""
_EVERY_S: Final = 5.0
"""The system computes its load average anew about so often."""


@dataclass(frozen=True)
class Load:
    """The load average over one minute while something was measured.

    Attributes:
        before: when it began: other work, and what was measured just before.
        most: the highest from then to its end, with what was measured itself.
        cores: of the machine, whether or not this process may use them all: the average is over all of them.
    """

    before: float
    most: float
    cores: int

    @property
    def too_high(self) -> bool:
        """Whether it was above ``WARN_ABOVE`` for each core."""
        return self.most > WARN_ABOVE * self.cores

    def __str__(self) -> str:
        return f"load {self.before:.1f} before, at most {self.most:.1f}, on {count(self.cores, 'core')}"

    @property
    def warning(self) -> str:
        """What to hold of the figures, and what to do; empty where there is nothing to say."""
        if not self.too_high:
            return ""
        return (
            f"a load of {self.most:.1f} on {count(self.cores, 'core')} is above {WARN_ABOVE:g} for each: what is "
            "measured waits, so times are long and spread wide; measure again when the machine does nothing else"
        )


def together(loads: Iterable[Load | None]) -> Load | None:
    """Of several measurements: before the first of them, and the highest for each core; None where none is known."""
    known = [load for load in loads if load is not None]
    if not known:
        return None
    worst = max(known, key=lambda load: load.most / load.cores)
    return Load(known[0].before, worst.most, worst.cores)


def now() -> float | None:
    """The load average over the last minute; None where the system has none."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


class Watch:
    """Reads the load average until it is left. ``load`` is known from the start, and final at the end.

    Used as ``with Watch() as watch: …``; the thread that reads sleeps in between.
    """

    def __init__(self) -> None:
        self._cores = os.cpu_count() or 1
        self._before = self._most = now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._read, name="load", daemon=True)

    @property
    def load(self) -> Load | None:
        """What has been seen so far; None where the system has no load average."""
        if self._before is None or self._most is None:
            return None
        return Load(self._before, self._most, self._cores)

    def _look(self) -> None:
        found = now()
        if found is not None and self._most is not None:
            self._most = max(self._most, found)

    def _read(self) -> None:
        while not self._done.wait(_EVERY_S):
            self._look()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._look()


def count(number: int, name: str) -> str:
    """A number of things: ``1 core``, ``2 cores``."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"
