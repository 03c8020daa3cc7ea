"""Suite ``rounds``: whole verified rounds of every backend, beside plain FedAvg and the machine's limits in one run.

Five axes: backends, parameters, clients, bits, clients that are lost. The first value of each axis is the base; by
default one axis leaves it at a time, and rounds with a norm bound are run beside those of the base and of each size;
with ``--full`` all combinations are run, with ``--spread`` a stated list of cells from which costs can be fitted. Every
cell runs in processes of its own. With ``--json`` each goes into the file when it is done, and a later run goes on from
there.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.files import read, write
from benchmarks.measure.cells import AGGREGATOR, CLIENT, PROVED, SCREENED, Cell, Setting
from benchmarks.mpc.suite import CRYPTEN
from benchmarks.results import FORMAT, FormatError, Report, Row, Target, is_current, machine
from benchmarks.rounds import cell_process, limits_pinned
from benchmarks.rounds.cell_process import CellFailed
from benchmarks.suite import Suite, UsageError, installed
from benchmarks.timing import Samples
from secure_agg import backends
from secure_agg.errors import ConfigError
from secure_agg.planning.setting import Setting as Asked

NAME: Final = "rounds"
SLOW: Final = ("paillier", "crypten")
"""Backends for which ``--most`` holds."""
_CUT_OFF: Final = {"the other cells": "the run was cut off; the same command goes on with it"}
_PERCENT: Final = 100
_SPREAD: Final = (
    *((10_000, clients, 16, 0) for clients in (3, 10, 30, 100)),
    *((100_000, clients, 16, 0) for clients in (3, 10, 30)),
    *((1_000_000, clients, 16, 0) for clients in (3, 10)),
    *((30_000, 10, bits, 0) for bits in (8, 20)),
    *((params, clients, 16, 10) for params, clients in ((10_000, 30), (10_000, 100), (100_000, 10))),
)
"""Parameters, clients, bits and percent lost of the cells that tell apart what a round grows with: for ``fit``."""
_MANY: Final = ((10_000, 150, 16, 0), (10_000, 200, 16, 10), (40_000, 150, 16, 0))
"""The same for backends that do otherwise where there are many clients."""
_BOUNDED: Final = (
    *((10_000, clients, 16, 0) for clients in (3, 10, 30)),
    *((params, 3, 16, 0) for params in (100_000, 1_000_000)),
    (100_000, 10, 16, 0),
)
"""The same for rounds with a norm bound."""
_BOUNDING: Final = {"masking": (PROVED, SCREENED)} | dict.fromkeys(("bfv", "ckks", "paillier", "plain"), (PROVED,))
"""What is run of rounds with a norm bound, by backend."""
_FEW: Final = 30
"""Clients above which slow backends take too long for ``--spread``."""
_MB: Final = 1e6


@dataclass(frozen=True)
class Matrix:
    """The axes, the base first in each.

    Attributes:
        backends, params, clients, bits, lost: see ``Setting``.
        full: all combinations.
        spread: the cells of ``_SPREAD`` and ``_BOUNDED``, and none of the axes but the backends.
        most: parameters × clients of a round of ``SLOW`` backends.
        repeat: rounds of a cell that count.
        bounded: rounds with a norm bound as well.

    Raises:
        UsageError: an axis is empty, or a value is out of range.
    """

    backends: tuple[str, ...]
    params: tuple[int, ...]
    clients: tuple[int, ...]
    bits: tuple[int, ...]
    lost: tuple[int, ...]
    full: bool
    most: int
    repeat: int
    spread: bool = False
    bounded: bool = False

    def __post_init__(self) -> None:
        known = backends.names()
        unknown = [name for name in self.backends if name not in known]
        if unknown:
            raise UsageError(f"--backends {unknown[0]}: there are {', '.join(known)}")
        if min(*self.params, *self.clients, *self.bits, self.repeat) < 1:
            raise UsageError("--params, --clients, --bits and --repeat must be 1 or more")
        if not all(0 <= lost < _PERCENT for lost in self.lost):
            raise UsageError(f"--lost must be percent, 0 to {_PERCENT - 1}")

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All cells, those of the base first; none twice."""
        if self.spread:
            chosen = {name: (*_SPREAD, *(_MANY if _changes(name) else ())) for name in self.backends}
            usual = [Setting(name, *point) for name, own in chosen.items() for point in own]
            return (*usual, *(_bounded(self.backends, _BOUNDED) if self.bounded else ()))
        axes = {"params": self.params, "clients": self.clients, "bits": self.bits, "lost": self.lost}
        base = {name: axis[0] for name, axis in axes.items()}
        if self.full:
            points = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
        else:
            points = [base, *(base | {name: value} for name, axis in axes.items() for value in axis[1:])]
        sizes = [(params, self.clients[0], self.bits[0], self.lost[0]) for params in self.params]
        usual = [
            Setting(backend, point["params"], point["clients"], point["bits"], point["lost"])
            for point in points
            for backend in self.backends
        ]
        return tuple(dict.fromkeys((*usual, *(_bounded(self.backends, sizes) if self.bounded else ()))))

    def left_out(self, setting: Setting) -> str:
        """Why a cell is not run; empty if it is."""
        if setting.backend == "crypten" and not installed("crypten"):
            return CRYPTEN
        if setting.backend in SLOW and setting.params * setting.clients > self.most:
            return f"{setting.params * setting.clients:,} values in a round, above --most {self.most:,}"
        if self.spread and setting.backend in SLOW and setting.clients > _FEW:
            return f"{setting.clients} clients of a slow backend"
        return ""


