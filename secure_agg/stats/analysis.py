"""The analyst's half of anything: a generator that yields questions, is sent totals, and returns a result.

It is a pure function of the totals: every site that drives it by the same totals comes to the same result. ``run``
drives one over a federation.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from typing import Any, Final, TypeVar

from secure_agg.errors import ConfigError
from secure_agg.stats.answers.totals import Total
from secure_agg.stats.federation import Federation
from secure_agg.stats.question import COMMON, Column, Condition, Question

R = TypeVar("R")
Analysis = Generator[Question, Total, R]

Where = Iterable[tuple[str, str, float | str]]
"""Conditions as callers write them: ``[("age", ">=", 50), ("sex", "==", "f")]``."""
EPSILON: Final = 2.0**-52


def run(federation: Federation, analysis: Analysis[R]) -> R:
    """Ask what an analysis asks, one question after the other, and return its result."""
    try:
        question = next(analysis)
        while True:
            question = analysis.send(federation.total(question))
    except StopIteration as done:
        result: R = done.value
        return result


def conditions(where: Where) -> tuple[Condition, ...]:
    """Conditions of a question.

    Raises:
        ConfigError: one that is none.
    """
    found = []
    for each in where:
        column, operation, value = each
        if operation not in ("==", "!=", "<", "<=", ">", ">="):
            raise ConfigError(f"a condition compares by ==, !=, <, <=, > or >=, not by {operation!r}")
        found.append(Condition(column, operation, value if isinstance(value, str) else float(value)))  # type: ignore[arg-type]
    return tuple(found)


def weights(name: str | None, most: int) -> Column | None:
    """The column of weights, whole numbers from 0 to ``most``."""
    return None if name is None else Column(name=name, lower=0, upper=most)


def common(*totals: Total) -> dict[str, Any]:
    """What a result has of the totals it is made of: the last one's counts, and all proofs. With noise nothing is said
    of what sites have held back or dropped.
    """
    last = totals[-1]
    records, weight, _, missing, outside = last.values[:COMMON]
    said = not last.noise
    return {
        "records": records,
        "weight": weight,
        "uncertain": int(max(total.values[2] for total in totals)) if said else None,
        "missing": int(missing) if said else None,
        "outside": int(outside) if said else None,
        "participants": last.participants,
        "rounds": tuple(proof for total in totals for proof in total.rounds),
    }


def chi2_sf(value: float, degrees: int) -> float:
    """The chance that a chi-squared variable of so many degrees is above ``value`` (Abramowitz and Stegun 26.4.4–5)."""
    if not value > 0:
        return 1.0 if value == 0 else math.nan
    half = value / 2
    if degrees % 2 == 0:
        term, total = math.exp(-half), 0.0
        for place in range(degrees // 2):
            total += term
            term *= half / (place + 1)
        return min(total, 1.0)
    total = math.erfc(math.sqrt(half))
    term = math.sqrt(2 * value / math.pi) * math.exp(-half)
    for place in range(1, (degrees + 1) // 2):
        total += term
        term *= value / (2 * place + 1)
    return min(total, 1.0)
