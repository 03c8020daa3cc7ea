"""Where among counts a quantile lies, and which edges noise leaves open."""

from __future__ import annotations

import math

import numpy as np

from secure_agg.stats.results import Floats


def place_of(reached: Floats, target: float) -> int:
    """The first bin up to whose end the target is reached, the last where none is.

    Args:
        reached: how many lie up to the end of each bin. With noise it may fall: it is then taken between the least
            sequence that does not fall and is nowhere below it, and the largest that is nowhere above.
    """
    rising = (np.maximum.accumulate(reached) + np.minimum.accumulate(reached[::-1])[::-1]) / 2
    return min(int(np.searchsorted(rising, target - 1e-9 * max(target, 1.0))), reached.size - 1)


def deviations(bins: int, noise: float, q: float) -> Floats:
    """Standard deviations of what is reached at the end of each bin, less q of all, each bin having this noise."""
    below = np.arange(1, bins + 1)
    found: Floats = noise * np.sqrt((1 - q) ** 2 * below + q**2 * (bins - below))
    return found


def open_between(reached: Floats, target: float, spread: Floats) -> tuple[int, int]:
    """The first and the last bin in which the target lies if what is reached is off by one standard deviation."""
    first = place_of(reached + spread, target)
    return min(first, last := place_of(reached - spread, target)), max(first, last)


def stated(value: float, error: float, between: list[tuple[float, float]]) -> float:
    """How far the ends of any of these ranges are from a value, beyond its error; 0 where there are none."""
    far = max((max(value - low, high - value) for low, high in between), default=0.0)
    return max(0.0, far - error) if math.isfinite(value) else 0.0
