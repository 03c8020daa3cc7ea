"""Medians, spreads and ratios of repetitions that alternate.

Operations that are compared run in turn (A, B, A, B, …), and a ratio is the median of the ratios of neighbours:
a machine that is slow for a while is slow for both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Samples:
    """Seconds of the repetitions of one operation, in the order in which they ran."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and third quartile, in seconds."""
        low, high = np.percentile(self.seconds, (25, 75))
        return float(low), float(high)

    def __add__(self, other: Samples) -> Samples:
        """Two operations one after the other, repetition by repetition."""
        return Samples(tuple(a + b for a, b in zip(self.seconds, other.seconds, strict=True)))

    def less(self, other: Samples) -> Samples:
        """What this operation takes more than one that is a part of it, repetition by repetition."""
        return Samples(tuple(a - b for a, b in zip(self.seconds, other.seconds, strict=True)))

    def scaled(self, factor: float) -> Samples:
        """What a part of the operation takes, where it is made of equal parts."""
        return Samples(tuple(factor * seconds for seconds in self.seconds))

    def over(self, other: Samples) -> Samples:
        """This operation's time as a multiple of the other's, repetition by repetition: no seconds any more."""
        return Samples(tuple(a / b for a, b in zip(self.seconds, other.seconds, strict=True)))

    def ratio_to(self, other: Samples) -> float:
        """The median over the repetitions of this operation's time over the other's."""
        return self.over(other).median


def timed(operation: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that one call takes, by ``clock``: ``time.process_time`` counts all threads and no waiting."""
    start = clock()
    operation()
    return clock() - start


def interleaved(
    operations: Mapping[str, Callable[[], object]], repeat: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Samples]:
    """Run all operations in turn ``repeat`` times, after one round that compiles and warms up."""
    for operation in operations.values():
        operation()
    rounds = [[timed(operation, clock) for operation in operations.values()] for _ in range(repeat)]
    return {name: Samples(column) for name, column in zip(operations, zip(*rounds, strict=True), strict=True)}
