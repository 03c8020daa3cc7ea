"""Power laws, y = a · x^b: least squares of logarithms, so that every size counts alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Law:
    """What was fitted.

    Attributes:
        scale, power: a and b.
        sizes: x, ascending.
        residuals: of each size, measured over fitted: 1 where the law holds.
    """

    scale: float
    power: float
    sizes: tuple[float, ...]
    residuals: tuple[float, ...]

    @staticmethod
    def of(sizes: Sequence[float], values: Sequence[float]) -> Law:
        """Fit.

        Args:
            sizes: x, at least two different ones, positive.
            values: y, positive.

        Raises:
            ValueError: there are too few, or one is not positive.
        """
        if len(sizes) != len(values) or len(set(sizes)) < 2 or min(*sizes, *values) <= 0:
            raise ValueError(f"{len(values)} positive values at two different sizes or more make a law, of {sizes}")
        x, y = np.log(np.array(sizes, dtype=float)), np.log(np.array(values, dtype=float))
        power, level = np.polyfit(x, y, 1)
        residuals = np.exp(y - (power * x + level))
        return Law(float(np.exp(level)), float(power), tuple(map(float, sizes)), tuple(map(float, residuals)))

    def at(self, size: float) -> float:
        """What it says of a size, also beyond those that were measured."""
        return float(self.scale * size**self.power)

    def beyond(self, size: float) -> float:
        """How many times the largest size that was measured this one is."""
        return size / self.sizes[-1]

    def __str__(self) -> str:
        left = ", ".join(f"{each:.2f}" for each in self.residuals)
        return f"∝ x^{self.power:.2f}; measured over fitted: {left}"
