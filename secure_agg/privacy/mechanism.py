"""The distributed Skellam mechanism of one round, in integers: every party finds the same numbers.

Agarwal, Kairouz and Liu, "The Skellam mechanism for differentially private federated learning" (NeurIPS 2021), with the
conditional rounding of Kairouz, Liu and Steinke, "The distributed discrete Gaussian mechanism for federated learning
with secure aggregation" (ICML 2021). A client's update of norm at most c is rotated to D coordinates and scaled so that
c are L steps; it is rounded without bias until its squared norm is at most Δ2², and to nothing if that does not come to
pass; its coordinates are limited to ±A_q, and to each a Skellam variable of variance V_i is added, limited to ±A_z.

    Δ2² = ⌊min{(L + √D)², L² + D/4 + L + √D/2}⌋        (β = exp(−1/2): at least 39 in 100 roundings are taken)

Whatever a client's data are, the squared norm of what it adds beside noise is at most that integer, and the sum of
squares is all that privacy rests on. h honest clients' noise has together the variance V = h·V_i ≥ ρ·Δ2²: ρ, the
noise ratio, decides what a round spends, and nothing else of it (``accounting``).

L is as large as bits leave room for, and at least 2·√D, for that bound: there Δ2 exceeds L by 3%, and at 16 times
that by nothing that counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from secure_agg.errors import ConfigError
from secure_agg.privacy import skellam
from secure_agg.privacy.skellam import FRACTION, ceil_root, nats, reach

RATIO_UNIT: Final = 1024
"""Noise ratios are multiples of one part in so many."""
LEAST_PADDED: Final = 64
"""The fewest coordinates of a rotated vector."""
MOST_LENGTH: Final = 1 << 22
"""L, at most."""
EASY_VARIANCE: Final = 1 << 20
"""V_i up to which more precision costs nothing: tables are small."""
LIMIT_BITS: Final = 62
"""n·D·P[|z| > A_z] is at most 2^(1 − 62); see ``accounting.TAIL_BITS``."""
_SHRINK_BITS: Final = 41
"""Likewise coordinates beyond A_q, which costs precision only."""


@dataclass(frozen=True)
class Mechanism:
    """One round's numbers, in steps.

    Attributes:
        padded: D.
        length: L, the clip in steps.
        squared: Δ2², the most that a rounded vector's squared norm is.
        variance: V_i in 256ths, of one client's noise.
        honest: h, clients whose noise is counted on.
        value_limit: A_q.
        noise_limit: A_z.
    """

    padded: int
    length: int
    squared: int
    variance: int
    honest: int
    value_limit: int
    noise_limit: int

    @property
    def deviation(self) -> float:
        """σ_i: the standard deviation of one client's noise in a coordinate, in steps."""
        return math.sqrt(self.variance / FRACTION)

    @property
    def half(self) -> int:
        """H that is needed: A_q + A_z."""
        return self.value_limit + self.noise_limit

    def noise(self, clients: int) -> float:
        """The expected L2 norm of the noise in the mean of so many clients' updates, in clips: beside it an update is 1
        at most.
        """
        return math.sqrt(self.padded * clients) * self.deviation / (clients * self.length)


def sensitivity(length: int, padded: int) -> int:
    """Δ2²: exact, rounded down."""
    whole = length * length + padded + math.isqrt(4 * length * length * padded)
    likely = (4 * length * length + padded + 4 * length + math.isqrt(4 * padded)) // 4
    return min(whole, likely)


def _with_length(length: int, *, padded: int, least_block: int, clients: int, honest: int, ratio: int) -> Mechanism:
    squared = sensitivity(length, padded)
    variance = -(-ratio * squared * FRACTION // (RATIO_UNIT * honest))
    draws = (clients * padded).bit_length()
    value_limit = ceil_root(-(-2 * nats(_SHRINK_BITS + draws) * length * length // least_block)) + 1
    return Mechanism(padded, length, squared, variance, honest, value_limit, reach(variance, LIMIT_BITS + draws))


def mechanism(*, padded: int, least_block: int, clients: int, honest: int, ratio: int, half: int) -> Mechanism:
    """The numbers of a round, with the finest grid that there is room for.

    Args:
        padded: D.
        least_block: the smallest block of the rotation.
        clients: n_max.
        honest: h.
        ratio: ρ in 1024ths.
        half: H of the policy's bits.

    Raises:
        ConfigError: there is no room for the noise of so large a model; says what would do.
    """

    def made(length: int) -> Mechanism:
        return _with_length(length, padded=padded, least_block=least_block, clients=clients, honest=honest, ratio=ratio)

    low = ceil_root(4 * padded)
    least = made(low)
    if least.variance > FRACTION * skellam.MOST_VARIANCE:
        raise ConfigError(
            f"noise of variance {least.variance // FRACTION} is above {skellam.MOST_VARIANCE}, the most that is drawn: "
            "take more clients, a larger epsilon, fewer rounds or a smaller model"
        )
    if least.half > half:
        bits = least.half.bit_length() + 1
        raise ConfigError(
            f"{(half.bit_length() + 1)} bits have no room for noise of deviation {least.deviation:.4g} steps in each "
            f"of {padded} coordinates, with {honest} honest clients: bits = {bits} would do, or more honest clients, a "
            "larger epsilon, fewer rounds or a smaller model"
        )
    high = max(low, min(half, MOST_LENGTH))
    while low < high:
        middle = (low + high + 1) // 2
        found = made(middle)
        fits = found.half <= half and found.variance <= FRACTION * EASY_VARIANCE
        low, high = (middle, high) if fits else (low, middle - 1)
    return made(low)
