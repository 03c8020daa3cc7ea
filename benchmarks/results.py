"""Rows of measurements, their targets, and the two forms in which they are shown: a table and a JSON file."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import pyperf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import mpc
import secure_agg
import zk
from benchmarks.load import Load, together
from benchmarks.measure.cells import Cell
from benchmarks.timing import Samples
from mpc import parallel

FORMAT: Final = "secure-agg-benchmark/2"
"""Of the files that are written."""
FIRST_FORMAT: Final = "secure-agg-benchmark/1"
"""Of files that name none: they have neither loads nor local training, and are read all the same."""
MISSED: Final = "MISSED"
_TABLE_WIDTH: Final = 170
_LONG_MS: Final = 10_000
_STAMPED: Final = ("numpy", "numba", "cryptography")
_DESCRIBED: Final = {
    "config": "cpu_config",
    "frequency": "cpu_freq",
    "load": "load_avg_1min",
    "date": "date",
    "platform": "platform",
    "python": "python_version",
}
"""Of what pyperf collects, by our names; ``platform`` has the kernel in it."""
_PASSING: Final = ("config", "frequency", "load", "date")


class FormatError(ValueError):
    """A file of results whose format this version does not read."""


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
    """What the figures depend on and the suite can't choose; ``libraries`` are those that this suite adds.

    The machine is described by pyperf, without its name and without paths of it.
    """
    found = pyperf.Run((1.0,), collect_metadata=True).get_metadata()
    return {
        "cpu": found.get("cpu_model_name", "unknown"),
        "cores": parallel.cores(),
        **{name: found[key] for name, key in _DESCRIBED.items() if key in found},
        **{name: importlib.metadata.version(name) for name in (*_STAMPED, *libraries)},
        "secure-agg": secure_agg.__version__,
        "source": _source(),
    }


def stamp(machine: Mapping[str, Any]) -> str:
    """One line about machine and versions. Its load is told apart, with what it was while something was measured."""
    return ", ".join(f"{name} {value}" for name, value in machine.items() if name != "load")


def short_stamp(machine: Mapping[str, Any]) -> str:
    """The processor, Python, numpy and the day, as far as they are known."""
    shown = {"cpu": "{}", "cores": "{} cores", "python": "Python {}", "numpy": "numpy {}", "date": "{}"}
    known = {name: str(machine[name]) for name in shown if name in machine}
    words = {name: value.partition(" ")[0] if name in ("python", "date") else value for name, value in known.items()}
    return ", ".join(shown[name].format(value) for name, value in words.items())


def is_current(earlier: Mapping[str, Any]) -> bool:
    """Whether a stamp is of this machine, these versions and this source: all but load, frequency and date."""
    libraries = set(earlier) - {"cpu", "cores", "secure-agg", "source", *_DESCRIBED, *_STAMPED}
    try:
        here = machine(*libraries)
    except importlib.metadata.PackageNotFoundError:
        return False
    return all(earlier.get(name) == here.get(name) for name in {*earlier, *here} - set(_PASSING))


def _source() -> str:
    """A digest of the code that is measured, of which the version says little while it is being worked on."""
    found = hashlib.sha256()
    for package in (secure_agg, mpc, zk):
        folder = Path(str(package.__file__)).parent
        for file in sorted(folder.rglob("*.py")):
            found.update(f"{package.__name__}/{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return found.hexdigest()[:12]


@dataclass(frozen=True)
class Report:
    """A suite's result.

    Attributes:
        suite: its name.
        machine: see ``machine``; taken before the suite ran.
        parameters: the options that it ran with.
        rows: in the order of the table.
        missing: parts that could not be measured here, and why.
        cells: of the suite ``rounds``.
        arguments: the command line's, as far as they choose what is measured.
        complete: whether the suite came to its end.
        load: of the machine while the suite ran; None where it is not known, or the suite is not at its end.
        format: of the file that it comes from, or goes to.
    """

    suite: str
    machine: Mapping[str, Any]
    parameters: Mapping[str, Any]
    rows: tuple[Row, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True
    load: Load | None = None
    format: str = FORMAT

    @property
    def loads(self) -> Load | None:
        """The load before the suite, and the highest while anything in it was measured; None where none is known."""
        before, cores = self.machine.get("load"), self.machine.get("cores")
        stamped = None
        if isinstance(before, int | float) and isinstance(cores, int) and cores > 0:
            stamped = Load(float(before), float(before), cores)
        return together((stamped, self.load, *(cell.load for cell in self.cells)))

    @property
    def warning(self) -> str:
        """Why the figures say less than they should; empty where there is no reason."""
        loads = self.loads
        return f"suite {self.suite}: {loads.warning}" if loads and loads.warning else ""

    def to_json(self) -> str:
        """Everything, with every row's verdict."""
        rows = [asdict(row) | {"verdict": row.verdict} for row in self.rows]
        return json.dumps(
            {
                "format": self.format,
                "suite": self.suite,
                "complete": self.complete,
                "load": asdict(self.load) if self.load else None,
                "arguments": dict(self.arguments),
                "machine": dict(self.machine),
                "parameters": dict(self.parameters),
                "rows": rows,
                "missing": dict(self.missing),
                "cells": [asdict(cell) for cell in self.cells],
            },
            indent=2,
            ensure_ascii=False,
        )

    @staticmethod
    def from_json(content: str | bytes) -> Report:
        """What ``to_json`` has written, of this format or of the first, which had no name.

        Raises:
            FormatError: it is of another format.
            ValueError: it is no such document.
        """
        try:
            named = msgspec.json.decode(content, type=_Named).format
            if named not in (FORMAT, FIRST_FORMAT):
                raise FormatError(
                    f"a report of format {named!r:.80}, and this version reads {FORMAT} and {FIRST_FORMAT}: read it "
                    "with the version that wrote it, or measure again"
                )
            return replace(msgspec.json.decode(content, type=Report), format=named)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f"no report of a benchmark: {error}") from error

    def print(self) -> None:
        """The table, on standard output; as wide as it needs to be where that is not a terminal."""
        console = Console()
        if not console.is_terminal:
            console = Console(width=_TABLE_WIDTH)
        chosen = ", ".join(f"{key} {value}" for key, value in self.parameters.items())
        measured_at = f"\n{self.loads}" if self.loads else ""
        console.print(f"[bold]{self.suite}[/bold]: {chosen}\n{stamp(self.machine)}{measured_at}", highlight=False)
        if self.warning:
            console.print(f"[bold red]WARNING[/bold red] {self.warning}", highlight=False)
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
                shown(row.median, row.unit),
                " – ".join(quantity(factor * value, "") for value in row.spread) if row.spread else "",
                quantity(row.derived, row.derived_unit),
                row.peer + (f": {shown(row.peer_median, row.unit)}" if row.peer else ""),
                ratio(row),
                "\n".join(limit(row, target) for target in row.targets),
                {"ok": "[green]ok[/green]", MISSED: f"[bold red]{MISSED}[/bold red]"}.get(row.verdict, ""),
            )
        return table


