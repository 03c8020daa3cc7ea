"""What sums with noise tell of columns: Σw, Σw·u and Σw·u·u' with u = (x − middle) / (half of the range).

The noise in them is the same, of each its own, and stated of what follows from them to first order. That holds where Σw
is far above it: below two standard deviations nothing is known, and the noise stated is infinite. Of several columns it
holds where no combination of them is near to not varying at all.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from secure_agg.stats.analysis import EPSILON, common
from secure_agg.stats.answers.totals import Total
from secure_agg.stats.question import COMMON, Question
from secure_agg.stats.results import Correlation, Floats, Number, Regression

_KNOWN: Final = 2.0


def sum_of(question: Question, total: Total) -> Number:
    """Σw·x."""
    middle, half = _span(question)
    value = middle * total.values[1] + half * total.values[COMMON]
    error = abs(total.values[1]) * question.columns[0].unit + abs(value) * EPSILON
    return Number(value=value, error=error, noise=total.noise * math.hypot(middle, half), **common(total))


def mean_of(question: Question, total: Total) -> Number:
    """Σw·x / Σw, within the range."""
    middle, half = _span(question)
    weight = float(total.values[1])
    share = total.values[COMMON] / weight
    value = min(max(middle + half * share, middle - half), middle + half)
    noise = half * math.hypot(1.0, share) * total.noise / weight if _is_known(total) else math.inf
    error = question.columns[0].unit + abs(value) * EPSILON
    return Number(value=value, error=error, noise=noise, **common(total))


def variance_of(question: Question, total: Total, ddof: int) -> Number:
    """(Σw·x² − (Σw·x)² / Σw) / (Σw − ddof), from 0 to what the range allows."""
    _, half = _span(question)
    weight = float(total.values[1])
    first, second = (value / weight for value in total.values[COMMON:])
    scale = half**2 * weight / (weight - ddof)
    value = min(max(second - first**2, 0.0), 1.0) * scale
    slopes = math.hypot(1.0, 2 * first, second - 2 * first**2)  # by Σw·u², Σw·u and Σw
    noise = scale * slopes * total.noise / weight if _is_known(total) else math.inf
    error = 4 * half * question.columns[0].unit * weight / (weight - ddof) + value * EPSILON
    return Number(value=value, error=error, noise=noise, **common(total))


def correlation_of(question: Question, total: Total) -> Correlation:
    """Pearson's coefficients, within −1 and 1; with noise they need not be those of any one table."""
    names, size = tuple(column.name for column in question.columns), len(question.columns)
    weight = float(total.values[1])
    matrix, noises = np.full((size, size), math.nan), np.full((size, size), math.inf)
    if weight <= 0:
        return Correlation(matrix=matrix, columns=names, noises=noises, noise=math.inf, **common(total))
    first, second = (each / weight for each in _sums(question, total))
    spread, each = second - np.outer(first, first), total.noise / weight
    own, square = np.diag(spread), np.diag(second)
    varies = own > 0
    scale = 1 / np.sqrt(np.where(varies, own, math.nan))
    matrix = np.clip(spread * np.outer(scale, scale), -1.0, 1.0)
    # Slopes of r by the six sums that it is made of: Σu·u', Σu², Σu'², Σu, Σu' and Σw, all times Σw.
    both = np.outer(scale, scale)
    mine = matrix / 2 * (scale**2)[:, None]
    theirs = mine.T
    by_first = 2 * mine * first[:, None] - both * first[None, :]
    by_weight = both * (2 * np.outer(first, first) - second)
    by_weight -= mine * (2 * first**2 - square)[:, None] + theirs * (2 * first**2 - square)[None, :]
    slopes = np.sqrt(both**2 + mine**2 + theirs**2 + by_first**2 + by_first.T**2 + by_weight**2)
    known = own > _KNOWN * each * np.sqrt(1 + 4 * first**2 + (square - 2 * first**2) ** 2)
    if _is_known(total):
        noises = np.where(np.logical_and.outer(known, known), slopes * each, math.inf)
    np.fill_diagonal(matrix, np.where(varies, 1.0, math.nan))
    np.fill_diagonal(noises, np.where(varies, 0.0, math.inf))
    blur = np.sort(2 * _roundings(question) * np.where(varies, scale, 0.0))[-2:].sum()
    return Correlation(
        matrix=matrix,
        columns=names,
        noises=noises,
        error=float(blur) + 8 * EPSILON,
        noise=float(noises.max()),
        **common(total),
    )


