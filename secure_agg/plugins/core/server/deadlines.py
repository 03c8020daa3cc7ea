"""How long nodes have to answer where they don't train: as long as is set, and longer where the machines are slow.

A framework's own time, for processes that start and for queues, is most of what a message takes, and on a machine under
load it is several times what it was the day before. So a deadline follows what the messages before it took, within the
same run: a node is gone when it is much slower than all were so far.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.phases import Ask, Payload
from secure_agg.plugins.homes.server import PHASE_S, check_phase_s

TIMES: Final = 3
"""A node may take so many times as long as the slowest answer of the run so far."""
LONGEST_S: Final = 600.0
"""Most seconds that a deadline grows to; what is set may be more."""


class Deadlines:
    """Of one run."""

    def __init__(self, least_s: float = PHASE_S) -> None:
        """
        Args:
            least_s: seconds that nodes have in any case.

        Raises:
            ConfigError: no positive, finite number.
        """
        check_phase_s(least_s)
        self._least_s = self._slowest_s = float(least_s)
        self._heard = False

    def __repr__(self) -> str:
        return f"Deadlines({self.phase_s:g} s)"

    @property
    def phase_s(self) -> float:
        """Seconds that nodes have to answer the next message. Before anything has been answered nobody knows how slow
        the machines are, and the first message of a run is the slowest: it has as long as if one had used up all.
        """
        return max(self._least_s, min(TIMES * self._slowest_s, LONGEST_S))

    def took(self, seconds: float) -> None:
        """Note how long an answer took that has come."""
        self._slowest_s = max(seconds, self._slowest_s if self._heard else 0.0)
        self._heard = True

    def timed(self, ask: Ask) -> Ask:
        """The same way to the nodes, with its answers noted; but those to a request to join, which takes training."""

        def asked(
            kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float
        ) -> Iterator[tuple[str, bytes | memoryview | Exception]]:
            started = time.monotonic()
            for name, answer in ask(kind, requests, deadline_s):
                if kind != parcels.JOIN and not isinstance(answer, Exception):
                    self.took(time.monotonic() - started)
                yield name, answer

        return asked
