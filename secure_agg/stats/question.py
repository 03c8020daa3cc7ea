"""Questions: what an analyst asks of every site, all of it public and fixed before any data is looked at.

A question names columns with their ranges or levels, filters, what becomes of missing values and of those out of range,
and whatever its function takes. From it alone follow the fields of an answer, integers of a known size: so an answer's
length tells nothing of a site's data, and every site can compare a question with what its owner allows.

Real numbers become integers by a unit that follows from the range: the power of two that is 2^-40 of the smallest one
which no value of the range exceeds in size. All sums are then sums of integers, exact whatever their number.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from typing import Final, Literal

import msgspec

from secure_agg.errors import ConfigError

RESOLUTION_BITS: Final = 40
"""A value of a column is an integer of at most so many bits."""
LIKELIHOOD_BITS: Final = 30
"""Of a logarithm's fraction."""
MAX_RECORDS: Final = 1 << 22
MAX_WEIGHT: Final = 1 << 16
MAX_CELLS: Final = 1 << 16
MAX_COLUMNS: Final = 64
DEFAULT_RECORDS: Final = 1 << 20

MOMENTS: Final = ("count", "sum", "mean", "variance", "correlation", "linear_regression")
BINNED: Final = ("histogram", "quantile")
SURVIVAL: Final = ("kaplan_meier", "log_rank")
FUNCTIONS: Final = (*MOMENTS, *BINNED, "contingency", "logistic_regression", *SURVIVAL)

Missing = Literal["refuse", "drop"]
Outside = Literal["refuse", "drop", "clip"]
Operation = Literal["==", "!=", "<", "<=", ">", ">="]