def regression_of(question: Question, total: Total) -> Regression:
    """Least squares with an intercept. With M the sums of the predictors' products and c those with the outcome, β is
    M⁻¹c, and moves by M⁻¹(δc − δM·β).
    """
    names = ["intercept", *(column.name for column in question.columns[1:])]
    size, noise, weight = len(names), total.noise, float(total.values[1])
    first, second = _sums(question, total)
    square = np.empty((size, size))
    square[0, 0], square[0, 1:], square[1:, 0], square[1:, 1:] = weight, first[1:], first[1:], second[1:, 1:]
    right = np.array([first[0], *second[0, 1:]])
    least, *_, largest = np.linalg.eigvalsh(square).tolist()
    if least <= 64 * EPSILON * largest or weight <= size:
        nothing = dict.fromkeys(names, math.nan)
        return Regression(
            coefficients=nothing,
            standard_errors=dict(nothing),
            noises=dict.fromkeys(names, math.inf),
            converged=False,
            noise=math.inf,
            **common(total),
        )
    inverse = np.linalg.inv(square)
    beta = inverse @ right
    # A symmetric matrix of noise has a norm of about twice the root of its size: below that nothing is known.
    known = _is_known(total) and least > _KNOWN * 2 * noise * math.sqrt(size)
    moved = noise**2 * ((1 + beta @ beta) * np.eye(size) + np.outer(beta, beta) - np.diag(beta**2))
    middles, halves = (np.array(each) for each in zip(*(_span_of(question, k) for k in range(size)), strict=True))
    turn = np.diag(halves[0] / np.array([1.0, *halves[1:]]))
    turn[0, 1:] = -halves[0] * middles[1:] / halves[1:]
    values = turn @ beta + np.array([middles[0], *[0.0] * (size - 1)])
    noises = np.sqrt(np.diag(turn @ inverse @ moved @ inverse @ turn.T)) if known else np.full(size, math.inf)
    residual = max(float(second[0, 0] - beta @ right), 0.0)
    errors = np.sqrt(residual / (weight - size) * np.diag(turn @ inverse @ turn.T) + noises**2)
    whole = float(second[0, 0] - first[0] ** 2 / weight)
    rounding = _roundings(question)
    inner = np.array([0.0, *rounding[1:]])
    off = weight * (rounding[0] + inner + inner * np.abs(beta).sum() + np.abs(beta) @ inner)
    off = np.abs(inverse) @ off + 16 * EPSILON * float(np.linalg.cond(square)) * np.abs(beta)
    return Regression(
        coefficients=dict(zip(names, values.tolist(), strict=True)),
        standard_errors=dict(zip(names, errors.tolist(), strict=True)),
        noises=dict(zip(names, noises.tolist(), strict=True)),
        r_squared=min(max(1 - residual / whole, 0.0), 1.0) if whole > 0 else math.nan,
        error=2 * float((np.abs(turn) @ off).max()),
        noise=float(noises.max()),
        **common(total),
    )


def _sums(question: Question, total: Total) -> tuple[Floats, Floats]:
    """Σw·u of each column, and Σw·u·u' of each pair, symmetric."""
    size = len(question.columns)
    values = np.array([float(value) for value in total.values[COMMON:]])
    second = np.zeros((size, size))
    second[np.triu_indices(size)] = values[size:]
    return values[:size], second + np.triu(second, 1).T


def _roundings(question: Question) -> Floats:
    """By how much each column's u is off since values are rounded."""
    return np.array([column.unit / (column.upper - column.lower) for column in question.columns])


def _span(question: Question) -> tuple[float, float]:
    return _span_of(question, 0)


def _span_of(question: Question, place: int) -> tuple[float, float]:
    """The middle of a column's range, and half of its length."""
    column = question.columns[place]
    return (column.lower + column.upper) / 2, (column.upper - column.lower) / 2


def _is_known(total: Total) -> bool:
    return total.values[1] > _KNOWN * total.noise
