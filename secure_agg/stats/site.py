"""A site's half: from a question and its own records to the integers of an answer. Pure functions, and ``Site``.

What a site holds back follows from its own records and minimum m alone. A set of fewer than m records counts as empty.
A cell of fewer is held back where cells have no order, and moved to the next one where they have: then no cumulative
count is off by m records or more. Whether anything was held back is not said: that would tell of fewer than m records
whether there are any, and so, one question after the other, what each of them holds.

A sum can single out a few records without any condition: those that are limited to the range, or those where a column,
or the weights, are not what they are nearly everywhere. Such records are a set as well, and of fewer than m nothing is
answered.

With differential privacy a site refuses by its owner's rules alone, and keeps no log: whether it answers would tell of
its records without noise, and what any number of answers tell is bounded by the budget.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.errors import LocalProtocolError, QueryRefused
from secure_agg.protocol.config.privacy import PrivacyRule
from secure_agg.stats.query_log import Fitting, Mask, QueryLog, is_few
from secure_agg.stats.question import (
    BINNED,
    COMMON,
    LIKELIHOOD_BITS,
    MAX_RECORDS,
    MOMENTS,
    RESOLUTION_BITS,
    SURVIVAL,
    Column,
    Condition,
    Question,
)
from secure_agg.stats.rules import Rules
from secure_agg.stats.tables import Table

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_OPERATIONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_LIMB: Final = 20
"""Bits of what integers are cut into before they are multiplied: 2^22 products of two fit in 63 bits."""


@dataclass(frozen=True)
class Answer:
    """The integers of a question's fields, and which sets of records they are sums over."""

    values: tuple[int, ...]
    sets: tuple[Mask, ...]


@dataclass(frozen=True, eq=False)
class Site:
    """One site: its records, what its owner allows, and what it has told before.

    Attributes:
        table: its records.
        rules: of its owner.
        log: of earlier answers.
    """

    table: Table
    rules: Rules = field(default_factory=Rules)
    log: QueryLog = field(default_factory=QueryLog)

    def answer(self, question: Question, privacy: PrivacyRule | None = None) -> tuple[int, ...]:
        """The integers of an answer, remembered before they are returned unless they will have noise.

        Args:
            privacy: of the rounds that it goes in; None where it is exact.

        Raises:
            QueryRefused: the owner does not allow it; beside an earlier answer it would tell of few records; or a value
                is missing or out of range, and the question does not say that this may be.
            ConfigError: there is no such column, or it holds something else.
        """
        self.rules.check(question, privacy)
        if privacy is not None:
            return answer(question, self.table, self.rules, privacy).values
        self.log.check_refusals(self.rules.max_refusals)
        least = self.rules.min_count

        def shares(earlier: Question) -> Floats:
            return _shares(earlier, self.table, _Scope.of(earlier, self.table, least).kept)

        fitted = question if question.function == "logistic_regression" else None
        try:
            found = answer(question, self.table, self.rules)
            self.log.admit(self.table, found.sets, least, Fitting(fitted, shares))
        except QueryRefused:  # by what the site holds or has told
            if self.rules.max_refusals is not None:
                self.log.note_refusal()
            raise
        return found.values


