"""How something grows: as a power of its size, and as a sum of terms with known powers.

A power law, y = a · x^b by least squares of logarithms, says how it grows where it was measured. Beyond, a fixed cost
at small sizes would bend it: what is predicted is by terms, y = a · x^p + b · x^q with a, b ≥ 0, by least squares of
relative errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.fit import least_squares


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

    def __str__(self) -> str:
        left = ", ".join(f"{each:.2f}" for each in self.residuals)
        return f"∝ x^{self.power:.2f}; measured over fitted: {left}"


@dataclass(frozen=True)
class Terms:
    """A sum of powers.

    Attributes:
        parts: factor and power of each term.
        residuals: of each size, measured over fitted.
    """

    parts: tuple[tuple[float, int], ...]
    residuals: tuple[float, ...]

    @staticmethod
    def of(sizes: Sequence[float], values: Sequence[float], powers: Sequence[int]) -> Terms:
        """Fit; arguments as of ``Law.of``."""
        x, y = np.array(sizes, dtype=float), np.array(values, dtype=float)
        rows = np.stack([x**power for power in powers], axis=1)
        found = least_squares(rows / y[:, None], np.ones(len(y)))
        return Terms(tuple(zip(map(float, found), powers, strict=True)), tuple(map(float, y / (rows @ found))))

    def at(self, size: float) -> float:
        """What it says of a size."""
        return sum(factor * size**power for factor, power in self.parts)

    def __str__(self) -> str:
        left = ", ".join(f"{each:.2f}" for each in self.residuals)
        shown = " + ".join(f"{factor:.2g} · x^{power}" for factor, power in self.parts if factor)
        return f"{shown} s; measured over fitted: {left}"
