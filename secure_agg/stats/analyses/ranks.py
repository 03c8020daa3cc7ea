"""Where among counts a quantile lies, and what noise leaves open."""

from __future__ import annotations

from typing import Literal

import numpy as np

from secure_agg.stats.results import Floats


def place_of(reached: Floats, target: float) -> int:
    """The first bin up to whose end the target is reached, the last where none is.

    Args:
        reached: how many lie up to the end of each bin. With noise it may fall: it is then taken between the least
            sequence that does not fall and is nowhere below it, and the largest that is nowhere above.
    """
    return min(int(np.searchsorted(_rising(reached), target - 1e-9 * max(target, 1.0))), reached.size - 1)


def _rising(reached: Floats) -> Floats:
    found: Floats = (np.maximum.accumulate(reached) + np.minimum.accumulate(reached[::-1])[::-1]) / 2
    return found


def deviations(bins: int, noise: float, q: float) -> Floats:
    """Standard deviations of what is reached at the end of each bin, less q of all, each bin having this noise."""
    below = np.arange(1, bins + 1)
    found: Floats = noise * np.sqrt((1 - q) ** 2 * below + q**2 * (bins - below))
    return found


def blur(edges: Floats, below: float, reached: Floats, target: float, spread: float) -> float:
    """Half of the range in which a target lies if what is reached is off by so much, records spread evenly in a bin.

    Args:
        edges: of the bins.
        below: what is reached at the first edge.
        reached: at the others.
        target, spread: and by how much.
    """
    rising = np.concatenate([[below], _rising(reached)])

    def at(wanted: float, side: Literal["left", "right"]) -> float:
        place = int(np.clip(np.searchsorted(rising, wanted, side=side), 1, rising.size - 1))
        low, high = float(rising[place - 1]), float(rising[place])
        share = (wanted - low) / (high - low) if high > low else float(side == "right")
        return float(edges[place - 1] + np.clip(share, 0.0, 1.0) * (edges[place] - edges[place - 1]))

    return max(0.0, at(target + spread, "right") - at(target - spread, "left")) / 2
