"""Two runs side by side: which figures have grown by more than a factor, and not by chance alone.

All figures that are compared are better when they are smaller: seconds, bytes, memory. What is measured of others'
code and of the machine is no regression of ours; it says whether the machine itself was slower.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.report.tables import Table
from benchmarks.results import Report, quantity
from benchmarks.timing import Samples

THRESHOLD: Final = 1.25
_OTHERS: Final = ("limit.", "machine.", "training.", "tenseal.", "phe.", "ledger.disk")
_COMPARED: Final = ("ms", "bytes", "MB")
_MB: Final = 1e6
"""Also the least growth of memory that is compared: below are pages and chance."""


@dataclass(frozen=True)
class Figure:
    """One figure of a run.

    Attributes:
        name: suite and key.
        unit: of ``median``.
        median: what is compared.
        spread: first and third quartile; None where there is one sample, or it is exact.
    """

    name: str
    unit: str
    median: float
    spread: tuple[float, float] | None = None

    @property
    def ours(self) -> bool:
        """Whether it says something about this project's code."""
        return not self.name.partition("/")[2].startswith(_OTHERS)


@dataclass(frozen=True)
class Change:
    """The same figure in two runs."""

    old: Figure
    new: Figure

    @property
    def ratio(self) -> float:
        """New over old."""
        return self.new.median / self.old.median

    @property
    def apart(self) -> bool:
        """Whether the quartiles don't overlap."""
        if self.old.spread is None or self.new.spread is None:
            return True
        return self.new.spread[0] > self.old.spread[1] or self.new.spread[1] < self.old.spread[0]


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes:
        changes: all figures that both have, ours.
        machine: median ratio of what both measured of the machine and of others; None where there is nothing.
        threshold: ratio from which on a change counts.
        skipped: suites that were run with other options, and are not compared.
        warnings: of the earlier run; the later one's are in its own report.
    """

    changes: tuple[Change, ...]
    machine: float | None
    threshold: float
    skipped: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def regressions(self) -> tuple[Change, ...]:
        """Worst first."""
        grown = [change for change in self.changes if change.ratio > self.threshold and change.apart]
        return tuple(sorted(grown, key=lambda change: -change.ratio))

    @property
    def gains(self) -> tuple[Change, ...]:
        """Best first."""
        shrunk = [change for change in self.changes if change.ratio < 1 / self.threshold and change.apart]
        return tuple(sorted(shrunk, key=lambda change: change.ratio))

    @property
    def summary(self) -> str:
        """One line."""
        machine = f"; the machine itself and others' code: {self.machine:.2f} ×" if self.machine else ""
        skipped = f"; run with other options and not compared: {', '.join(self.skipped)}" if self.skipped else ""
        return (
            f"{len(self.changes)} figures compared, {len(self.regressions)} regressions above {self.threshold:g} ×, "
            f"{len(self.gains)} gains{machine}{skipped}"
        )

    @property
    def table(self) -> Table:
        """Regressions, then gains."""
        rows = [
            (
                "REGRESSION" if change.ratio > 1 else "gain",
                change.new.name,
                quantity(change.old.median, change.old.unit),
                quantity(change.new.median, change.new.unit),
                f"{change.ratio:.2f} ×",
            )
            for change in (*self.regressions, *self.gains)
        ]
        return Table("Changes against the earlier run", ("", "figure", "before", "now", "ratio"), tuple(rows), words=2)


def figures(report: Report) -> Iterator[Figure]:
    """Everything of a report that can be compared."""
    cells = {f"{cell.setting.key}.client" for cell in report.cells}  # rows that say less than the cells do
    for row in report.rows:
        if row.unit in _COMPARED and row.median > 0 and row.key not in cells:
            yield Figure(f"{report.suite}/{row.key}", row.unit, row.median, row.spread)
    for cell in report.cells:
        name = f"{report.suite}/{cell.setting.key}"
        for role in cell.roles:
            samples = Samples(cell.samples(role)).scaled(1e3)
            yield Figure(f"{name}.{role}", "ms", samples.median, samples.quartiles)
            grown = cell.memory(role)
            if grown and grown >= _MB:
                yield Figure(f"{name}.{role}.memory", "MB", grown / _MB)
        if cell.training:
            trained = Samples(cell.training).scaled(1e3)
            yield Figure(f"{report.suite}/training.{cell.setting.key}", "ms", trained.median, trained.quartiles)
        yield Figure(f"{name}.sent", "bytes", cell.sent)
        yield Figure(f"{name}.received", "bytes", cell.received)


def compare(old: Sequence[Report], new: Sequence[Report], threshold: float = THRESHOLD) -> Comparison:
    """Compare what both runs measured of the same suites with the same options; cells, whose names say all, always."""
    before = {report.suite: report for report in old}
    skipped, changes = [], list[Change]()
    for report in new:
        if report.suite not in before:
            continue
        earlier = before[report.suite]
        if not report.cells and earlier.parameters != report.parameters:
            skipped.append(report.suite)
            continue
        changes += _pairs(figures(earlier), figures(report))
    others = [change.ratio for change in changes if not change.new.ours]
    return Comparison(
        tuple(change for change in changes if change.new.ours),
        statistics.median(others) if others else None,
        threshold,
        tuple(skipped),
        tuple(f"the earlier run, {report.warning}" for report in old if report.warning),
    )


def _pairs(old: Iterable[Figure], new: Iterable[Figure]) -> list[Change]:
    known = {figure.name: figure for figure in old}
    return [Change(known[figure.name], figure) for figure in new if figure.name in known]
