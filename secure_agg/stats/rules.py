"""What a site's owner allows: which questions, of which columns, and from how many records on.

The rules are a TOML file at the site. Nobody else sets them, and no question can:

    min_count = 10                   # no cell of fewer records leaves the site by itself
    functions = ["count", "mean", "quantile"]

    [columns.age]
    lower = 0                        # announced: a question has this range, and no other
    upper = 110
    step = 5                         # edges and filters are lower + k * step

    [columns.sex]
    levels = ["f", "m"]
    filter = true                    # conditions may name it

    [privacy]
    epsilon = 4.0                    # only with noise, of a task whose budget is at most this
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from secure_agg import files
from secure_agg.errors import ConfigError, QueryRefused
from secure_agg.privacy.accounting import DELTA_UNIT, EPSILON_UNIT
from secure_agg.privacy.asked import MOST_DELTA
from secure_agg.protocol.config.privacy import PrivacyRule
from secure_agg.stats.question import FUNCTIONS, Column, Question

DEFAULT_MIN_COUNT: Final = 5
MAX_FILE_BYTES: Final = 1 << 20


class ColumnRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is allowed with one column.

    Attributes:
        functions: that may take it; None for all that the site allows.
        lower, upper: its range; None for any that a question announces.
        step: what edges and filters are multiples of, from ``lower`` on.
        levels: of a categorical column.
        filter: whether conditions may name it.
    """

    functions: tuple[str, ...] | None = None
    lower: float | None = None
    upper: float | None = None
    step: float | None = None
    levels: tuple[str, ...] | None = None
    filter: bool = False

    def __post_init__(self) -> None:
        _known(self.functions)
        if self.step is not None and not (math.isfinite(self.step) and self.step > 0 and self.lower is not None):
            raise ConfigError("a step is a number above 0, and needs a lower end to begin at")

    @property
    def is_of_numbers(self) -> bool:
        """Whether the owner has announced numbers: taken as levels they would have no range and no step."""
        return not (self.lower is self.upper is self.step is None)


class PrivacyLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an owner lets a whole task tell: nothing is answered without noise, or for a larger budget.

    Attributes:
        epsilon, delta: of the budget, at most.
    """

    epsilon: float
    delta: float = MOST_DELTA

    def __post_init__(self) -> None:
        if not (0 < self.epsilon < math.inf and 0 < self.delta < 1):
            raise ConfigError(f"privacy of epsilon = {self.epsilon:g}, delta = {self.delta:g}: both are above 0")

    def check(self, rule: PrivacyRule | None) -> None:
        """
        Raises:
            QueryRefused: rounds are without noise, or of a larger budget.
        """
        if rule is None:
            raise QueryRefused(
                "this site's owner allows answers with differential privacy only: these rounds have none"
            )
        epsilon, delta = rule.epsilon / EPSILON_UNIT, rule.delta / DELTA_UNIT
        if epsilon > self.epsilon or delta > self.delta:
            raise QueryRefused(
                f"this site's owner allows a budget of epsilon = {self.epsilon:g}, delta = {self.delta:g}, and the "
                f"task's is {epsilon:g}, {delta:g}"
            )


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a site answers.

    Attributes:
        min_count: the fewest records of a cell; 1 holds nothing back.
        max_refusals: of questions that these rules allow, beside what the site holds or has told: after so many no
            more questions are answered. None for any number.
        functions: that are answered; None for all.
        columns: by name; None for any column, in conditions too.
        privacy: the largest budget of a task whose rounds are answered; None for any, and for rounds without noise.
    """

    min_count: int = DEFAULT_MIN_COUNT
    max_refusals: int | None = None
    functions: tuple[str, ...] | None = None
    columns: Mapping[str, ColumnRule] | None = None
    privacy: PrivacyLimit | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.min_count <= 1 << 20:
            raise ConfigError(f"min_count is {self.min_count}, not between 1 and {1 << 20}")
        if self.max_refusals is not None and self.max_refusals < 1:
            raise ConfigError(f"max_refusals is {self.max_refusals}, below 1")
        _known(self.functions)

    @classmethod
    def load(cls, path: Path) -> Rules:
        """
        Raises:
            ConfigError: no such file, or it says what rules don't.
        """
        try:
            document = tomllib.loads(files.read(path, MAX_FILE_BYTES, "rules").decode("utf-8"))
            return msgspec.convert(document, cls)
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise ConfigError(f"{path} holds no rules of statistics: {error}") from None

    def check(self, question: Question, privacy: PrivacyRule | None = None) -> None:
        """What question and rounds alone decide; no data is looked at.

        Args:
            privacy: of the rounds that the answer goes in; None where it is exact.

        Raises:
            QueryRefused: names what the owner has not allowed.
        """
        if self.privacy is not None:
            self.privacy.check(privacy)
        if self.functions is not None and question.function not in self.functions:
            raise QueryRefused(f"this site's owner does not allow {question.function}")
        if self.columns is None:
            return
        for column in (*question.columns, *((question.weights,) if question.weights else ())):
            self._check_column(question, column)
        for condition in question.where:
            rule = self._rule(condition.column)
            # A quantile's later rounds are about the records of one bin of its own column.
            narrows = question.function == "quantile" and condition.column == question.columns[0].name
            if not rule.filter and not narrows:
                raise QueryRefused(f"this site's owner does not allow conditions on column {condition.column!r}")
            if isinstance(condition.value, str):
                if rule.is_of_numbers or (rule.levels is not None and condition.value not in rule.levels):
                    raise QueryRefused(f"a condition on {condition.column!r} names a level that is not announced")
            else:
                _on_step(rule, condition.column, (condition.value,))

    def announced(self, name: str) -> ColumnRule:
        """The rule of a column, an empty one where there is none: for whoever asks what may be asked."""
        return (self.columns or {}).get(name, ColumnRule())

    def _rule(self, name: str) -> ColumnRule:
        rule = (self.columns or {}).get(name)
        if rule is None:
            raise QueryRefused(f"this site's owner does not allow column {name!r}")
        return rule

    def _check_column(self, question: Question, column: Column) -> None:
        rule = self._rule(column.name)
        if rule.functions is not None and question.function not in rule.functions:
            raise QueryRefused(f"this site's owner does not allow {question.function} of column {column.name!r}")
        if column.levels:
            if rule.is_of_numbers or (rule.levels is not None and column.levels != rule.levels):
                raise QueryRefused(f"column {column.name!r} has other levels than its owner has announced")
            return
        if question.edges and column is question.columns[0]:
            _on_step(rule, column.name, question.edges)
            inner = (rule.lower is None or rule.lower <= column.lower) and (
                rule.upper is None or column.upper <= rule.upper
            )
        else:
            inner = rule.lower in (None, column.lower) and rule.upper in (None, column.upper)
        if not inner or rule.levels is not None:
            raise QueryRefused(f"column {column.name!r} is asked for in another range than its owner has announced")


def _known(functions: tuple[str, ...] | None) -> None:
    if unknown := set(functions or ()) - set(FUNCTIONS):
        raise ConfigError(f"there is no function {', '.join(sorted(unknown))}: they are {', '.join(FUNCTIONS)}")


def _on_step(rule: ColumnRule, name: str, values: tuple[float, ...]) -> None:
    if rule.step is None or rule.lower is None:
        return
    if any(rule.lower + round((value - rule.lower) / rule.step) * rule.step != value for value in values):
        raise QueryRefused(f"column {name!r} is cut at multiples of {rule.step:g} from {rule.lower:g} on only")


def column_of(rules: Rules, name: str, lower: Any, upper: Any) -> tuple[float, float]:
    """A column's range: as asked for, else as these rules announce it.

    Raises:
        ConfigError: neither says.
    """
    rule = rules.announced(name)
    low, high = (rule.lower if lower is None else lower), (rule.upper if upper is None else upper)
    if low is None or high is None:
        raise ConfigError(f"column {name!r} needs a range that is announced beforehand, and never taken from data")
    return float(low), float(high)