def _bounded(backends: Sequence[str], points: Sequence[tuple[int, int, int, int]]) -> list[Setting]:
    """Rounds with a norm bound, of the backends that have one."""
    return [Setting(name, *point, norms) for point in points for name in backends for norms in _BOUNDING.get(name, ())]


def _changes(backend: str) -> bool:
    """Whether a round of many clients has other phases."""
    try:
        many, few = (Asked(backend, params, clients) for params, clients, *_ in (_MANY[0], _SPREAD[0]))
    except ConfigError:
        return False
    return many.phases != few.phases


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    def axis(name: str, default: Sequence[Any], help: str) -> None:
        shown = " ".join(map(str, default))
        kind = type(default[0])
        parser.add_argument(f"--{name}", type=kind, nargs="+", default=list(default), help=f"{help} ({shown})")

    usual = ["masking", "additive", "bfv", "ckks", "paillier", "crypten", "plain"]
    axis("backends", usual, "how updates are hidden")
    axis("params", [100_000, 10_000, 1_000_000], "model parameters; the first value of each axis is the base")
    axis("clients", [10, 3, 30, 100], "in a round")
    axis("bits", [16, 8, 20], "per value")
    axis("lost", [0, 10], "percent of the clients that fall silent before their input")
    parser.add_argument("--full", action="store_true", help="all combinations, and not one axis at a time")
    parser.add_argument("--no-norms", dest="bounded", action="store_false", help="no rounds with a norm bound")
    parser.add_argument("--spread", action="store_true", help="the cells that ``fit`` wants, and not the axes")
    parser.add_argument(
        "--most", type=int, default=1_000_000, metavar="N", help="parameters × clients of slow backends (%(default)s)"
    )
    parser.add_argument("--repeat", type=int, default=3, metavar="R", help="rounds of a cell (%(default)s)")
    parser.add_argument("--core", type=int, default=0, metavar="C", help="where one core's limits run (%(default)s)")
    parser.add_argument("--rough", action="store_true", help="measure the machine's limits once, without warming up")


def _matrix(arguments: argparse.Namespace) -> Matrix:
    axes: dict[str, Any] = {
        name: tuple(getattr(arguments, name)) for name in ("backends", "params", "clients", "bits", "lost")
    }
    chosen = {name: getattr(arguments, name) for name in ("full", "most", "repeat", "spread", "bounded")}
    return Matrix(**axes, **chosen)


def _kept(file: Path | None, matrix: Matrix, console: Console) -> dict[Setting, Cell]:
    """The cells of an earlier run that are of the same thing."""
    if file is None or not file.exists():
        return {}
    try:
        earlier = read(file)
    except FormatError as error:
        raise UsageError(f"--json {file} is there and is {error}; or name another file") from error
    except ValueError as error:
        raise UsageError(f"--json {file} is there and is {error}") from error
    if earlier.suite != NAME:
        raise UsageError(f"--json {file} is there and holds suite {earlier.suite}")
    if earlier.format != FORMAT or not is_current(earlier.machine):
        console.print(f"{file}: of another machine or other versions, measured anew", highlight=False)
        return {}
    return {cell.setting: cell for cell in earlier.cells if len(cell.rounds) == matrix.repeat}


