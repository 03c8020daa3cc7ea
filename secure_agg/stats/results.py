"""What statistics return: a value, what is stated of its error, and what proves it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from secure_agg.privacy.accounting import EPSILON_UNIT
from secure_agg.protocol.evidence import PrivateRecord
from secure_agg.stats.answers.totals import Round

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no truth value
class Statistic:
    """What every result has.

    Attributes:
        records: in scope at all sites together.
        weight: the sum of their weights, ``records`` where they have none.
        error: by how much a value may be off from that of all sites' records in one place, by rounding values to their
            units and by the width of bins; float64's own rounding in what follows from exact sums is in it, noise and
            what was held back are not.
        uncertain: by how many records any count may be off, cumulative ones too, since sites hold back, or move, cells
            of fewer than their minimum: the sum of what each site's minimum allows, whether or not it holds any back. 0
            where all sites have a minimum of 1. None where there is noise: then nothing is said of minimums.
        missing, outside: records dropped for a missing value, and dropped or limited for one out of range; off by at
            most ``uncertain``, as a site says nothing of fewer than its minimum. None where there is noise.
        noise: standard deviation of the noise in the value, or in each count, to first order, where all sites add
            theirs; infinite where there is too much for that. Of a quantile how far the value is off, beyond
            ``error``, where ranks are off by one standard deviation. Of several coefficients the largest. 0 where there
            is none.
        participants: ids of the sites.
        rounds: what proves each sum that this was computed from.
    """

    records: float
    weight: float
    error: float = 0.0
    uncertain: int | None = 0
    missing: int | None = 0
    outside: int | None = 0
    noise: float = 0.0
    participants: tuple[str, ...] = ()
    rounds: tuple[Round, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Number(Statistic):
    """A count, sum, mean, variance or quantile: ``value``; NaN where nothing is in scope that has one."""

    value: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Histogram(Statistic):
    """``counts`` of the bins between ``edges``, weighted where records are, of ``column``."""

    counts: Floats
    edges: Floats
    column: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Contingency(Statistic):
    """``counts`` by levels of two columns, and Pearson's test of independence, without a correction.

    Attributes:
        counts: (levels of the first, of the second).
        levels: of both.
        chi2, degrees, p: the test, over rows and columns that are not empty; NaN where fewer than two are, and of
            counts with noise, which the test would take for dependence.
    """

    counts: Floats
    levels: tuple[tuple[str, ...], tuple[str, ...]]
    chi2: float
    degrees: int
    p: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Correlation(Statistic):
    """Pearson's coefficients: ``matrix``, symmetric, NaN for a column that does not vary; ``columns`` by name.

    Attributes:
        noises: standard deviation of the noise in each coefficient; all 0 where there is none.
    """

    matrix: Floats
    columns: tuple[str, ...]
    noises: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Regression(Statistic):
    """Coefficients by name, ``intercept`` first.

    Attributes:
        coefficients, standard_errors: by name; an error of records and, where there is some, of noise together.
        noises: standard deviation of the noise in each coefficient; none where there is none.
        r_squared: of a linear regression; NaN of a logistic one.
        log_likelihood: of a logistic regression at the coefficients; NaN of a linear one.
        iterations: rounds.
        converged: whether the last step was below what the sums resolve, or 1e-10 of the coefficients.
    """

    coefficients: dict[str, float]
    standard_errors: dict[str, float]
    noises: dict[str, float] = field(default_factory=dict)
    r_squared: float = float("nan")
    log_likelihood: float = float("nan")
    iterations: int = 1
    converged: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Kaplan–Meier's estimate of one group, at the times that were announced.

    Attributes:
        times, survival: S(t), constant from each time to the next.
        lower, upper: of a confidence interval of 95 %, exponential Greenwood; NaN where S is 0 or nothing is known.
            Where there is noise a plain one, with that of records and of noise together.
        at_risk: just before each time. events, censored: at each.
        median: the first time with S ≤ 1/2; infinite where there is none.
        noise: standard deviation of the noise in S(t); infinite from where too few are at risk on, and S goes on as it
            was.
    """

    times: Floats
    survival: Floats
    lower: Floats
    upper: Floats
    at_risk: Floats
    events: Floats
    censored: Floats
    median: float
    noise: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Survival(Statistic):
    """Curves by group, ``all`` where there is none.

    Attributes:
        curves: by group.
        off_grid: records whose duration is none of the times and counts at the next: 0 if the curves are exact. None
            where there is noise: nothing is said of it then.
    """

    curves: dict[str, Curve]
    off_grid: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class LogRank(Statistic):
    """The log-rank test that groups survive alike.

    Attributes:
        chi2, degrees, p: of the test. Where counts have noise it is part of what they may differ by: p holds, and small
            differences are not seen.
        observed, expected: events by group.
        off_grid: see ``Survival``.
    """

    chi2: float
    degrees: int
    p: float
    observed: dict[str, float]
    expected: dict[str, float]
    off_grid: int | None


def said(result: Statistic) -> dict[str, Any]:
    """A result as JSON has it, what was asked for first, without its proofs; NaN and infinity are None. Where there is
    noise, with ``spent``: ε of this result and all before it, and ``budget``, ε of the task.
    """
    common = Statistic.__dataclass_fields__
    names = sorted(result.__dataclass_fields__, key=lambda name: name in common)
    found = {name: _plain(getattr(result, name)) for name in names if name != "rounds"}
    last = result.rounds[-1].record if result.rounds else None
    if isinstance(last, PrivateRecord):
        found |= {"spent": last.spent / EPSILON_UNIT, "budget": last.epsilon / EPSILON_UNIT}
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Curve):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(each) for each in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
