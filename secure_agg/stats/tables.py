"""Tables of any kind as columns: data frames by narwhals, mappings of arrays, CSV files."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg import extras
from secure_agg.errors import ConfigError
from secure_agg.files import failing

Cells = npt.NDArray[Any]
"""A column: float64, where NaN is missing, or objects that are text or None."""
MAX_CSV_BYTES: Final = 1 << 30
_SHOWN: Final = 32
"""Names of columns that an error lists, at most."""


class Table:
    """One site's records, by columns of one length."""

    is_lenient = False
    """Whether text is a missing value where numbers are asked for, and no error."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        """
        Raises:
            ConfigError: columns of different lengths, or of more than one dimension.
        """
        self.columns = {str(name): _column(name, values) for name, values in columns.items()}
        lengths = {column.size for column in self.columns.values()}
        if len(lengths) > 1:
            raise ConfigError(f"columns of a table have different lengths: {sorted(lengths)}")
        self.size = lengths.pop() if lengths else 0

    @classmethod
    def of(cls, source: Any) -> Table:
        """A table of a ``Table``, a mapping of names to arrays, or a data frame: pandas, polars, any that narwhals has.

        Raises:
            ConfigError: none of these; or narwhals, of the extra ``stats``, is missing.
        """
        if isinstance(source, Table):
            return source
        if isinstance(source, Mapping):
            return cls(source)
        extras.require("stats")
        import narwhals

        try:
            frame = narwhals.from_native(source, eager_only=True)
        except TypeError:
            raise ConfigError(f"a {type(source).__name__} is no data frame and no mapping of arrays") from None
        return cls({name: frame.get_column(name).to_list() for name in frame.columns})

    @classmethod
    def read_csv(cls, path: Path) -> Table:
        """A CSV file with a line of names. A column whose every cell is a number or empty is one of numbers; an empty
        cell is missing.

        Raises:
            ConfigError: can't be read, or a line has not as many cells as there are names.
        """
        with failing(path), path.open(encoding="utf-8-sig", newline="") as file:
            if path.stat().st_size > MAX_CSV_BYTES:
                raise ConfigError(f"{path} is longer than {MAX_CSV_BYTES} bytes")
            lines = csv.reader(file)
            names = next(lines, [])
            rows = [row for row in lines if row]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"{path} does not begin with a line of different names")
        for number, row in enumerate(rows, 2):
            if len(row) != len(names):
                raise ConfigError(f"record {number} of {path} has {len(row)} cells for {len(names)} names")
        return cls({name: _parsed([row[place] for row in rows]) for place, name in enumerate(names)})

    def lenient(self) -> Table:
        """The same records, where no record's text decides whether numbers can be had of the others."""
        found = copy(self)
        found.is_lenient = True
        return found

    def column(self, name: str) -> Cells:
        """
        Raises:
            ConfigError: there is no such column.
        """
        if name not in self.columns:
            some = ", ".join(map(repr, list(self.columns)[:_SHOWN])) + (" …" if len(self.columns) > _SHOWN else "")
            raise ConfigError(f"this site has no column {name!r}; it has {some or 'none'}")
        return self.columns[name]

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """
        Raises:
            ConfigError: no such column; or it is none of numbers, and this table is not lenient.
        """
        found = self.column(name)
        if found.dtype != object:
            return found
        if not self.is_lenient:
            raise ConfigError(f"column {name!r} holds text, and numbers are asked for")
        return np.array([_number(cell) for cell in found], np.float64)

    def texts(self, name: str) -> Sequence[str | None]:
        """A column as levels: whole numbers without a fraction, None where missing."""
        found = self.column(name)
        if found.dtype == object:
            return list(found)
        return [None if math.isnan(value) else f"{value:.15g}" for value in found.tolist()]


def _column(name: object, values: Any) -> Cells:
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        made: Cells = values.astype(np.float64)
    else:
        cells = list(values.tolist() if isinstance(values, np.ndarray) else values)
        missing = [cell is None or cell != cell or str(cell) in ("NaT", "<NA>") for cell in cells]
        kinds = {isinstance(cell, str) for cell, gone in zip(cells, missing, strict=True) if not gone}
        if True in kinds:
            made = np.array([None if gone else str(cell) for cell, gone in zip(cells, missing, strict=True)], object)
        else:
            try:
                made = np.array([math.nan if gone else float(c) for c, gone in zip(cells, missing, strict=True)], float)
            except (TypeError, ValueError):
                raise ConfigError(f"column {name!r} holds what is neither numbers nor text") from None
    if made.ndim != 1:
        raise ConfigError(f"column {name!r} has {made.ndim} dimensions, not one")
    return made


def _number(cell: str | None) -> float:
    try:
        return math.nan if cell is None else float(cell)
    except ValueError:
        return math.nan


def _parsed(cells: list[str]) -> Cells:
    try:
        return np.array([float(cell) if cell.strip() else math.nan for cell in cells], np.float64)
    except ValueError:
        return np.array([cell or None for cell in cells], object)
