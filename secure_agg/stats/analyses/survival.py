"""The analyst's half of survival: Kaplan and Meier's curves, and the log-rank test.

Events and censored records are counted at times that were announced. A record that is censored at a time counts as at
risk there: whoever leaves, leaves after whoever dies. Ties are as many events at one time.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from secure_agg.stats.analyses import blurred
from secure_agg.stats.analyses.tabulated import counts_of
from secure_agg.stats.analysis import Analysis, chi2_sf, common
from secure_agg.stats.answers.totals import Total
from secure_agg.stats.question import COMMON, Question
from secure_agg.stats.results import Curve, Floats, LogRank, Survival


def living(question: Question) -> Analysis[Survival]:
    """S(t) = Π (1 − d/n) over the times up to t, by group (Kaplan and Meier, 1958)."""
    total = yield question
    times = np.array(question.edges)
    curves = {
        group: blurred.curve_of(times, events, censored, total.noise)
        if total.noise
        else _curve(times, events, censored)
        for group, (events, censored) in zip(question.groups, _tables(question, total), strict=True)
    }
    return Survival(curves=curves, off_grid=_off_grid(total), noise=total.noise, **common(total))


def comparing(question: Question) -> Analysis[LogRank]:
    """The log-rank test (Mantel, 1966), over groups that have records; with noise, which hides who has none, over
    all."""
    total = yield question
    tables = np.array(_tables(question, total))
    events, censored = tables[:, 0], tables[:, 1]
    if total.noise:
        observed, awaited, spread = blurred.excess_of(events, censored, total.noise)
        return _tested(question, total, observed, awaited, spread, np.arange(observed.size))
    at_risk = blurred.left_of(events + censored)
    dying, risk = events.sum(0), at_risk.sum(0)
    some = risk > 0
    expected = at_risk[:, some] * (dying[some] / risk[some])
    several = risk > 1
    spread = blurred.spread_of(dying[several], risk[several], at_risk[:, several] / risk[several])
    filled = np.flatnonzero((events + censored).sum(1) > 0)
    return _tested(question, total, events.sum(1), expected.sum(1), spread, filled)


def _tested(
    question: Question, total: Total, observed: Floats, expected: Floats, spread: Floats, filled: npt.NDArray[np.int64]
) -> LogRank:
    """The test, by how observed less expected events of the groups that are filled vary together."""
    excess = observed - expected
    chi2, degrees = math.nan, max(filled.size - 1, 0)
    used = filled[:-1]
    if degrees and np.linalg.matrix_rank(spread[np.ix_(used, used)]) == degrees:
        chi2 = float(excess[used] @ np.linalg.solve(spread[np.ix_(used, used)], excess[used]))
    return LogRank(
        chi2=chi2,
        degrees=degrees,
        p=chi2_sf(chi2, degrees) if degrees else math.nan,
        observed=dict(zip(question.groups, observed.tolist(), strict=True)),
        expected=dict(zip(question.groups, expected.tolist(), strict=True)),
        off_grid=_off_grid(total),
        noise=total.noise,
        **common(total),
    )


def _off_grid(total: Total) -> int | None:
    return None if total.noise else int(total.values[COMMON])


def _tables(question: Question, total: Total) -> Floats:
    """(groups, 2, times): events, then censored."""
    return counts_of(total, COMMON + 1).reshape(len(question.groups), 2, len(question.edges))


def _curve(times: Floats, events: Floats, censored: Floats) -> Curve:
    at_risk = blurred.left_of(events + censored)
    some = np.where(at_risk > 0, at_risk, 1.0)
    survival: Floats = np.asarray(np.cumprod(1 - events / some), dtype=np.float64)
    if not at_risk.any():
        survival[:] = math.nan
    alive = at_risk > events
    greenwood = np.cumsum(np.where(alive, events / (some * np.where(alive, some - events, 1.0)), 0.0))
    lower, upper = np.full(times.size, math.nan), np.full(times.size, math.nan)
    inner = (survival > 0) & (survival < 1)
    logs = np.log(survival[inner])
    spread = blurred.CONFIDENCE * np.sqrt(greenwood[inner]) / np.abs(logs)
    centre = np.log(-logs)
    lower[inner], upper[inner] = np.exp(-np.exp(centre + spread)), np.exp(-np.exp(centre - spread))
    lower[survival == 1] = upper[survival == 1] = 1.0
    below = np.flatnonzero(survival <= 0.5)
    return Curve(
        times=times,
        survival=survival,
        lower=lower,
        upper=upper,
        at_risk=at_risk,
        events=events,
        censored=censored,
        median=float(times[below[0]]) if below.size else math.inf,
        noise=np.zeros(times.size),
    )
