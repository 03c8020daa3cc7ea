"""What sums with noise tell of a column: Σw, Σw·u and Σw·u² with u = (x − middle) / (half of the range).

The noise in them is the same, of each its own, and stated of what follows from them to first order. That holds where Σw
is far above it: below two standard deviations nothing is known, and the noise stated is infinite.
"""

from __future__ import annotations

import math
from typing import Final

from secure_agg.stats.analysis import EPSILON, common
from secure_agg.stats.answers.totals import Total
from secure_agg.stats.question import COMMON, Question
from secure_agg.stats.results import Number

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


def _span(question: Question) -> tuple[float, float]:
    """The middle of the column's range, and half of its length."""
    column = question.columns[0]
    return (column.lower + column.upper) / 2, (column.upper - column.lower) / 2


def _is_known(total: Total) -> bool:
    return total.values[1] > _KNOWN * total.noise
