"""What the report says, in its order; ``page`` and ``markdown`` say how it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.report import tables
from benchmarks.report.canvas import Picture
from benchmarks.report.compare import Comparison
from benchmarks.report.plots import pictures
from benchmarks.report.tables import Table
from benchmarks.results import Report, short_stamp, stamp
from benchmarks.rounds.training import STATED

ROUNDS: Final = "rounds"
PEERS: Final = "peers"
_HOW: Final = (
    "All roles are the real ones and run one after another in one process; every message is encoded, signed, sent to "
    "the other role as bytes, decoded and checked. What is missing is the network. Seconds are medians; a client's are "
    "the mean over the clients of a round, its check of the result included.",
    "Plain FedAvg, the baseline, sends the same float32 updates in clear and averages them with numpy. Unverified is "
    "without the commitment and without the check of the result; messages stay signed. After each round FedAvg runs, "
    f"and local training of a model of the same size: {STATED}. Multiples of either are medians of the rounds' own. "
    "Multiples of averaging in clear are large because that is next to nothing; those of training say what a round of "
    "learning becomes by it. Memory is the most that a "
    "process grows by during one step of a party, over what it held before. The largest error is against numpy's mean "
    "in float64, beside what the fixed-point encoding promises.",
)


@dataclass(frozen=True)
class Section:
    """One heading and what is below it.

    Attributes:
        name: for links.
        title: the heading.
        warnings: what must be known before anything below is believed.
        text: paragraphs.
        pictures: with their own captions.
        tables: with their own captions.
    """

    name: str
    title: str
    warnings: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()


def sections(reports: Sequence[Report], comparison: Comparison | None) -> list[Section]:
    """Everything that the reports give."""
    warnings = tuple(report.warning for report in reports if report.warning)
    loads = (f"{report.suite}: {report.loads or 'load not known'}" for report in reports)
    machine = stamp(reports[0].machine), f"What is measured is part of the load. {'; '.join(loads)}."
    found = [Section("machine", "Machine", warnings, machine)]
    if comparison:
        listed = (comparison.table,) if comparison.table.rows else ()
        found.append(
            Section("changes", "Against the earlier run", comparison.warnings, (comparison.summary,), tables=listed)
        )
    by_name = {report.suite: report for report in reports}
    rounds = by_name.get(ROUNDS)
    if rounds and rounds.cells:
        drawn = tuple(pictures(rounds.cells, short_stamp(rounds.machine)))
        norms = tables.bounded(rounds.cells)
        shown = (tables.costs(rounds.cells), tables.phases(rounds.cells), *((norms,) if norms.rows else ()))
        shown = (*shown, tables.matrix(rounds.cells))
        found.append(Section("rounds", "What a round costs", (), _HOW, drawn, shown))
    compared = [tables.beside(report) for report in reports if report.suite != ROUNDS]
    known = tuple(table for table in compared if table.rows)
    if known:
        text = ("Ours and what it is compared with run in turn; a ratio is the median of the ratios of neighbours.",)
        found.append(Section("peers", "Beside others' code and the machine's limits", (), text, tables=known))
    found.append(Section("figures", "All figures", tables=tuple(tables.every_row(report) for report in reports)))
    absent = tables.missing(reports)
    if absent.rows:
        found.append(Section("missing", "Not measured", tables=(absent,)))
    return found
