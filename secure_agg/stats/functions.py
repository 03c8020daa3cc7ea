"""The statistics, as functions over a federation. Ranges, levels, edges and times are announced, never taken from data.

All take the same words beside their own:

* ``where``: conditions on records, ``[("age", ">=", 50), ("sex", "==", "f")]``.
* ``missing``: where a record lacks a value of a column, ``"refuse"`` to answer, or ``"drop"`` it.
* ``outside``: of a value out of the announced range, ``"refuse"``, ``"drop"`` the record, or ``"clip"`` the value.
* ``weights``: a column of whole numbers up to ``max_weight``, how often a record counts.
* ``records``: no site has more; a smaller number means less noise where there is privacy, and a shorter vector.

All raise ``ConfigError`` for what is no question, ``QueryRefused`` where a site does not answer, and whatever a round
raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from secure_agg.errors import ConfigError
from secure_agg.stats.analyses import likelihood, moments, survival, tabulated
from secure_agg.stats.analysis import Where, conditions, run, weights
from secure_agg.stats.federation import Federation
from secure_agg.stats.question import DEFAULT_RECORDS, Column, Missing, Outside, Question
from secure_agg.stats.results import Contingency, Correlation, Histogram, LogRank, Number, Regression, Survival

Ranges = dict[str, tuple[float, float]]
Edges = Sequence[float] | npt.NDArray[Any]


class Words(TypedDict, total=False):
    """What all statistics take: see this module."""

    where: Where
    missing: Missing
    outside: Outside
    weights: str | None
    max_weight: int
    records: int


def count(federation: Federation, **words: Unpack[Words]) -> Number:
    """How many records fulfil the conditions, by weight; exact."""
    return run(federation, moments.counting(_question("count", (), words)))


def sum(federation: Federation, column: str, lower: float, upper: float, **words: Unpack[Words]) -> Number:
    """The sum of a column, values in [lower, upper]; exact but for rounding each value to 2^-40 of its range."""
    return run(federation, moments.summing(_question("sum", (_number(column, lower, upper),), words)))


def mean(federation: Federation, column: str, lower: float, upper: float, **words: Unpack[Words]) -> Number:
    """The mean of a column, values in [lower, upper]; exact but for rounding each value to 2^-40 of its range."""
    return run(federation, moments.averaging(_question("mean", (_number(column, lower, upper),), words)))


def variance(
    federation: Federation, column: str, lower: float, upper: float, *, ddof: int = 1, **words: Unpack[Words]
) -> Number:
    """The variance of a column, over the weight less ``ddof``; NaN where that is not above 0."""
    return run(federation, moments.varying(_question("variance", (_number(column, lower, upper),), words), ddof))


def histogram(federation: Federation, column: str, edges: Edges, **words: Unpack[Words]) -> Histogram:
    """Counts of a column by bins, each closed at its left, the last at both ends, as numpy's; exact."""
    return run(federation, tabulated.binning(_binned("histogram", column, edges, words)))


def quantile(
    federation: Federation,
    column: str,
    q: float,
    lower: float,
    upper: float,
    *,
    bins: int = 1024,
    rounds: int = 2,
    step: float | None = None,
    **words: Unpack[Words],
) -> Number:
    """The least value up to which a share q of the weight lies, by counts in ``bins`` bins, each round within the bin
    that holds it: off by at most half of (upper − lower) / bins^rounds, which the result's ``error`` says.

    ``step``: edges are multiples of it from ``lower`` on, where sites' rules ask for that.
    """
    if not 0 <= q <= 1:
        raise ConfigError(f"q is {q:g}, not between 0 and 1")
    if not 2 <= bins <= 1 << 14 or not 1 <= rounds <= 16:
        raise ConfigError(f"{bins} bins in {rounds} rounds: 2 to {1 << 14} in 1 to 16 are wanted")
    span = _number(column, lower, upper)
    edges = tabulated.edges_within(span.lower, span.upper, bins, step)
    question = _binned("quantile", column, edges, words)
    return run(federation, tabulated.narrowing(question, q, bins, rounds, step))


def contingency(
    federation: Federation, one: str, other: str, levels: dict[str, Sequence[str]], **words: Unpack[Words]
) -> Contingency:
    """Counts by the levels of two columns, exact, and Pearson's chi-squared test of independence."""
    columns = tuple(_category(name, levels) for name in (one, other))
    return run(federation, tabulated.crossing(_question("contingency", columns, words)))


def correlation(federation: Federation, ranges: Ranges, **words: Unpack[Words]) -> Correlation:
    """Pearson's coefficients of all pairs of columns, which are given with their ranges."""
    return run(federation, moments.correlating(_question("correlation", _numbers(ranges), words)))