class Column(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A column as a question takes it: numbers of a range, or one of the levels.

    Attributes:
        name: of the column, the same at all sites.
        lower, upper: of its values, announced and never taken from data.
        levels: of a categorical column, all of them; the range does not count then.
    """

    name: str
    lower: float = 0.0
    upper: float = 1.0
    levels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.levels:
            if len(set(self.levels)) != len(self.levels) or len(self.levels) > MAX_CELLS:
                raise ConfigError(
                    f"column {self.name!r} has {len(self.levels)} levels, more than there may be or twice"
                )
        elif not -1e100 <= self.lower < self.upper <= 1e100:
            raise ConfigError(
                f"the range of column {self.name!r} is [{self.lower:g}, {self.upper:g}]: two finite numbers are "
                "wanted, the lower one first"
            )
        elif self.most < 1e-100:
            raise ConfigError(f"the range of column {self.name!r} is too narrow around 0")

    @property
    def most(self) -> float:
        """The largest size of a value."""
        return max(abs(self.lower), abs(self.upper))

    @property
    def unit(self) -> float:
        """What values are multiples of once they are rounded; a power of two."""
        mantissa, exponent = math.frexp(self.most)
        return math.ldexp(1.0, exponent - (mantissa == 0.5) - RESOLUTION_BITS)


class Condition(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Of the records that count, each fulfils this; one whose value is missing does not."""

    column: str
    operation: Operation
    value: float | str

    def __post_init__(self) -> None:
        if isinstance(self.value, str) and self.operation not in ("==", "!="):
            raise ConfigError(f"a level of column {self.column!r} is compared by == or !=, not {self.operation}")
        if not isinstance(self.value, str) and not math.isfinite(self.value):
            raise ConfigError(f"column {self.column!r} is compared with {self.value}, no finite number")


class Field(msgspec.Struct, frozen=True):
    """One integer of an answer: no site's is larger in size than ``most``."""

    name: str
    most: int


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question to all sites, one round.

    Attributes:
        function: what is asked for: one of ``FUNCTIONS``.
        columns: that it takes, in its order: of a regression the outcome first, of survival duration, event (0 or 1)
            and, where there is one, the group.
        where: filters.
        missing: ``refuse`` to answer where a selected record lacks a value of a column, or ``drop`` the record.
        outside: of a value out of its range or levels: ``refuse``, ``drop`` the record, or ``clip`` the number.
        weights: column of integers, how often a record counts; None for once.
        edges: of bins, ascending: each is closed at its left, the last at both ends; of survival the times.
        point: of a logistic regression where its derivatives are taken, the intercept first.
        records: no site has more.
    """

    function: str
    columns: tuple[Column, ...] = ()
    where: tuple[Condition, ...] = ()
    missing: Missing = "refuse"
    outside: Outside = "refuse"
    weights: Column | None = None
    edges: tuple[float, ...] = ()
    point: tuple[float, ...] = ()
    records: int = DEFAULT_RECORDS

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ConfigError(f"there is no function {self.function!r}: take one of {', '.join(FUNCTIONS)}")
        if not 1 <= self.records <= MAX_RECORDS:
            raise ConfigError(f"records of a site are at most {MAX_RECORDS}, not {self.records}")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names) or len(names) > MAX_COLUMNS:
            raise ConfigError(f"a question takes different columns, at most {MAX_COLUMNS}: {', '.join(names)}")
        if self.weights and (
            self.weights.levels
            or not 0 <= self.weights.lower <= self.weights.upper <= MAX_WEIGHT
            or self.function in SURVIVAL
        ):
            raise ConfigError(
                f"weights are whole numbers from 0 to {MAX_WEIGHT}, how often a record counts; survival has none"
            )
        self._check_edges()
        self._check_columns()
        if len(self.point) != (len(self.columns) if self.function == "logistic_regression" else 0) or not all(
            math.isfinite(value) for value in self.point
        ):
            raise ConfigError("a logistic regression, and nothing else, is asked at a point: intercept and slopes")

    def _check_edges(self) -> None:
        binned = self.function in (*BINNED, *SURVIVAL)
        if binned != bool(self.edges):
            raise ConfigError(f"edges are for {', '.join((*BINNED, *SURVIVAL))}, and those need them")
        if binned and (
            len(self.edges) < (1 if self.function in SURVIVAL else 2)
            or not all(math.isfinite(edge) for edge in self.edges)
            or any(low >= high for low, high in itertools.pairwise(self.edges))
        ):
            raise ConfigError("edges are finite numbers in ascending order, at least two; times at least one")
        if self.cells > MAX_CELLS:
            raise ConfigError(f"{self.cells} cells are more than {MAX_CELLS}")

    def _check_columns(self) -> None:
        names = [column.name for column in self.columns]
        kinds = {
            "count": "",
            "sum": "n",
            "mean": "n",
            "variance": "n",
            "histogram": "n",
            "quantile": "n",
            "contingency": "cc",
        }
        found = "".join("c" if column.levels else "n" for column in self.columns)
        wanted = kinds.get(self.function)
        if self.function == "count":
            fits = True
        elif self.function in SURVIVAL:
            fits = found in ("nn", "nnc")
        elif wanted is None:
            fits = len(found) >= 2 and "c" not in found
        else:
            fits = found == wanted
        if not fits:
            raise ConfigError(
                f"{self.function} does not take columns {', '.join(names) or 'of none'} "
                "as they are announced: numbers have a range, categories their levels"
            )

    @property
    def cells(self) -> int:
        """How many cells records are counted in."""
        if self.function in BINNED:
            return len(self.edges) - 1
        if self.function == "contingency":
            return math.prod(len(column.levels) for column in self.columns)
        if self.function in SURVIVAL:
            return 2 * len(self.edges) * len(self.groups)
        return 1

    @property
    def groups(self) -> tuple[str, ...]:
        """Of survival: the levels of its group, or one for all."""
        return self.columns[2].levels if len(self.columns) > 2 else ("all",)

    @property
    def fields(self) -> tuple[Field, ...]:
        """All integers of an answer, in order; the first five are the same of every function.

        ``records``: in scope. ``weight``: their weights. ``uncertain``: by how many records any count of this site may
        be off since cells below its minimum are held back or moved, whether or not there are any. ``missing``,
        ``outside``: records that were dropped or clipped; 0 where they are fewer than the site's minimum.
        """
        count = self.records
        most_weight = int(self.weights.upper) if self.weights else 1
        total = count * max(most_weight, 1)
        found = [Field(name, count) for name in ("records", "weight", "uncertain", "missing", "outside")]
        found[1] = Field("weight", total)
        full = 1 << RESOLUTION_BITS
        names = [column.name for column in self.columns]
        if self.function in MOMENTS and self.function != "count":
            found += [Field(f"sum {name}", total * full) for name in names]
            if self.function not in ("sum", "mean"):
                pairs = itertools.combinations_with_replacement(names, 2)
                found += [Field(f"sum {one} {other}", total * full * full) for one, other in pairs]
        elif self.function == "logistic_regression":
            design = ["1", *names[1:]]
            found += [Field(f"slope {name}", total * full * full) for name in design]
            pairs = itertools.combinations_with_replacement(design, 2)
            found += [Field(f"curvature {one} {other}", total * full * full) for one, other in pairs]
            reach = sum(abs(b) * m for b, m in zip(self.point, (1.0, *(c.most for c in self.columns[1:])), strict=True))
            found.append(Field("likelihood", total * (math.ceil(min(reach, 1e9)) + 2 << LIKELIHOOD_BITS)))
        elif self.function in SURVIVAL:
            found.append(Field("off grid", count))
            found += [Field(f"cell {place}", count) for place in range(self.cells)]
        elif self.function != "count":
            found += [Field(f"cell {place}", total) for place in range(self.cells)]
        return tuple(found)

    def digest(self) -> bytes:
        """What tells this question from all others: SHA-256 of its JSON."""
        return hashlib.sha256(b"secure-agg statistics 1" + msgspec.json.encode(self)).digest()

    @property
    def used(self) -> tuple[str, ...]:
        """All columns that an answer needs."""
        weights = (self.weights.name,) if self.weights else ()
        named = (*(column.name for column in self.columns), *weights, *(each.column for each in self.where))
        return tuple(dict.fromkeys(named))


COMMON: Final = 5
"""Fields that every answer begins with."""
