"""The analyst's half of logistic regression: Newton's method, a round for each step."""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from secure_agg.stats.analysis import Analysis, common
from secure_agg.stats.answers.totals import Total
from secure_agg.stats.question import COMMON, LIKELIHOOD_BITS, RESOLUTION_BITS, Question
from secure_agg.stats.results import Floats, Regression

_TOLERANCE: Final = 1e-10
_HALVINGS: Final = 12


def climbing(question: Question, most_rounds: int) -> Analysis[Regression]:
    """Coefficients of the largest likelihood, the first column's chance of being 1 by the others.

    A step that lowers the likelihood is halved. Where the maximum is at infinity, since a plane parts the outcomes,
    ``converged`` is False after so many rounds, and standard errors grow without bound.
    """
    names = ["intercept", *(column.name for column in question.columns[1:])]
    units = np.array([2.0**-RESOLUTION_BITS, *(column.unit for column in question.columns[1:])])
    reach = np.array([1.0, *(column.most for column in question.columns[1:])])
    beta = np.zeros(len(names))
    best: tuple[Floats, float, Floats, Floats] | None = None
    totals: list[Total] = []
    step, blur, halved = np.full(len(names), math.inf), np.zeros(len(names)), 0
    while len(totals) < most_rounds:
        total = yield msgspec.structs.replace(question, point=tuple(beta.tolist()))
        totals.append(total)
        if not total.values[0]:
            break
        slope, curvature, likelihood = _read(total, units)
        if best is not None and likelihood < best[1] - 1e-6 and halved < _HALVINGS:
            step, halved = step / 2, halved + 1
            beta = best[0] + step
            continue
        best, halved = (beta, likelihood, slope, curvature), 0
        scale = 1 / np.sqrt(np.maximum(np.diag(curvature), 1e-300))
        square = curvature * np.outer(scale, scale)
        if not np.isfinite(square).all() or np.linalg.cond(square) > 2.0**44:
            break
        inverse = np.linalg.inv(square) * np.outer(scale, scale)
        step = inverse @ slope
        # A residual and a value are rounded to 2^-40 of what they can be, so a slope's term to 2^-39 of its column's.
        blur = np.abs(inverse) @ (reach * float(total.values[1]) * 2.0**-39)
        if (np.abs(step) <= np.maximum(blur, _TOLERANCE * np.maximum(np.abs(beta), 1 / reach))).all():
            last = beta + step
            errors = np.sqrt(np.diag(inverse))
            return Regression(
                coefficients=dict(zip(names, last.tolist(), strict=True)),
                standard_errors=dict(zip(names, errors.tolist(), strict=True)),
                log_likelihood=likelihood,
                iterations=len(totals),
                error=float((2 * blur + np.abs(step) + 2.0**-44 * np.abs(last)).max()),
                **common(*totals),
            )
        beta = beta + step
    found = best[0] if best is not None else np.full(len(names), math.nan)
    return Regression(
        coefficients=dict(zip(names, found.tolist(), strict=True)),
        standard_errors=dict.fromkeys(names, math.nan),
        log_likelihood=best[1] if best is not None else math.nan,
        iterations=len(totals),
        converged=False,
        error=math.inf,
        **common(*totals),
    )


def _read(total: Total, units: Floats) -> tuple[Floats, Floats, float]:
    """Gradient, negative Hessian and value of the log-likelihood."""
    size, full = units.size, 2.0**-RESOLUTION_BITS
    sums = [float(value) for value in total.values[COMMON:]]
    slope = np.array(sums[:size]) * units * full
    curvature = np.zeros((size, size))
    upper = np.triu_indices(size)
    curvature[upper] = sums[size:-1]
    curvature = curvature + np.triu(curvature, 1).T
    return slope, curvature * np.outer(units, units), math.ldexp(sums[-1], -LIKELIHOOD_BITS)
