"""Draws of Skellam noise: how fast, and whether they are what they should be."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Final

import numpy as np

from benchmarks.results import Row, Target
from benchmarks.timing import Samples, timed
from secure_agg.privacy import skellam
from secure_agg.privacy.skellam import FRACTION

VARIANCES: Final = (100, 10_000, 1_000_000)
_DRAWS: Final = 1 << 20
_KEY: Final = bytes(range(32))
_CELLS: Final = 40


def chi_squared(variance: int, draws: int) -> float:
    """The chance of a statistic as large as that of so many draws, over cells of about the same probability; by the
    cube root's normal approximation (Wilson and Hilferty 1931).
    """
    half = skellam.weights(variance * FRACTION)
    total = half[0] + 2 * sum(half[1:])
    chances = np.array([float(value / total) for value in half])
    both = np.concatenate([chances[:0:-1], chances])
    cells = np.minimum((np.cumsum(both) * _CELLS).astype(np.int64), _CELLS - 1)
    expected = np.bincount(cells, weights=both, minlength=_CELLS) * draws
    found = skellam.draw(variance * FRACTION, _KEY, draws) + len(half) - 1
    seen = np.bincount(cells[found], minlength=_CELLS)
    used = expected > 0
    statistic = float((((seen - expected) ** 2)[used] / expected[used]).sum())
    freedom = int(used.sum()) - 1
    spread = 2 / (9 * freedom)
    return 0.5 * math.erfc(((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(2 * spread))


def rows(repeat: int) -> Iterator[Row]:
    """Tables, rates and statistics of several variances."""
    for variance in VARIANCES:
        skellam.table.cache_clear()
        made = timed(lambda v=variance: skellam.table(v * FRACTION))  # type: ignore[misc]
        skellam.draw(variance * FRACTION, _KEY, 1000)
        seconds = tuple(
            timed(lambda v=variance: skellam.draw(v * FRACTION, _KEY, _DRAWS), time.process_time)  # type: ignore[misc]
            for _ in range(repeat)
        )
        yield Row.timed(
            f"sampler.{variance}",
            f"2^20 draws of variance {variance:,}",
            Samples(seconds),
            derived=_DRAWS / Samples(seconds).median / 1e6,
            derived_unit="million a second",
            targets=(Target("median", 6.0),),
            note=f"processor time; the table, once: {1e3 * made:.0f} ms",
        )
        yield Row(
            key=f"sampler.{variance}.chi2",
            name=f"chi squared of 2^20 draws of variance {variance:,}",
            unit="chance of more",
            median=chi_squared(variance, _DRAWS),
        )
