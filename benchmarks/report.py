"""Rows of measurements, their targets, and the two forms in which they are shown: a table and a JSON file."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.timing import Samples
from mpc import parallel

MISSED: Final = "MISSED"
_TABLE_WIDTH: Final = 170
_LONG_MS: Final = 10_000
_STAMPED: Final = ("numpy", "numba", "cryptography")


@dataclass(frozen=True)
class Target:
    """The most that one figure of a row may be; a speed-up, which is the ratio's inverse, must be at least so much."""

    figure: Literal["median", "derived", "ratio", "speedup"]
    limit: float

    def met(self, value: float) -> bool:
        """Whether a figure of this value is good enough."""
        return value >= self.limit if self.figure == "speedup" else value <= self.limit


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement.

    Attributes:
        key: stable name, for programs that read the JSON file.
        name: for people.
        unit: of ``median``, ``spread`` and ``peer_median``.
        median: over the samples.
        spread: first and third quartile; None where there is one sample.
        samples: how many there are.
        derived: the median per parameter, or as a rate; None where neither means anything.
        derived_unit: its unit.
        peer: what it is compared with, measured in the same run; empty where there is nothing.
        peer_median: of the peer.
        ratio: median of the ratios to the peer, repetition by repetition where they alternate.
        targets: all must hold.
        note: the setting, where it needs saying.
    """

    key: str
    name: str
    unit: str
    median: float
    spread: tuple[float, float] | None = None
    samples: int = 1
    derived: float | None = None
    derived_unit: str = ""
    peer: str = ""
    peer_median: float | None = None
    ratio: float | None = None
    targets: tuple[Target, ...] = ()
    note: str = ""

    @staticmethod
    def timed(
        key: str,
        name: str,
        samples: Samples,
        *,
        derived: float | None = None,
        derived_unit: str = "",
        peer: tuple[str, Samples] | None = None,
        targets: tuple[Target, ...] = (),
        note: str = "",
    ) -> Row:
        """A row in milliseconds. ``peer`` has as many samples, taken alternately."""
        several = len(samples.seconds) > 1
        low, high = samples.quartiles
        return Row(
            key=key,
            name=name,
            unit="ms",
            median=1e3 * samples.median,
            spread=(1e3 * low, 1e3 * high) if several else None,
            samples=len(samples.seconds),
            derived=derived,
            derived_unit=derived_unit,
            peer=peer[0] if peer else "",
            peer_median=1e3 * peer[1].median if peer else None,
            ratio=samples.ratio_to(peer[1]) if peer else None,
            targets=targets,
            note=note,
        )

    def figure(self, target: Target) -> float:
        """The figure that a target is about.

        Raises:
            ValueError: the row does not have it.
        """
        speedup = 1 / self.ratio if self.ratio else None
        value = {"median": self.median, "derived": self.derived, "ratio": self.ratio, "speedup": speedup}[target.figure]
        if value is None:
            raise ValueError(f"row {self.key!r} has a target for its {target.figure}, which was not measured")
        return value

    @property
    def verdict(self) -> str:
        """``ok``, ``MISSED``, or empty where there is no target."""
        if not self.targets:
            return ""
        return "ok" if all(target.met(self.figure(target)) for target in self.targets) else MISSED


def machine(*libraries: str) -> dict[str, Any]:
    """What the figures depend on and the suite can't choose; ``libraries`` are those that this suite adds."""
    model = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        lines = [line for line in cpu.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {
        "cpu": model,
        "cores": parallel.cores(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in (*_STAMPED, *libraries)},
    }


@dataclass(frozen=True)
class Report:
    """A suite's result.

    Attributes:
        suite: its name.
        machine: see ``machine``; taken before the suite ran, so that the load in it is other people's.
        parameters: the options that it ran with.
        rows: in the order of the table.
        missing: parts that could not be measured here, and why.
    """

    suite: str
    machine: Mapping[str, Any]
    parameters: Mapping[str, Any]
    rows: tuple[Row, ...]
    missing: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Everything, with every row's verdict."""
        rows = [asdict(row) | {"verdict": row.verdict} for row in self.rows]
        return json.dumps(
            {
                "suite": self.suite,
                "machine": dict(self.machine),
                "parameters": dict(self.parameters),
                "rows": rows,
                "missing": dict(self.missing),
            },
            indent=2,
            ensure_ascii=False,
        )

    def print(self) -> None:
        """The table, on standard output; as wide as it needs to be where that is not a terminal."""
        console = Console()
        if not console.is_terminal:
            console = Console(width=_TABLE_WIDTH)
        stamp = ", ".join(
            f"{key} {value:.3g}" if key == "load" else f"{key} {value}" for key, value in self.machine.items()
        )
        chosen = ", ".join(f"{key} {value}" for key, value in self.parameters.items())
        console.print(f"[bold]{self.suite}[/bold]: {chosen}\n{stamp}", highlight=False)
        console.print(self._table(), highlight=False)
        for part, reason in self.missing.items():
            console.print(f"[bold]not measured: {part}[/bold]", f"({escape(reason)})", highlight=False)

    def _table(self) -> Table:
        table = Table()
        table.add_column("measured", min_width=36)
        for heading in ("median", "quartiles", "derived"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("beside, in the same run")
        for heading in ("ratio", "target"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for row in self.rows:
            factor, _ = _scale(row.median, row.unit)
            table.add_row(
                row.name + (f"\n[dim]{row.note}[/dim]" if row.note else ""),
                _shown(row.median, row.unit),
                " – ".join(_quantity(factor * value, "") for value in row.spread) if row.spread else "",
                _quantity(row.derived, row.derived_unit),
                row.peer + (f": {_shown(row.peer_median, row.unit)}" if row.peer else ""),
                _ratio(row),
                "\n".join(_target(row, target) for target in row.targets),
                {"ok": "[green]ok[/green]", MISSED: f"[bold red]{MISSED}[/bold red]"}.get(row.verdict, ""),
            )
        return table


def _quantity(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    number = f"{value:,.0f}" if unit == "bytes" or abs(value) >= 10_000 else f"{value:.4g}"
    return f"{number} {unit}".strip()


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    factor, shown = _scale(value, unit)
    return _quantity(factor * value, shown)


def _scale(value: float, unit: str) -> tuple[float, str]:
    """Long times are shown in seconds: the factor, and the unit."""
    return (1e-3, "s") if unit == "ms" and abs(value) >= _LONG_MS else (1.0, unit)


def _ratio(row: Row) -> str:
    if row.ratio and any(target.figure == "speedup" for target in row.targets):
        return f"{_quantity(1 / row.ratio, '')}× faster"
    return _quantity(row.ratio, "")


def _target(row: Row, target: Target) -> str:
    if target.figure == "speedup":
        return f"≥ {_quantity(target.limit, '')}× faster"
    unit = {"median": row.unit, "derived": row.derived_unit, "ratio": "×"}[target.figure]
    return f"≤ {_quantity(target.limit, unit)}"
