"""What counts with noise tell of survival: curves, and whether groups differ.

Events and censored records of each time have noise of the same size, of each its own. How many are at risk is the sum
of all counts from there on, and has the noise of all of them; what follows has it to first order. From the first time
on where those at risk are not above two of its standard deviations nothing is known.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np

from secure_agg.stats.results import Curve, Floats

CONFIDENCE: Final = NormalDist().inv_cdf(0.975)
"""Half of an interval of 95 %, in standard deviations."""
_KNOWN: Final = 2.0


def curve_of(times: Floats, events: Floats, censored: Floats, noise: float) -> Curve:
    """Kaplan and Meier's S(t) = Π (1 − d/n), taken to fall from 1 on: between the largest sequence that does and is
    nowhere above the product, and the least that is nowhere below.
    """
    at_risk = left_of(events + censored)
    cells = 2 * np.arange(times.size, 0, -1)
    known = np.logical_and.accumulate(at_risk > _KNOWN * noise * np.sqrt(cells))
    sure = np.logical_and.accumulate(known & (at_risk - events > _KNOWN * noise * np.sqrt(cells - 1)))
    n, d = np.where(known, at_risk, 1.0), np.where(known, events, 0.0)
    product = np.cumprod(np.maximum(1 - d / n, 0.0))
    falling = (np.minimum.accumulate(product) + np.maximum.accumulate(product[::-1])[::-1]) / 2
    survival: Floats = np.clip(falling, 0.0, 1.0) if known.any() else np.full(times.size, math.nan)
    # ln S by d of a time moves by −1/(n − d) there; and by d and censored of it, as n does, by d/(n(n − d)) up to it.
    alive = np.where(sure, n - d, 1.0)
    risk, own = np.cumsum(np.where(sure, d / (n * alive), 0.0)), np.where(sure, 1 / alive, 0.0)
    later = 2 * np.arange(times.size - 1, -1, -1)
    blur = noise**2 * (np.cumsum((risk - own) ** 2 + risk**2) + later * risk**2)
    off = np.where(sure, survival * np.sqrt(blur), math.inf)
    wide = np.where(sure, CONFIDENCE * survival * np.sqrt(np.maximum(risk, 0.0) + blur), math.nan)
    below = np.flatnonzero(survival <= 0.5)
    return Curve(
        times=times,
        survival=survival,
        lower=np.maximum(survival - wide, 0.0),
        upper=np.minimum(survival + wide, 1.0),
        at_risk=at_risk,
        events=events,
        censored=censored,
        median=float(times[below[0]]) if below.size else math.inf,
        noise=off,
    )


def excess_of(events: Floats, censored: Floats, noise: float) -> tuple[Floats, Floats, Floats]:
    """Of each group the events, and those expected if all survive alike, (groups,); and how the differences vary, by
    who happens to die and by noise together, (groups, groups).

    Args:
        events, censored: (groups, times).
    """
    groups, size = events.shape
    at_risk = left_of(events + censored)
    cells = 2 * groups * np.arange(size, 0, -1)
    risk, dying = at_risk.sum(0), events.sum(0)
    known = np.logical_and.accumulate((risk > _KNOWN * noise * np.sqrt(cells)) & (risk > 1))
    risk, dying = np.where(known, risk, 1.0), np.where(known, dying, 0.0)
    part, events = np.where(known, at_risk / risk, 0.0), np.where(known, events, 0.0)
    spread = spread_of(dying[known], risk[known], part[:, known])
    turns, sides = np.linalg.eigh(spread)
    spread = (sides * np.maximum(turns, 0.0)) @ sides.T
    # What is expected moves with those at risk, so by every count up to its own time; and with who dies, by that one.
    hazard = dying / risk
    passed = np.cumsum(hazard)[None, None] * np.eye(groups)[:, :, None] - np.cumsum(part * hazard, -1)[:, None]
    slopes = np.stack([-passed, -passed])
    slopes[0] += np.where(known, np.eye(groups)[:, :, None] - part[:, None], 0.0)
    flat = slopes.transpose(1, 0, 2, 3).reshape(groups, -1)
    return events.sum(1), (part * dying).sum(1), spread + noise**2 * (flat @ flat.T)


def spread_of(dying: Floats, risk: Floats, part: Floats) -> Floats:
    """How the groups' events vary together, (groups, groups), by who of those at risk happens to die.

    Args:
        dying, risk: of each time, (times,); more than one is at risk.
        part: each group's of those at risk, (groups, times).
    """
    found = np.zeros((len(part), len(part)))
    for d, n, each in zip(dying, risk, part.T, strict=True):
        found += d * (n - d) / (n - 1) * (np.diag(each) - np.outer(each, each))
    return found


def left_of(gone: Floats) -> Floats:
    """How many are left just before each time, along the last axis, of those that go at each."""
    left: Floats = gone[..., ::-1].cumsum(-1)[..., ::-1]
    return left