def answer(question: Question, table: Table, rules: Rules, privacy: PrivacyRule | None = None) -> Answer:
    """What one site answers, from its own records alone: the same question and records give the same integers.

    With privacy there may be more records than the question allows for, see ``answers.noisy``, and text in a column of
    numbers is a missing value.

    Raises:
        QueryRefused, ConfigError: as ``Site.answer``, but for the log.
    """
    rules.check(question, privacy)
    least = rules.min_count
    if privacy is not None:
        table = table.lenient()
    scope = _Scope.of(question, table, least)
    kept, count = scope.kept, int(scope.kept.sum())
    if privacy is None and count > question.records:
        raise QueryRefused(f"this site has more than the {question.records} records that the question allows for")
    weights = _weights(question, table, kept)
    sets = [kept, *(() if privacy else _singled_out(question, table, kept, least))]
    if question.function in MOMENTS:
        body = [] if question.function == "count" else _moments(question, table, kept, weights)
    elif question.function == "logistic_regression":
        body = _derivatives(question, table, kept, weights, least)
        above = _scores(question, table, kept) > 0
        if float(np.abs(_chances(question, table, kept) - above).sum()) < least:  # so steep that it is a condition
            sets.append(_spread(kept, above))
    else:
        cells, ordered = _cells(question, table, kept, privacy is not None)
        landing = release(np.bincount(cells, minlength=question.cells), least, ordered)[cells]
        inside = landing >= 0
        counts = [0] * question.cells
        for place in np.unique(landing[inside]).tolist():
            chosen = landing == place
            counts[place] = int(weights[chosen].sum())
            sets.append(_spread(kept, chosen))
        sets += [_spread(kept, chosen) for chosen in _unions(question, landing, ordered)]
        body = counts
        if question.function in SURVIVAL:
            off: Mask = _spread(kept, ~np.isin(_values(question.columns[0], table, kept), question.edges))
            body = [_coarse(off, least), *counts]
            sets += [off] if body[0] else []
        if not inside.all():  # what was held back is in no sum at all
            kept = _spread(kept, inside)
            sets[0], weights, count = kept, weights[inside], int(inside.sum())
    sets += [mask for mask in (scope.missing, scope.outside) if int(mask.sum()) >= least]
    coarse = [_coarse(mask, least) for mask in (scope.missing, scope.outside)]
    values = (count, int(weights.sum()), least - 1, *coarse, *body)
    if len(values) != len(question.fields) or len(values) < COMMON:
        raise LocalProtocolError("an answer has the fields of its question")
    return Answer(values, tuple(sets))


def release(counts: Integers, least: int, ordered: int) -> Integers:
    """Where the records of each cell are counted, so that every count is 0 or at least ``least``.

    Args:
        counts: of the cells.
        least: the minimum.
        ordered: 0 where cells have no order; else cells come in runs of so many, each in its own order.

    Returns:
        For each cell the one that its records are counted in, −1 for none.
        Within a run cells are gathered up to the first that makes them enough, and what is left at its end goes to the
        one before: no cumulative count is off by ``least`` records.
    """
    found = np.arange(counts.size)
    if not ordered:
        found[counts < least] = -1
        return found
    for start in range(0, counts.size, ordered):
        waiting, total, last = [], 0, -1
        for place in range(start, start + ordered):
            waiting.append(place)
            total += int(counts[place])
            if total >= least:
                found[waiting] = last = place
                waiting, total = [], 0
        found[waiting] = last
    return found


