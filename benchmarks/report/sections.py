"""What the report says, in its order; ``page`` and ``markdown`` say how it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.report import tables
from benchmarks.report.compare import Comparison
from benchmarks.report.plots import Picture, pictures
from benchmarks.report.report import Report
from benchmarks.report.tables import Table

ROUNDS: Final = "rounds"
PEERS: Final = "peers"
_HOW: Final = (
    "All roles are the real ones and run one after another in one process; every message is encoded, signed, sent to "
    "the other role as bytes, decoded and checked. What is missing is the network. Seconds are medians; a client's are "
    "the mean over the clients of a round, its check of the result included.",
    "Plain FedAvg, the baseline, sends the same float32 updates in clear and averages them with numpy. Unverified is "
    "without the commitment and without the check of the result; messages stay signed. Memory is the most that a "
    "process grows by during one step of a party, over what it held before. The largest error is against numpy's mean "
    "in float64, beside what the fixed-point encoding promises.",
)


@dataclass(frozen=True)
class Section:
    """One heading and what is below it.

    Attributes:
        name: for links.
        title: the heading.
        text: paragraphs.
        pictures: with their own captions.
        tables: with their own captions.
    """

    name: str
    title: str
    text: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()


def sections(reports: Sequence[Report], comparison: Comparison | None) -> list[Section]:
    """Everything that the reports give."""
    found = [Section("machine", "Machine", (stamp(reports[0].machine),))]
    if comparison:
        listed = (comparison.table,) if comparison.table.rows else ()
        found.append(Section("changes", "Against the earlier run", (comparison.summary,), tables=listed))
    by_name = {report.suite: report for report in reports}
    rounds = by_name.get(ROUNDS)
    if rounds and rounds.cells:
        shown = (tables.costs(rounds.cells), tables.phases(rounds.cells), tables.matrix(rounds.cells))
        found.append(Section("rounds", "What a round costs", _HOW, tuple(pictures(rounds.cells)), shown))
    compared = [tables.beside(report) for report in reports if report.suite != ROUNDS]
    known = tuple(table for table in compared if table.rows)
    if known:
        text = ("Ours and what it is compared with run in turn; a ratio is the median of the ratios of neighbours.",)
        found.append(Section("peers", "Beside others' code and the machine's limits", text, tables=known))
    found.append(Section("figures", "All figures", tables=tuple(tables.every_row(report) for report in reports)))
    absent = tables.missing(reports)
    if absent.rows:
        found.append(Section("missing", "Not measured", tables=(absent,)))
    return found


def stamp(machine: Mapping[str, Any]) -> str:
    """One line about machine and versions."""
    return ", ".join(f"{name} {value}" for name, value in machine.items())
