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


def _log2_choose(n: int, k: int) -> float:
    if not 0 <= k <= n:
        return -math.inf
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def _log2_add(a: float, b: float) -> float:
    """log2(2^a + 2^b)."""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log2(1 + 2 ** (low - high))


def _log2_tails(population: int, marked: int, drawn: int) -> list[float]:
    """log2 of P[at least i marked among drawn] for i = 0 … drawn + 1, without replacement."""
    whole = _log2_choose(population, drawn)
    tails = [-math.inf] * (drawn + 2)
    for i in range(drawn, -1, -1):
        term = _log2_choose(marked, i) + _log2_choose(population - marked, drawn - i) - whole
        tails[i] = _log2_add(tails[i + 1], term)
    return tails


def _log2_split(n: int, corrupt: int, found: Degree) -> float:
    """log2 of a bound on the probability that the honest clients can be cut in two.

    A server can withhold neighbours - threshold of each client's edges before the client objects. Over every set of s
    honest clients: each inside chose at most that many outside, and each outside at most that many inside.
    """
    honest, total = n - corrupt, -math.inf
    for inside in range(1, honest // 2 + 1):
        outside = honest - inside
        # at most neighbours - threshold on the other side means at least threshold among all the rest
        leaving = _log2_tails(n - 1, n - 1 - outside, found.neighbours)[found.threshold]
        entering = _log2_tails(n - 1, n - 1 - inside, found.neighbours)[found.threshold]
        total = _log2_add(total, _log2_choose(honest, inside) + inside * leaving + outside * entering)
        if total > -PRIVACY_BITS:
            break
    return total


@functools.lru_cache(maxsize=256)
def degree(n: int, corrupt: int, dropped: int) -> Degree | None:
    """The fewest neighbours for ``n`` clients of which ``corrupt`` collude and ``dropped`` fall silent.

    Three bounds. Except with probability 2^-40 no client has threshold corrupt neighbours for either of its two
    secrets; except with 2^-20 every client keeps threshold neighbours that answer; and except with 2^-40 the honest
    clients stay connected whichever edges a server withholds. For a third corrupt and 10% dropped: 72 and 52 of 256,
    102 and 72 of 1,000, 126 and 88 of 10,000.

    Returns:
        None where no incomplete graph meets the bounds.
    """
    others = n - 1
    for neighbours in range(2, others):
        corrupted = _log2_tails(others, corrupt, neighbours)
        lost = _log2_tails(others, dropped, neighbours)
        for threshold in range(1, neighbours + 1):
            if corrupted[threshold] + math.log2(2 * n) <= -PRIVACY_BITS:
                found = Degree(neighbours, threshold)
                keeps_answering = lost[neighbours - threshold + 1] + math.log2(n) <= -ABORT_BITS
                if keeps_answering and _log2_split(n, corrupt, found) <= -PRIVACY_BITS:
                    return found
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
