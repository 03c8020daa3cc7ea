"""The analyst's half of what counts tell: histogram, quantile, contingency."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from secure_agg.stats.analyses import ranks
from secure_agg.stats.analysis import Analysis, chi2_sf, common
from secure_agg.stats.answers.totals import Total
from secure_agg.stats.question import COMMON, Column, Condition, Question
from secure_agg.stats.results import Contingency, Floats, Histogram, Number


def counts_of(total: Total, start: int = COMMON) -> Floats:
    """The counts of an answer's cells, exact below 2^53."""
    return np.array([float(value) for value in total.values[start:]])


def binning(question: Question) -> Analysis[Histogram]:
    """Counts by bins that were announced."""
    total = yield question
    edges = np.array(question.edges)
    column = question.columns[0].name
    return Histogram(counts=counts_of(total), edges=edges, column=column, noise=total.noise, **common(total))


def narrowing(question: Question, q: float, bins: int, rounds: int, step: float | None) -> Analysis[Number]:
    """The q-quantile by bins, each round within the bin that holds it.

    The quantile is the least value up to which q of the weight lies, as numpy's ``inverted_cdf``. The value returned is
    the middle of the last bin, and the error half its width.
    """
    totals, below, before = list[Total](), 0.0, 0.0
    target = math.nan
    low, high = question.edges[0], question.edges[-1]
    noise = 0.0
    for number in range(rounds):
        total = yield question
        totals.append(total)
        counts = counts_of(total)
        if number == 0:
            whole = float(counts.sum())
            if whole <= 0:
                return Number(value=math.nan, noise=math.inf if total.noise else 0.0, **common(total))
            target = max(q * whole, min(1.0, whole))
            spread = ranks.deviations(counts.size, total.noise, q)
        else:
            # Of a range in the middle of the data only what lies in it is counted.
            spread = np.hypot(before, ranks.deviations(counts.size, total.noise, 0.0))
        reached = below + np.cumsum(counts)
        place = ranks.place_of(reached, target)
        if total.noise:
            open_here = ranks.blur(np.array(question.edges), below, reached, target, float(spread[place]))
            noise = max(noise, open_here)
        below, before = float(reached[place] - counts[place]), float(spread[place])
        low, high = question.edges[place], question.edges[place + 1]
        edges = edges_within(low, high, bins, step)
        if len(edges) < 3 or number + 1 == rounds:
            break
        question = _narrowed(question, edges)
    first_of = common(totals[0]) | {name: common(*totals)[name] for name in ("uncertain", "rounds")}
    return Number(value=(low + high) / 2, error=(high - low) / 2, noise=noise, **first_of)


def edges_within(low: float, high: float, bins: int, step: float | None) -> tuple[float, ...]:
    """Edges of at most so many bins from ``low`` to ``high``; with a step at multiples of it."""
    if step is not None:
        parts = round((high - low) / step)
        width = step * math.ceil(parts / bins)
        edges = [low + width * place for place in range(bins + 1) if low + width * place < high]
    else:
        edges = [low + (high - low) * place / bins for place in range(bins)]
    return tuple(sorted({*edges, high}))


def _narrowed(question: Question, edges: tuple[float, ...]) -> Question:
    """The same question about the records between these edges. At an end of the range nothing is said: what is limited
    to it, or lies on it, counts there.
    """
    name, mine = question.columns[0].name, []
    if edges[0] != question.edges[0]:
        mine.append(Condition(name, ">=", edges[0]))
    if edges[-1] != question.edges[-1]:
        mine.append(Condition(name, "<", edges[-1]))
    inner = Column(name=name, lower=edges[0], upper=edges[-1])
    return msgspec.structs.replace(question, columns=(inner,), edges=edges, where=(*question.where, *mine))


def crossing(question: Question) -> Analysis[Contingency]:
    """Counts by two columns' levels, and whether they are independent."""
    total = yield question
    one, other = (column.levels for column in question.columns)
    counts = counts_of(total).reshape(len(one), len(other))
    # The test takes counts for exact: noise would be taken for dependence.
    chi2, degrees = (math.nan, 0) if total.noise else _pearson(counts)
    p = chi2_sf(chi2, degrees) if degrees else math.nan
    return Contingency(
        counts=counts, levels=(one, other), chi2=chi2, degrees=degrees, p=p, noise=total.noise, **common(total)
    )


def _pearson(counts: Floats) -> tuple[float, int]:
    full = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    if min(full.shape) < 2:
        return math.nan, 0
    expected = np.outer(full.sum(1), full.sum(0)) / full.sum()
    return float(((full - expected) ** 2 / expected).sum()), (full.shape[0] - 1) * (full.shape[1] - 1)
