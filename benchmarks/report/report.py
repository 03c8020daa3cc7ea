"""Rows of measurements, their targets, and the two forms in which they are shown: a table and a JSON file."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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
from benchmarks.rounds.cells import Cell
from benchmarks.timing import Samples
from mpc import parallel

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


def is_current(stamp: Mapping[str, Any]) -> bool:
    """Whether a stamp is of this machine, these versions and this source: all but load, frequency and date."""
    libraries = set(stamp) - {"cpu", "cores", "secure-agg", "source", *_DESCRIBED, *_STAMPED}
    try:
        here = machine(*libraries)
    except importlib.metadata.PackageNotFoundError:
        return False
    return all(stamp.get(name) == here.get(name) for name in {*stamp, *here} - set(_PASSING))


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
        machine: see ``machine``; taken before the suite ran, so that the load in it is other people's.
        parameters: the options that it ran with.
        rows: in the order of the table.
        missing: parts that could not be measured here, and why.
        cells: of the suite ``rounds``.
        arguments: the command line's, as far as they choose what is measured.
        complete: whether the suite came to its end.
    """

    suite: str
    machine: Mapping[str, Any]
    parameters: Mapping[str, Any]
    rows: tuple[Row, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True

    def to_json(self) -> str:
        """Everything, with every row's verdict."""
        rows = [asdict(row) | {"verdict": row.verdict} for row in self.rows]
        return json.dumps(
            {
                "suite": self.suite,
                "complete": self.complete,
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
        """What ``to_json`` has written.

        Raises:
            ValueError: it is no such document.
        """
        try:
            return msgspec.json.decode(content, type=Report)
        except msgspec.MsgspecError as error:
            raise ValueError(f"no report of a benchmark: {error}") from error

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
                shown(row.median, row.unit),
                " – ".join(quantity(factor * value, "") for value in row.spread) if row.spread else "",
                quantity(row.derived, row.derived_unit),
                row.peer + (f": {shown(row.peer_median, row.unit)}" if row.peer else ""),
                ratio(row),
                "\n".join(limit(row, target) for target in row.targets),
                {"ok": "[green]ok[/green]", MISSED: f"[bold red]{MISSED}[/bold red]"}.get(row.verdict, ""),
            )
        return table


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