def _unions(question: Question, landing: Integers, ordered: int) -> Iterator[Mask]:
    """What is read off the cells by adding some up, as sets of the kept records: cumulative counts where cells are in
    an order, margins where they have two.
    """
    if ordered:
        for start in range(0, question.cells, ordered):
            within = (landing >= start) & (landing < start + ordered)
            for place in np.unique(landing[within]).tolist()[1:]:
                yield within & (landing <= place)
        return
    columns = len(question.columns[1].levels)
    for margin in (landing // columns, landing % columns):
        for level in np.unique(margin[landing >= 0]).tolist():
            yield (landing >= 0) & (margin == level)


def _singled_out(question: Question, table: Table, kept: Mask, least: int) -> list[Mask]:
    """Sets of kept records that a sum tells of, though no condition names them: where a column is summed, those that
    are limited to an end of its range, and those whose value is not the one that most have; and so of weights.

    Raises:
        QueryRefused: one of them has records, and fewer than ``least``.
    """
    summed = question.columns if question.function in (*MOMENTS[1:], "logistic_regression") else ()
    found: list[tuple[str, Mask]] = []
    for column in (*summed, *((question.weights,) if question.weights else ())):
        numbers = table.numbers(column.name)
        beyond = [numbers < column.lower, numbers > column.upper] if question.outside == "clip" else []
        found += [(f"are out of the range of column {column.name!r}", kept & mask) for mask in beyond]
        values, counts = np.unique(np.clip(numbers[kept], column.lower, column.upper), return_counts=True)
        if values.size > 1 and 2 * int(counts.max()) >= int(counts.sum()):
            usual = np.clip(numbers, column.lower, column.upper) == values[counts.argmax()]
            found.append((f"differ from most others in column {column.name!r}", kept & ~usual))
    for what, mask in found:
        if 0 < int(mask.sum()) < least:
            raise QueryRefused(f"some records here {what}, and they are fewer than {least}: their sum would tell them")
    return [mask for _, mask in found if mask.any()]


@dataclass(frozen=True)
class _Scope:
    """Which records count, and which were left out or limited for what they hold."""

    kept: Mask
    missing: Mask
    outside: Mask

    @classmethod
    def of(cls, question: Question, table: Table, least: int) -> _Scope:
        kept = np.ones(table.size, dtype=np.bool_)
        for condition in question.where:
            kept &= _fulfilled(condition, table)
        if int(kept.sum()) < least:  # nor is a refusal about so few
            kept = np.zeros_like(kept)
        missing, outside = np.zeros_like(kept), np.zeros_like(kept)
        columns = (*question.columns, *((question.weights,) if question.weights else ()))
        for column in columns:
            gone, beyond = _unfit(column, table)
            missing |= gone
            outside |= beyond
            if question.weights is not None and column is question.weights:
                with np.errstate(invalid="ignore"):
                    outside |= ~gone & (table.numbers(column.name) % 1 != 0)
                kept &= table.numbers(column.name) != 0  # what counts no time is not in scope
        if question.weights is not None and question.outside == "clip" and bool((outside & kept).any()):
            raise QueryRefused("values out of range can't be limited where records have weights: drop them, or refuse")
        missing &= kept
        if question.missing == "refuse" and missing.any():
            raise QueryRefused("a value of the question's columns is missing here, and it says to refuse then")
        kept &= ~missing
        outside &= kept
        if outside.any():
            if question.outside == "refuse":
                raise QueryRefused("a value here is out of the announced range or levels, and it says to refuse then")
            if question.outside == "drop":
                kept &= ~outside
            elif any(_unfit(column, table)[1][kept].any() for column in columns if column.levels):
                raise QueryRefused("a level here is not announced, and levels can't be limited: drop them, or refuse")
        return cls(kept if int(kept.sum()) >= least else np.zeros_like(kept), missing, outside)


def _fulfilled(condition: Condition, table: Table) -> Mask:
    compare = _OPERATIONS[condition.operation]
    if isinstance(condition.value, str):
        texts = table.texts(condition.column)
        return np.array([text is not None and compare(text, condition.value) for text in texts], dtype=np.bool_)
    numbers = table.numbers(condition.column)
    found: Mask = compare(numbers, condition.value) & ~np.isnan(numbers)
    return found


def _unfit(column: Column, table: Table) -> tuple[Mask, Mask]:
    """Where a column's value is missing, and where it is out of range."""
    if column.levels:
        known, texts = set(column.levels), table.texts(column.name)
        gone = np.array([text is None for text in texts], dtype=np.bool_)
        return gone, np.array([text is not None and text not in known for text in texts], dtype=np.bool_)
    numbers = table.numbers(column.name)
    return np.isnan(numbers), (numbers < column.lower) | (numbers > column.upper)


def _spread(kept: Mask, chosen: Mask) -> Mask:
    """Of the kept records the chosen ones, as a set over all."""
    found = np.zeros_like(kept)
    found[kept] = chosen
    return found


def _coarse(mask: Mask, least: int) -> int:
    count = int(mask.sum())
    return count if count >= least else 0


def _weights(question: Question, table: Table, kept: Mask) -> Integers:
    if question.weights is None:
        return np.ones(int(kept.sum()), dtype=np.int64)
    return table.numbers(question.weights.name)[kept].astype(np.int64)


def _values(column: Column, table: Table, kept: Mask) -> Floats:
    return np.clip(table.numbers(column.name)[kept], column.lower, column.upper)


def rounded(column: Column, table: Table, kept: Mask) -> Integers:
    """A column's values as multiples of its unit."""
    return np.rint(_values(column, table, kept) / column.unit).astype(np.int64)


def exact_dot(left: Integers, right: Integers) -> int:
    """Σ left · right, exactly, of integers of less than 2^62 in size, however many."""
    total = 0
    for start in range(0, left.size, MAX_RECORDS):
        some = slice(start, start + MAX_RECORDS)
        for (one, a), (two, b) in itertools.product(enumerate(_limbs(left[some])), enumerate(_limbs(right[some]))):
            total += int(np.dot(a, b)) << (_LIMB * (one + two))
    return total


def _limbs(values: Integers) -> list[Integers]:
    """Signed limbs of at most ``_LIMB`` bits, least first, whose weighted sum the values are."""
    found, rest = [], np.abs(values)
    sign = np.sign(values)
    while True:
        found.append(sign * (rest & ((1 << _LIMB) - 1)))
        rest = rest >> _LIMB
        if not rest.any():
            return found


def _moments(question: Question, table: Table, kept: Mask, weights: Integers) -> list[int]:
    columns = [rounded(column, table, kept) for column in question.columns]
    found = [exact_dot(weights, column) for column in columns]
    if question.function not in ("sum", "mean"):
        weighted = [weights * column for column in columns]
        pairs = itertools.combinations_with_replacement(range(len(columns)), 2)
        found += [exact_dot(weighted[one], columns[other]) for one, other in pairs]
    return found


def _scores(question: Question, table: Table, kept: Mask) -> Floats:
    """Of each kept record what a logistic regression's point makes of its columns."""
    found = np.zeros(int(kept.sum()))
    for slope, column in zip(question.point, (None, *question.columns[1:]), strict=True):
        found += slope if column is None else slope * (rounded(column, table, kept) * column.unit)
    return found


def _chances(question: Question, table: Table, kept: Mask) -> Floats:
    """The chances of 1 that follow."""
    return 0.5 * (1.0 + np.tanh(0.5 * _scores(question, table, kept)))


def _shares(question: Question, table: Table, kept: Mask) -> Floats:
    """What each record of the table counts in the sums of a logistic regression, beside its outcome and its values."""
    found = np.zeros(table.size)
    found[kept] = _weights(question, table, kept) * _chances(question, table, kept)
    return found


def _derivatives(question: Question, table: Table, kept: Mask, weights: Integers, least: int) -> list[int]:
    """Gradient, curvature and value of the log-likelihood at the question's point."""
    full = float(1 << RESOLUTION_BITS)
    outcome = table.numbers(question.columns[0].name)[kept]
    if not np.isin(outcome, (0.0, 1.0)).all():
        raise QueryRefused("the outcome of a logistic regression is 0 or 1, and here it is something else")
    design = [np.full(outcome.size, 1 << RESOLUTION_BITS, dtype=np.int64)]
    design += [rounded(column, table, kept) for column in question.columns[1:]]
    score, chance = _scores(question, table, kept), _chances(question, table, kept)
    if any(is_few(weights * part, least) for part in (outcome - chance, chance * (1.0 - chance))):
        raise QueryRefused(f"at this point a sum would be that of fewer than {least} records")
    residual = np.rint((outcome - chance) * full).astype(np.int64)
    found = [exact_dot(weights * residual, column) for column in design]
    curved = chance * (1.0 - chance)
    bent = [weights * np.rint(column * curved).astype(np.int64) for column in design]
    pairs = itertools.combinations_with_replacement(range(len(design)), 2)
    found += [exact_dot(bent[one], design[other]) for one, other in pairs]
    likelihood = outcome * score - np.logaddexp(0.0, score)
    found.append(exact_dot(weights, np.rint(np.ldexp(likelihood, LIKELIHOOD_BITS)).astype(np.int64)))
    return found


def _cells(question: Question, table: Table, kept: Mask, lenient: bool) -> tuple[Integers, int]:
    """For each kept record its cell, and how many cells are in an order together; 0 for none.

    Whoever lives beyond the last time, where durations are limited to it, is censored there. ``lenient``: an event that
    is neither 0 nor 1 is the nearer of the two, and no reason to refuse.
    """
    if question.function == "contingency":
        found = np.zeros(int(kept.sum()), dtype=np.int64)
        for column in question.columns:
            found = found * len(column.levels) + _codes(column, table, kept)
        return found, 0
    edges, values = np.array(question.edges), _values(question.columns[0], table, kept)
    if question.function in BINNED:
        bins = np.searchsorted(edges, values, side="right") - 1
        return np.minimum(bins, edges.size - 2), edges.size - 1
    times = np.minimum(np.searchsorted(edges, values, side="left"), edges.size - 1)
    event = table.numbers(question.columns[1].name)[kept]
    if lenient:
        event = np.where(event >= 0.5, 1.0, 0.0)
    if not np.isin(event, (0.0, 1.0)).all():
        raise QueryRefused("an event is 1, and a record that is censored has 0; here is something else")
    event = np.where(table.numbers(question.columns[0].name)[kept] > edges[-1], 0.0, event)
    group = _codes(question.columns[2], table, kept) if len(question.columns) > 2 else np.zeros(times.size, np.int64)
    return (2 * group + (event == 0)) * edges.size + times, edges.size


def _codes(column: Column, table: Table, kept: Mask) -> Integers:
    places = {level: place for place, level in enumerate(column.levels)}
    texts = table.texts(column.name)
    return np.array([places[texts[row] or ""] for row in np.flatnonzero(kept).tolist()], dtype=np.int64)