def _run(arguments: argparse.Namespace) -> Report:
    matrix, console = _matrix(arguments), Console(stderr=True)
    if hasattr(os, "sched_getaffinity") and arguments.core not in os.sched_getaffinity(0):
        raise UsageError(f"--core {arguments.core} is none of {sorted(os.sched_getaffinity(0))}")
    stamp = machine("tenseal", "gmpy2", *(["crypten", "torch"] if installed("crypten") else []), "pyperf")
    cells = _kept(arguments.json, matrix, console)
    with console.status("the machine's limits"):
        limits = limits_pinned.rows(arguments.core, quick=arguments.rough)
    missing = {}
    if not installed(limits_pinned.MULTIEXP):
        missing["multi-scalar multiplication"] = f"{limits_pinned.MULTIEXP} is not installed"

    def report() -> Report:
        done = tuple(cells[setting] for setting in matrix.settings if setting in cells)
        chosen = {name: _shown(value) for name, value in vars(matrix).items()}
        return Report(NAME, stamp, chosen, (*limits, *rows(done)), dict(missing), done)

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("cells", total=len(matrix.settings))
        for setting in matrix.settings:
            progress.update(task, description=str(setting))
            if reason := matrix.left_out(setting):
                missing[setting.key] = reason
            elif setting not in cells:
                try:
                    cells[setting] = cell_process.measure(setting, matrix.repeat)
                except CellFailed as error:
                    missing[setting.key] = str(error)
                if arguments.json:
                    write(arguments.json, replace(report(), complete=False, missing=missing | _CUT_OFF))
                progress.console.print(_line(setting, cells.get(setting), missing), highlight=False)
            progress.advance(task)
    return report()


def _shown(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def _line(setting: Setting, cell: Cell | None, missing: dict[str, str]) -> str:
    if cell is None:
        return f"{setting}: {missing[setting.key].splitlines()[-1]}"
    busy = f"; {cell.load}" if cell.load and cell.load.too_high else ""
    return (
        f"{setting}: {1e3 * cell.seconds(CLIENT):.3g} ms a client, {1e3 * cell.seconds(AGGREGATOR):.3g} ms aggregator"
        f"{busy}"
    )


def rows(cells: Sequence[Cell]) -> list[Row]:
    """One row for each cell, and one that says whether all were as exact as promised."""
    exact = [cell.error / cell.bound for cell in cells]
    return [
        *(_row(cell) for cell in cells),
        *(
            [
                Row(
                    key="rounds.error",
                    name="largest error of an average, in what the codec promises",
                    unit="",
                    median=max(exact),
                    samples=len(exact),
                    targets=(Target("median", 1.0),),
                    note="against numpy's mean in float64, rounding to integers included",
                )
            ]
            if exact
            else []
        ),
    ]


def _row(cell: Cell) -> Row:
    setting, params = cell.setting, cell.setting.params
    plain = Samples(tuple(map(sum, zip(*(cost.seconds for cost in cell.plain if cost.role == CLIENT), strict=True))))
    others = [f"{role} {1e3 * cell.seconds(role):.3g} ms" for role in cell.roles if role != CLIENT]
    grown = [f"{role} {grown / _MB:.3g} MB" for role in cell.roles if (grown := cell.memory(role)) is not None]
    traffic = f"up {cell.sent / params:.3g}, down {cell.received / params:.3g} B/param"
    error = f"error {cell.error:.2g} of {cell.bound:.2g}"
    work, training = f"all parties {cell.overhead:.3g} × FedAvg", cell.beside_training
    if training:
        work += f", {training.median:.3g} × local training"
    return Row.timed(
        f"{setting.key}.client",
        f"a client of {setting}",
        Samples(cell.samples(CLIENT)),
        derived=1e9 * cell.seconds(CLIENT) / params,
        derived_unit="ns/param",
        peer=("plain FedAvg", plain),
        note="; ".join([", ".join(others), traffic, ", ".join(grown), error, work]),
    )


SUITE: Final = Suite(
    "whole rounds: backends × parameters × clients × bits × lost clients, beside plain FedAvg",
    _add_arguments,
    _run,
    quick=(
        *("--backends", "masking", "plain", "--params", "1000", "2000", "--clients", "3", "4"),
        *("--bits", "16", "--lost", "0", "--repeat", "2", "--rough", "--no-norms"),
    ),
)