def linear_regression(
    federation: Federation, outcome: str, predictors: Sequence[str], ranges: Ranges, **words: Unpack[Words]
) -> Regression:
    """Least squares with an intercept, from exact sums of one round."""
    columns = _numbers({name: _range(name, ranges) for name in (outcome, *predictors)})
    return run(federation, moments.fitting(_question("linear_regression", columns, words)))


def logistic_regression(
    federation: Federation,
    outcome: str,
    predictors: Sequence[str],
    ranges: Ranges,
    *,
    rounds: int = 30,
    **words: Unpack[Words],
) -> Regression:
    """The chance that a column of 0 and 1 is 1, by maximum likelihood with an intercept; a round for each step."""
    columns = (_number(outcome, 0, 1), *_numbers({name: _range(name, ranges) for name in predictors}))
    question = _question("logistic_regression", columns, words, point=(0.0,) * len(columns))
    return run(federation, likelihood.climbing(question, rounds))


def kaplan_meier(
    federation: Federation,
    duration: str,
    event: str,
    times: Edges,
    *,
    group: str | None = None,
    levels: Sequence[str] = (),
    **words: Unpack[Words],
) -> Survival:
    """Survival by Kaplan and Meier, at times that are announced, by group where there is one.

    A duration that is none of the times counts at the next: ``off_grid`` of the result says how many do.
    """
    return run(federation, survival.living(_timed("kaplan_meier", duration, event, times, group, levels, words)))


def log_rank(
    federation: Federation,
    duration: str,
    event: str,
    group: str,
    levels: Sequence[str],
    times: Edges,
    **words: Unpack[Words],
) -> LogRank:
    """The log-rank test that the groups survive alike, at times that are announced."""
    return run(federation, survival.comparing(_timed("log_rank", duration, event, times, group, levels, words)))


def _question(
    function: str, columns: tuple[Column, ...], words: Words, edges: Edges = (), point: tuple[float, ...] = ()
) -> Question:
    given: dict[str, Any] = dict(words)
    unknown = set(given) - set(Words.__annotations__)
    if unknown:
        raise ConfigError(f"statistics have no setting {', '.join(sorted(unknown))}")
    for name, choices in (("missing", ("refuse", "drop")), ("outside", ("refuse", "drop", "clip"))):
        if given.get(name, "refuse") not in choices:
            raise ConfigError(f"{name} is {given[name]!r}: one of {', '.join(choices)} is wanted")
    return Question(
        function=function,
        columns=columns,
        where=conditions(given.get("where", ())),
        missing=given.get("missing", "refuse"),
        outside=given.get("outside", "refuse"),
        weights=weights(given.get("weights"), int(given.get("max_weight", 1 << 10))),
        edges=tuple(float(edge) for edge in np.asarray(edges, dtype=np.float64).reshape(-1)),
        point=point,
        records=int(given.get("records", DEFAULT_RECORDS)),
    )


def _binned(function: str, column: str, edges: Edges, words: Words) -> Question:
    found = np.asarray(edges, dtype=np.float64).reshape(-1)
    if found.size < 2:
        raise ConfigError("a bin has two edges")
    return _question(function, (_number(column, found[0], found[-1]),), words, edges)


def _timed(
    function: str,
    duration: str,
    event: str,
    times: Edges,
    group: str | None,
    levels: Sequence[str],
    words: Words,
) -> Question:
    found = np.asarray(times, dtype=np.float64).reshape(-1)
    if not found.size or found[-1] <= 0:
        raise ConfigError("times are above 0, and there is one at least: a record is in scope from 0 to the last")
    columns = [_number(duration, 0.0, found[-1]), _number(event, 0, 1)]
    if group is not None:
        columns.append(Column(name=group, levels=tuple(map(str, levels))))
    return _question(function, tuple(columns), words, found)


def _number(name: str, lower: float, upper: float) -> Column:
    return Column(name=name, lower=float(lower), upper=float(upper))


def _numbers(ranges: Ranges) -> tuple[Column, ...]:
    return tuple(_number(name, lower, upper) for name, (lower, upper) in ranges.items())


def _category(name: str, levels: dict[str, Sequence[str]]) -> Column:
    if not levels.get(name):
        raise ConfigError(f"the levels of column {name!r} are announced beforehand: say which there are")
    return Column(name=name, levels=tuple(map(str, levels[name])))


def _range(name: str, ranges: Ranges) -> tuple[float, float]:
    if name not in ranges:
        raise ConfigError(f"column {name!r} needs a range that is announced beforehand")
    return ranges[name]