@dataclass(frozen=True)
class _Named:
    """A file of results as far as its format."""

    suite: str
    format: str = FIRST_FORMAT


def quantity(value: float | None, unit: str) -> str:
    """A figure for people; empty where there is none."""
    if value is None:
        return ""
    number = f"{value:,.0f}" if unit == "bytes" or abs(value) >= 10_000 else f"{value:.4g}"
    return f"{number} {unit}".strip()


def shown(value: float | None, unit: str) -> str:
    """A figure in a unit that suits its size."""
    if value is None:
        return ""
    factor, suited = _scale(value, unit)
    return quantity(factor * value, suited)


def _scale(value: float, unit: str) -> tuple[float, str]:
    """Long times are shown in seconds: the factor, and the unit."""
    return (1e-3, "s") if unit == "ms" and abs(value) >= _LONG_MS else (1.0, unit)


def ratio(row: Row) -> str:
    """A row's ratio, as a speed-up where that is what its target is about."""
    if row.ratio and any(target.figure == "speedup" for target in row.targets):
        return f"{quantity(1 / row.ratio, '')}× faster"
    return quantity(row.ratio, "")


def limit(row: Row, target: Target) -> str:
    """A target of a row."""
    if target.figure == "speedup":
        return f"≥ {quantity(target.limit, '')}× faster"
    unit = {"median": row.unit, "derived": row.derived_unit, "ratio": "×"}[target.figure]
    return f"≤ {quantity(target.limit, unit)}"
