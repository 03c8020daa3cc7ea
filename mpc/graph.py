"""Who masks with whom, and the thresholds that follow.

Up to ``COMPLETE_UP_TO`` clients every pair shares a mask. Above, each client chooses its own neighbours once the
participants are fixed (Bell, Bonawitz, Gascón, Lepoint, Raykova 2020, malicious variant), so an aggregator can't
surround a client. How many, and how many of them rebuild a secret, follows from exact hypergeometric tails.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.keystream import KeyStream

COMPLETE_UP_TO: Final = 128
PRIVACY_BITS: Final = 40
DRAW_BITS: Final = 60
"""Of one draw of a cohort: 2^-40 remains over 2^16 rounds of which each has 2^4 draws, whichever of them somebody likes
best."""
ABORT_BITS: Final = 20
EXPECTED_DROPOUT: Final = 0.10


@dataclass(frozen=True)
class Degree:
    """Neighbours that a client chooses, and how many of their shares rebuild its secrets."""

    neighbours: int
    threshold: int


def _log2_factorials(n: int) -> npt.NDArray[np.float64]:
    """log2(i!) for i = 0 … n."""
    return np.concatenate(([0.0], np.cumsum(np.log2(np.arange(1, n + 1, dtype=np.float64)))))


def _log2_sum(terms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """log2 of the sum of 2^terms along the last axis."""
    high = np.maximum(terms.max(axis=-1), -1e300)
    with np.errstate(divide="ignore"):
        return np.asarray(high + np.log2(np.exp2(terms - high[..., None]).sum(axis=-1)))


class _Draw:
    """Hypergeometric tails, in log2, for one population."""

    def __init__(self, population: int) -> None:
        self._population = population
        self._factorials = _log2_factorials(population)

    def choose(self, n: npt.NDArray[np.int64], k: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """log2 of n over k; −inf where there is no such choice."""
        good = (k >= 0) & (k <= n)
        f, n, k = self._factorials, np.where(good, n, 0), np.where(good, k, 0)
        return np.where(good, f[n] - f[k] - f[n - k], -np.inf)

    def at_least(self, marked: npt.NDArray[np.int64], drawn: int, least: int) -> npt.NDArray[np.float64]:
        """log2 P[at least ``least`` marked among ``drawn``], for each number of marked members; −inf if impossible."""
        i = np.arange(least, drawn + 1, dtype=np.int64)
        if not i.size:
            return np.full(marked.shape, -np.inf)
        m = marked[:, None]
        whole = self.choose(np.array(self._population), np.array(drawn))
        return _log2_sum(self.choose(m, i) + self.choose(self._population - m, drawn - i) - whole)

    def one(self, marked: int, drawn: int, least: int) -> float:
        """The same for one number of marked members."""
        return float(self.at_least(np.array([marked]), drawn, least)[0])


@functools.lru_cache(maxsize=1)
def _draw(population: int) -> _Draw:
    """Kept for whoever asks about many samples of one population."""
    return _Draw(population)


def log2_choose(n: int, k: int) -> float:
    """log2 of n over k; −inf where there is no such choice."""
    return float(_Draw(n).choose(np.array(n), np.array(k)))


def log2_at_least(population: int, marked: int, drawn: int, least: int) -> float:
    """log2 of the probability that of ``drawn`` members of a population at least so many are marked."""
    return _Draw(population).one(marked, drawn, least)


def _log2_split(draw: _Draw, n: int, corrupt: int, found: Degree) -> float:
    """log2 of a bound on the probability that the honest clients can be cut in two.

    An aggregator can withhold neighbours - threshold of each client's edges before the client objects. Over every set
    of s honest clients: each inside chose at most that many outside, and each outside at most that many inside, which
    means at least threshold among all the rest.
    """
    honest = n - corrupt
    inside = np.arange(1, honest // 2 + 1, dtype=np.int64)
    outside = honest - inside
    leaving = draw.at_least(n - 1 - outside, found.neighbours, found.threshold)
    entering = draw.at_least(n - 1 - inside, found.neighbours, found.threshold)
    with np.errstate(invalid="ignore"):
        sets = _Draw(honest).choose(np.array(honest), inside)
        return float(_log2_sum((sets + inside * leaving + outside * entering)[None, :])[0])


@functools.lru_cache(maxsize=256)
def degree(n: int, corrupt: int, dropped: int) -> Degree | None:
    """The fewest neighbours for ``n`` clients of which ``corrupt`` collude and ``dropped`` fall silent.

    Three bounds. Except with probability 2^-40 no client has threshold corrupt neighbours for either of its two
    secrets; except with 2^-20 every client keeps threshold neighbours that answer; and except with 2^-40 the honest
    clients stay connected whichever edges an aggregator withholds. The first bounds the threshold from below, the
    second from above; the third is tried at both ends. For a third corrupt and 10% dropped: 72 and 52 of 256, 102 and
    72 of 1,000, 126 and 88 of 10,000.

    Returns:
        None where no incomplete graph meets the bounds.
    """
    draw = _Draw(n - 1)
    for neighbours in range(2, n - 1):
        thresholds = range(1, neighbours + 1)
        safe = [t for t in thresholds if draw.one(corrupt, neighbours, t) + math.log2(2 * n) <= -PRIVACY_BITS]
        met = [t for t in safe if draw.one(dropped, neighbours, neighbours - t + 1) + math.log2(n) <= -ABORT_BITS]
        for threshold in sorted({met[0], met[-1]}) if met else ():
            if _log2_split(draw, n, corrupt, Degree(neighbours, threshold)) <= -PRIVACY_BITS:
                return Degree(neighbours, threshold)
    return None


def corrupt_in_sample(population: int, corrupt: int, sample: int, bits: int = DRAW_BITS) -> int:
    """The most corrupt members that a random sample holds, except with probability 2^-bits.

    Exact hypergeometric tails: 45 of a sample of 200 from 10,000 of which 5% are corrupt, 37 at 2^-40.
    """
    draw = _draw(population)
    i = np.arange(sample + 1, dtype=np.int64)
    whole = draw.choose(np.array(population), np.array(sample))
    points = draw.choose(np.array(corrupt), i) + draw.choose(np.array(population - corrupt), sample - i) - whole
    tails = np.logaddexp2.accumulate(points[::-1])[::-1]  # at least i
    return int(np.flatnonzero(tails > -bits)[-1])


def choose(n: int, me: int, neighbours: int, randomness: KeyStream) -> list[int]:
    """``neighbours`` distinct members of range(n) other than ``me``, uniformly, in increasing order."""
    others = [i for i in range(n) if i != me]
    draws = randomness.residue_vector(neighbours)
    for i in range(neighbours):
        # A residue modulo at most n: the bias is below n / 2^31 per draw, part of no security argument.
        j = i + int(draws[i]) % (len(others) - i)
        others[i], others[j] = others[j], others[i]
    return sorted(others[:neighbours])
