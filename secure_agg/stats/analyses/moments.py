"""The analyst's half of what sums of products tell: count, sum, mean, variance, correlation, linear regression.

Sums are exact integers. What is computed from them is computed as fractions where floats would cancel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from secure_agg.stats.analyses import centred
from secure_agg.stats.analysis import EPSILON, Analysis, common
from secure_agg.stats.answers.totals import Total
from secure_agg.stats.question import COMMON, Question
from secure_agg.stats.results import Correlation, Number, Regression


def counting(question: Question) -> Analysis[Number]:
    """How many records, by weight."""
    total = yield question
    return Number(value=float(total.values[1]), noise=total.noise, **common(total))


def summing(question: Question) -> Analysis[Number]:
    """Σ w·x."""
    total, unit = (yield question), question.columns[0].unit
    if total.noise:
        return centred.sum_of(question, total)
    value = float(Fraction(total.values[COMMON]) * Fraction(unit))
    return Number(value=value, error=_of_sum(total, unit, value), **common(total))


def averaging(question: Question) -> Analysis[Number]:
    """Σ w·x / Σ w."""
    total, unit = (yield question), question.columns[0].unit
    weight = total.values[1]
    if weight <= 0:
        return Number(value=math.nan, noise=math.inf if total.noise else 0.0, **common(total))
    if total.noise:
        return centred.mean_of(question, total)
    value = float(Fraction(total.values[COMMON]) / Fraction(weight) * Fraction(unit))
    return Number(value=value, error=unit / 2 + abs(value) * EPSILON, **common(total))


def varying(question: Question, ddof: int) -> Analysis[Number]:
    """(Σ w·x² − (Σ w·x)² / Σ w) / (Σ w − ddof); with noise not below 0."""
    total, unit = (yield question), question.columns[0].unit
    weight, first, second = (Fraction(total.values[place]) for place in (1, COMMON, COMMON + 1))
    if weight <= ddof or weight <= 0:
        return Number(value=math.nan, noise=math.inf if total.noise else 0.0, **common(total))
    if total.noise:
        return centred.variance_of(question, total, ddof)
    exact = (second - first * first / weight) / (weight - ddof) * Fraction(unit) ** 2
    value = max(float(exact), 0.0)
    share = float(weight / (weight - ddof))
    error = share * (math.sqrt(value) * unit + unit * unit / 4) + value * EPSILON
    return Number(value=value, error=error, **common(total))


def correlating(question: Question) -> Analysis[Correlation]:
    """Pearson's coefficients of all pairs of columns."""
    total = yield question
    if total.noise:
        return centred.correlation_of(question, total)
    scatter = _scatter(total, len(question.columns))
    units = np.array([column.unit for column in question.columns])
    spread = np.array([float(scatter[place][place]) for place in range(len(units))])
    matrix = np.full((units.size, units.size), math.nan)
    for one, other in itertools.product(range(units.size), repeat=2):
        if spread[one] > 0 and spread[other] > 0:
            matrix[one, other] = float(scatter[one][other]) / math.sqrt(spread[one] * spread[other])
    np.fill_diagonal(matrix, np.where(spread > 0, 1.0, math.nan))
    weight = float(total.values[1])
    # An error of half a unit is so large a part of a column's standard deviation, n·sd being √spread.
    parts = sorted((weight / math.sqrt(each) for each in spread if each > 0), reverse=True)[:2]
    names = tuple(column.name for column in question.columns)
    error = sum(parts) + 8 * EPSILON
    return Correlation(matrix=matrix, columns=names, noises=np.zeros_like(matrix), error=error, **common(total))


