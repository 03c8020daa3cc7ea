"""Who masks with whom, and the thresholds that follow.

Up to ``COMPLETE_UP_TO`` clients every pair shares a mask. Above, each client chooses its own neighbours
once the participants are fixed (Bell, Bonawitz, Gascón, Lepoint, Raykova 2020, malicious variant), so a
server can't surround a client. How many, and how many of them rebuild a secret, follows from exact
hypergeometric tails.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

from mpc.keystream import KeyStream

COMPLETE_UP_TO: Final = 128
PRIVACY_BITS: Final = 40
ABORT_BITS: Final = 20
EXPECTED_DROPOUT: Final = 0.10


@dataclass(frozen=True)
class Degree:
    """Neighbours that a client chooses, and how many of their shares rebuild its secrets."""

    neighbours: int
    threshold: int


def _log2_tails(population: int, marked: int, drawn: int) -> list[float]:
    """log2 of P[at least i marked among drawn] for i = 0 … drawn + 1, without replacement."""

    def log2_choose(n: int, k: int) -> float:
        if not 0 <= k <= n:
            return -math.inf
        return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)

    whole = log2_choose(population, drawn)
    tails = [-math.inf] * (drawn + 2)
    for i in range(drawn, -1, -1):
        term = log2_choose(marked, i) + log2_choose(population - marked, drawn - i) - whole
        high, low = max(tails[i + 1], term), min(tails[i + 1], term)
        tails[i] = high if low == -math.inf else high + math.log2(1 + 2 ** (low - high))
    return tails


@functools.lru_cache(maxsize=256)
def degree(n: int, corrupt: int, dropped: int) -> Degree | None:
    """The fewest neighbours for ``n`` clients of which ``corrupt`` collude and ``dropped`` fall silent.

    Two bounds, each over all n clients: except with probability 2^-40 no client has threshold corrupt
    neighbours for either of its two secrets, and except with 2^-20 every client keeps threshold neighbours
    that answer. For a third corrupt and 10% dropped: 72 and 52 of 256, 102 and 72 of 1,000, 126 and 88 of
    10,000.

    Returns:
        None where no incomplete graph meets both bounds.
    """
    others = n - 1
    for neighbours in range(2, others):
        corrupted = _log2_tails(others, corrupt, neighbours)
        lost = _log2_tails(others, dropped, neighbours)
        for threshold in range(1, neighbours + 1):
            if corrupted[threshold] + math.log2(2 * n) <= -PRIVACY_BITS:
                if lost[neighbours - threshold + 1] + math.log2(n) <= -ABORT_BITS:
                    return Degree(neighbours, threshold)
                break
    return None


def corrupt_in_sample(population: int, corrupt: int, sample: int, bits: int = PRIVACY_BITS) -> int:
    """The most corrupt members that a random sample holds, except with probability 2^-bits."""
    tails = _log2_tails(population, corrupt, sample)
    return next(i - 1 for i in range(1, sample + 2) if tails[i] <= -bits)


def choose(n: int, me: int, neighbours: int, randomness: KeyStream) -> list[int]:
    """``neighbours`` distinct members of range(n) other than ``me``, uniformly, in increasing order."""
    others = [i for i in range(n) if i != me]
    draws = randomness.residue_vector(neighbours)
    for i in range(neighbours):
        # A residue modulo at most n: the bias is below n / 2^31 per draw, part of no security argument.
        j = i + int(draws[i]) % (len(others) - i)
        others[i], others[j] = others[j], others[i]
    return sorted(others[:neighbours])
