"""Metrics of a model, averaged in a round of their own or beside an update, so that nobody's own is seen.

Each metric says how large it can be, and rides scaled to that: ``Vectors`` does the rest. The mean by the number of
examples is then that over all examples, as of a model that is evaluated in one place. In frameworks metrics ride by
themselves, as exact digits: see ``plugins.core.metrics``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from secure_agg.errors import ConfigError, UpdateError
from secure_agg.fl.algorithms.vectors import Vector, Vectors
from secure_agg.protocol.evidence import RoundRecord


class Evaluation:
    """Metrics by name, each within a range; the same at every client."""

    def __init__(self, ranges: Mapping[str, float], clip: float) -> None:
        """
        Args:
            ranges: largest size of each metric.
            clip: of the round's policy.

        Raises:
            ConfigError: no metric, or a range that is not a positive number.
        """
        if not ranges:
            raise ConfigError("there is no metric to evaluate")
        self.ranges = dict(ranges)
        self.vectors = Vectors(tuple(Vector(name, ((1,),), bound=bound) for name, bound in ranges.items()), clip)

    def encode(self, metrics: Mapping[str, float]) -> list[npt.NDArray[np.float64]]:
        """One client's arrays for ``aggregate``, which joins with its number of examples.

        Raises:
            UpdateError: a metric is missing, unknown, not finite or out of its range; names it, and not its value.
        """
        for name, value in metrics.items():
            if name in self.ranges and not (math.isfinite(value) and abs(value) <= self.ranges[name]):
                raise UpdateError(f"metric {name!r} is not finite, or above {self.ranges[name]:g} in size")
        packed, _ = self.vectors.pack({name: [np.array([float(value)])] for name, value in metrics.items()})
        return packed

    def decode(self, average: Sequence[npt.NDArray[np.float64]], record: RoundRecord) -> dict[str, float]:
        """The weighted means.

        Raises:
            UpdateError: the mean has other shapes.
        """
        return {name: float(array[0]) for name, (array,) in self.vectors.unpack(average, record).items()}