def fitting(question: Question) -> Analysis[Regression]:
    """Ordinary least squares, with an intercept: the first column by the others."""
    total = yield question
    if total.noise:
        return centred.regression_of(question, total)
    names = ["intercept", *(column.name for column in question.columns[1:])]
    units = [Fraction(column.unit) for column in question.columns]
    weight, scatter = Fraction(total.values[1]), _scatter(total, len(units))
    free = float(weight) - len(names)
    spread = np.array([float(scatter[place][place]) for place in range(1, len(units))])
    if free <= 0 or not (spread > 0).all():
        return _unknown(names, total)
    # n²·covariances, each column divided by n·its deviation: a matrix of correlations.
    scale = np.sqrt(spread)
    inner = range(1, len(units))
    square = np.array([[float(scatter[one][other]) for other in inner] for one in inner]) / np.outer(scale, scale)
    if np.linalg.cond(square) > 1 / (64 * EPSILON):
        return _unknown(names, total)
    inverse = np.linalg.inv(square)
    right = np.array([float(scatter[0][one]) for one in inner]) / scale
    scaled = inverse @ right
    slopes = [Fraction(float(slope)) for slope in scaled / scale]
    left = scatter[0][0] - 2 * sum((b * scatter[0][k] for b, k in zip(slopes, inner, strict=True)), Fraction())
    left += sum(
        (a * b * scatter[j][k] for (a, j), (b, k) in itertools.product(zip(slopes, inner, strict=True), repeat=2)),
        Fraction(),
    )
    means = [Fraction(value) / weight for value in total.values[COMMON : COMMON + len(units)]]
    intercept = means[0] - sum((b * m for b, m in zip(slopes, means[1:], strict=True)), Fraction())
    residual = max(float(left / weight * units[0] ** 2), 0.0)
    variance = residual / free
    # (X'X)⁻¹ without the intercept, in units of the columns.
    steps = np.array([float(units[place]) for place in inner])
    covariance = inverse * float(weight) / np.outer(scale * steps, scale * steps)
    centre = np.array([float(m) for m in means[1:]]) * steps
    errors = [math.sqrt(variance * (1 / float(weight) + float(centre @ covariance @ centre)))]
    errors += [math.sqrt(variance * each) for each in np.diag(covariance).tolist()]
    betas = [float(b * units[0] / u) for b, u in zip(slopes, units[1:], strict=True)]
    values = [float(intercept * units[0]), *betas]
    blur = float(units[0]) / 2 + sum(abs(b) * float(u) / 2 for b, u in zip(betas, units[1:], strict=True))
    shaken = np.sqrt(spread) * steps * blur + steps / 2 * math.sqrt(residual * float(weight))
    moved = np.abs(covariance) @ shaken + EPSILON * 16 * float(np.linalg.cond(square)) * np.abs(betas)
    far = 2 * max(float(moved.max()), blur + float(np.abs(centre) @ moved))
    whole = float(scatter[0][0] / weight) * float(units[0]) ** 2
    return Regression(
        coefficients=dict(zip(names, values, strict=True)),
        standard_errors=dict(zip(names, errors, strict=True)),
        r_squared=1 - residual / whole if whole > 0 else math.nan,
        error=far,
        **common(total),
    )


def _unknown(names: Sequence[str], total: Total) -> Regression:
    """No coefficients: too few records, or columns that determine each other."""
    nothing = dict.fromkeys(names, math.nan)
    return Regression(coefficients=nothing, standard_errors=dict(nothing), converged=False, **common(total))


def _scatter(total: Total, columns: int) -> list[list[Fraction]]:
    """n·Σ w·x·y − Σ w·x · Σ w·y of all pairs, in their units, exactly."""
    weight = Fraction(total.values[1])
    firsts = [Fraction(value) for value in total.values[COMMON : COMMON + columns]]
    seconds = iter(total.values[COMMON + columns :])
    found = [[Fraction()] * columns for _ in range(columns)]
    for one, other in itertools.combinations_with_replacement(range(columns), 2):
        found[one][other] = found[other][one] = weight * Fraction(next(seconds)) - firsts[one] * firsts[other]
    return found


def _of_sum(total: Total, unit: float, value: float) -> float:
    return float(total.values[1]) * unit / 2 + abs(value) * EPSILON
