"""The tables of the report, for Markdown and HTML alike: what rounds cost, what others' code costs, every row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.measure.cells import AGGREGATOR, CLIENT, Cell, Setting
from benchmarks.results import Report, Row, limit, quantity, ratio, shown
from benchmarks.timing import Samples

_MB: Final = 1e6


@dataclass(frozen=True)
class Table:
    """Text only; neither form of it is escaped yet.

    Attributes:
        caption: what it shows.
        columns: the headings.
        rows: as many texts each.
        words: columns that are words and not figures, from the left.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1


def at_base(cells: Iterable[Cell]) -> list[Cell]:
    """The cells of the base, which is the point of the first one: one for each backend."""
    found = list(cells)
    return [cell for cell in found if _point(cell.setting) == _point(found[0].setting)]


def _point(setting: Setting) -> tuple[object, ...]:
    return setting.params, setting.clients, setting.bits, setting.lost, setting.norms


def milliseconds(seconds: float) -> str:
    """With three digits and the unit, in seconds where there are many."""
    return shown(1e3 * seconds, "ms")


def between(samples: Samples) -> str:
    """The quartiles in milliseconds, without the unit."""
    low, high = (f"{1e3 * bound:,.0f}" if 1e3 * bound >= 100 else f"{1e3 * bound:.3g}" for bound in samples.quartiles)
    return f"{low} – {high}"


def factor(value: float) -> str:
    """A multiple, with as many digits as it is worth."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def costs(cells: Sequence[Cell]) -> Table:
    """A round with each backend at the base of the matrix."""
    base = at_base(cells)
    return Table(
        f"One verified round: {base[0].setting.point}",
        (
            "backend",
            "one client",
            "the same, unverified",
            "aggregator",
            "other operators, each",
            "client sends",
            "client receives",
            "client's memory grows by",
            "largest error",
            "work of all, × FedAvg",
            "work of all, × local training",
        ),
        tuple(_costs(cell) for cell in base),
    )


def _costs(cell: Cell) -> tuple[str, ...]:
    params, grown = cell.setting.params, cell.memory(CLIENT)
    others = [role for role in cell.roles if role not in (CLIENT, AGGREGATOR)]
    return (
        cell.setting.backend,
        milliseconds(cell.seconds(CLIENT)),
        milliseconds(cell.seconds(CLIENT, verified=False)),
        milliseconds(cell.seconds(AGGREGATOR)),
        ", ".join(f"{cell.parties[role]} × {milliseconds(cell.seconds(role))}" for role in others) or "–",
        f"{cell.sent / params:.3g} B/param",
        f"{cell.received / params:.3g} B/param",
        "–" if grown is None else f"{grown / _MB:.3g} MB",
        f"{cell.error:.2g} (≤ {cell.bound:.2g})",
        *_multiples(cell),
    )


def _multiples(cell: Cell) -> tuple[str, str]:
    """Work beside plain FedAvg's and beside local training."""
    training = cell.beside_training
    return factor(cell.beside_plain.median), factor(training.median) if training else "–"


def phases(cells: Sequence[Cell]) -> Table:
    """Every role's phases at the base."""
    rows = []
    for cell in at_base(cells):
        for cost in cell.costs:
            rows.append(
                (
                    cell.setting.backend,
                    cost.role,
                    cost.phase,
                    milliseconds(cost.median),
                    between(Samples(cost.seconds)),
                    quantity(round(cost.sent), "bytes"),
                    quantity(round(cost.received), "bytes"),
                    "–" if cost.memory is None else f"{cost.memory / _MB:.2f} MB",
                )
            )
    columns = ("backend", "role", "phase", "median", "quartiles", "sent", "received", "memory grows by")
    return Table("One party of each role, phase by phase", columns, tuple(rows), words=3)


def matrix(cells: Sequence[Cell]) -> Table:
    """All cells."""
    columns = ("backend", "parameters", "clients", "bits", "lost", "norms")
    measured = ("one client", "aggregator", "client sends", "error, of its bound", "× FedAvg", "× local training")
    return Table(
        "Every cell of the matrix; ! where the load was above 1 for each core",
        (*columns, *measured, "rounds", "load at most"),
        tuple(
            (
                cell.setting.backend,
                f"{cell.setting.params:,}",
                str(cell.setting.clients),
                str(cell.setting.bits),
                str(cell.setting.silent),
                cell.setting.norms or "–",
                milliseconds(cell.seconds(CLIENT)),
                milliseconds(cell.seconds(AGGREGATOR)),
                f"{cell.sent / cell.setting.params:.3g} B/param",
                f"{cell.error / cell.bound:.2f}",
                *_multiples(cell),
                str(len(cell.rounds)),
                f"{cell.load.most:.1f}{' !' * cell.load.too_high}" if cell.load else "–",
            )
            for cell in cells
        ),
    )


def bounded(cells: Sequence[Cell]) -> Table:
    """Rounds with a norm bound, beside the same without one."""
    known = {cell.setting: cell for cell in cells}
    rows = []
    for cell in cells:
        without = known.get(replace(cell.setting, norms=""))
        if cell.setting.norms and without:
            beside = ((cell.seconds(role), without.seconds(role)) for role in (CLIENT, AGGREGATOR))
            rows.append(
                (
                    cell.setting.backend,
                    cell.setting.norms,
                    f"{cell.setting.params:,}",
                    str(cell.setting.clients),
                    *(text for own, other in beside for text in (milliseconds(own), f"{own / other:.2f}")),
                    quantity(round(cell.sent - without.sent), "bytes"),
                    quantity(round(cell.received - without.received), "bytes"),
                )
            )
    columns = ("backend", "norms", "parameters", "clients", "one client", "× without", "aggregator", "× without")
    return Table("Rounds with a norm bound", (*columns, "client sends more", "receives more"), tuple(rows), words=2)


def beside(report: Report) -> Table:
    """The rows that have a peer."""
    return Table(
        f"Suite {report.suite}, beside others in the same run",
        ("measured", "ours", "beside it", "", "ratio"),
        tuple(_beside(row) for row in report.rows if row.peer),
        words=1,
    )


def _beside(row: Row) -> tuple[str, ...]:
    faster = row.ratio and row.ratio < 1 and row.unit == "ms"
    times = f"{quantity(1 / row.ratio, '')} × faster" if row.ratio and faster else quantity(row.ratio, "×")
    return row.name, shown(row.median, row.unit), row.peer, shown(row.peer_median, row.unit), times


def every_row(report: Report) -> Table:
    """All that a suite measured."""
    return Table(
        f"Suite {report.suite}: {', '.join(f'{name} {value}' for name, value in report.parameters.items())}",
        ("measured", "median", "quartiles", "derived", "beside, in the same run", "ratio", "target", "verdict"),
        tuple(
            (
                f"{row.name} ({row.note})" if row.note else row.name,
                shown(row.median, row.unit),
                " – ".join(quantity(value, "") for value in row.spread) if row.spread else "",
                quantity(row.derived, row.derived_unit),
                row.peer + (f": {shown(row.peer_median, row.unit)}" if row.peer else ""),
                ratio(row),
                ", ".join(limit(row, target) for target in row.targets),
                row.verdict,
            )
            for row in report.rows
        ),
    )


def missing(reports: Sequence[Report]) -> Table:
    """What could not be measured, and why."""
    return Table(
        "Not measured",
        ("suite", "what", "why"),
        tuple((report.suite, part, reason) for report in reports for part, reason in report.missing.items()),
        words=3,
    )
