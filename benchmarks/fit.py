"""``python -m benchmarks fit``: what plans are made from, fitted to the cells of the suite ``rounds``.

Every figure of a role in a phase is a sum of amounts (``Setting.amounts``) times coefficients that are not negative:
least squares of relative errors, by Lawson and Hanson's active sets (Solving Least Squares Problems, 1974, chapter 23).
How far to trust them is found by leaving cells out: each is predicted once from the others, a fourth at a time.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.files import FOLDER, read
from benchmarks.measure.cells import COMMIT, ENCODE, RESULT, VERIFY, Cell
from benchmarks.results import Report, short_stamp
from benchmarks.rounds.cell_rounds import norm_bound, options
from benchmarks.suite import UsageError
from secure_agg import planning
from secure_agg.planning.coefficients import MEMORY, RECEIVED, SECONDS, SENT, Coefficients, Fitted, Term
from secure_agg.planning.setting import Setting
from secure_agg.protocol.config import Option

SUMMARY: Final = "what plans are made from, of measured rounds"
DEFAULT: Final = Path(planning.__file__).with_name("coefficients.json")
FEWEST_CELLS: Final = 5
"""Of a backend: with fewer nothing could be left out."""
_PASSING: Final = ("inputs", "models", "pairs", "results", "votes")
"""What goes through a party and is held one at a time: its memory does not grow with all of them."""
_FOLDS: Final = 4
_CONSTANT_FROM: Final = 3
"""Cells from which on a part that does not grow can be told: with fewer, everything is taken to grow."""
_LEAST: Final = {SECONDS: 1e-5, SENT: 1.0, RECEIVED: 1.0, MEMORY: 1e6}
"""Differences below these do not count: noise of the clock, and of how memory is given out."""
_NEGLIGIBLE: Final = {SECONDS: 2e-2, SENT: 1e-3, RECEIVED: 1e-3, MEMORY: 2e-2}
"""A term that is a smaller part than this of a figure in every cell is left out."""
_OWN: Final = "its "
_OF_ROLES: Final = (ENCODE, COMMIT, VERIFY, RESULT)
"""Steps that no backend has a part in: its own amounts have none in what they cost."""
_DIGITS: Final = 6
_STAMPED: Final = ("secure-agg", "numpy", "numba", "python", "tenseal", "gmpy2", "crypten")
_PERCENTILE: Final = 90

_Key = tuple[str, str, str]
"""Role, phase and figure."""


@dataclass(frozen=True)
class Observation:
    """A cell as a plan sees it.

    Attributes:
        setting: what would be asked.
        figures: that were measured.
    """

    setting: Setting
    figures: Mapping[_Key, float]

    @staticmethod
    def of(cell: Cell) -> Observation:
        """The least of the repetitions: what else runs on the machine counts as little as can be.

        Raises:
            UsageError: the cell has no processor time.
        """
        at, found = cell.setting, dict[_Key, float]()
        for cost in cell.costs:
            if not cost.processor:
                raise UsageError(f"cell {at.key} has no processor time: it is of an earlier version, measure it again")
            found[cost.role, cost.phase, SECONDS] = min(cost.processor)
            found |= {(cost.role, cost.phase, SENT): cost.sent, (cost.role, cost.phase, RECEIVED): cost.received}
        for role in cell.roles:
            if (held := cell.memory(role)) is not None:
                found[role, "", MEMORY] = held
        chosen = tuple(Option(name, value) for name, value in sorted(options(at).items()))
        setting = Setting(
            at.backend,
            at.params,
            at.clients,
            at.bits,
            at.silent / at.clients,
            options=chosen,
            norm_bound=norm_bound(at),
        )
        return Observation(setting, {key: value for key, value in found.items() if value > 0})


def least_squares(matrix: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The x of the least ‖matrix · x − wanted‖ without negative entries.

    Args:
        matrix: (equations, unknowns); columns of zeros get 0.
        wanted: (equations,).
    """
    count = matrix.shape[1]
    scale = np.linalg.norm(matrix, axis=0)
    used = scale > 0
    columns = np.divide(matrix, scale, out=np.zeros_like(matrix), where=used)
    found, active = np.zeros(count), np.zeros(count, dtype=bool)
    tolerance = 1e-10 * max(1.0, float(np.abs(columns.T @ wanted).max(initial=0.0)))
    for _ in range(10 * count):
        slope = columns.T @ (wanted - columns @ found)
        slope[active | ~used] = -np.inf
        if slope.max(initial=-np.inf) <= tolerance:
            break
        active[int(slope.argmax())] = True
        while True:
            trial = np.zeros(count)
            trial[active] = np.linalg.lstsq(columns[:, active], wanted, rcond=None)[0]
            below = active & (trial <= 0)
            if not below.any():
                found = trial
                break
            step = (found[below] / np.maximum(found[below] - trial[below], 1e-300)).min()
            found = found + step * (trial - found)
            active &= found > 1e-14
            found[~active] = 0.0
    solution: npt.NDArray[np.float64] = np.divide(found, scale, out=np.zeros(count), where=used)
    return solution


def _excluded(key: _Key, amount: str) -> bool:
    _, phase, figure = key
    return (phase in _OF_ROLES and amount.startswith(_OWN)) or (figure == MEMORY and amount in _PASSING)


def _term(key: _Key, seen: Sequence[tuple[Mapping[str, float], float]]) -> Term:
    """Coefficients of one figure, from amounts and what was measured."""
    names = [name for name in seen[0][0] if not _excluded(key, name)]
    if len(seen) < _CONSTANT_FROM:
        names.remove("one")
    weight = 1 / np.array([max(value, _LEAST[key[2]]) for _, value in seen])
    rows = np.array([[amounts.get(name, 0.0) for name in names] for amounts, _ in seen]) * weight[:, None]
    wanted = np.array([value for _, value in seen]) * weight
    found = least_squares(rows, wanted)
    parts = rows * found
    kept = (parts > _NEGLIGIBLE[key[2]] * parts.sum(axis=1, keepdims=True)).any(axis=0)
    found = least_squares(np.where(kept, rows, 0.0), wanted)
    per = {name: float(f"{each:.{_DIGITS}g}") for name, each in zip(names, found, strict=True) if each > 0}
    return Term(*key, per)


def terms(observations: Iterable[Observation]) -> tuple[Term, ...]:
    """Of one backend."""
    seen: dict[_Key, list[tuple[Mapping[str, float], float]]] = defaultdict(list)
    for one in observations:
        amounts = {role: one.setting.amounts(role) for role in {role for role, _, _ in one.figures}}
        for key, value in one.figures.items():
            seen[key].append((amounts[key[0]], value))
    return tuple(_term(key, pairs) for key, pairs in seen.items())


def _ratios(fitted: Sequence[Term], left_out: Iterable[Observation]) -> Iterator[tuple[str, float]]:
    """By figure, how far off the whole round of each role is, as a factor of at least 1."""
    for one in left_out:
        measured: dict[tuple[str, str], float] = defaultdict(float)
        predicted: dict[tuple[str, str], float] = defaultdict(float)
        for (role, _, figure), value in one.figures.items():
            measured[role, figure] += value
        for term in fitted:
            if (term.role, term.phase, term.figure) in one.figures or term.figure == MEMORY:
                predicted[term.role, term.figure] += term.of(one.setting.amounts(term.role))
        for (role, figure), value in measured.items():
            if figure == MEMORY and value < _LEAST[MEMORY]:
                continue  # not told apart, so there is nothing to be right about
            guess = max(predicted[role, figure], _LEAST[figure])
            yield figure, max(guess / max(value, _LEAST[figure]), max(value, _LEAST[figure]) / guess)


def fit(cells: Sequence[Cell]) -> Fitted:
    """One backend.

    Raises:
        UsageError: there are too few cells, or they have no processor time.
    """
    if len(cells) < FEWEST_CELLS:
        raise UsageError(f"{len(cells)} cells of {cells[0].setting.backend}: {FEWEST_CELLS} are the fewest")
    observed = [Observation.of(cell) for cell in sorted(cells, key=lambda cell: cell.setting)]
    ratios: dict[str, list[float]] = defaultdict(list)
    for fold in range(_FOLDS):
        known = terms(one for place, one in enumerate(observed) if place % _FOLDS != fold)
        for figure, ratio in _ratios(known, observed[fold::_FOLDS]):
            ratios["bytes" if figure in (SENT, RECEIVED) else figure].append(ratio)

    def span(values: Iterable[int]) -> tuple[int, int]:
        among = sorted(values)
        return among[0], among[-1]

    return Fitted(
        cells=len(observed),
        parameters=span(one.setting.parameters for one in observed),
        clients=span(one.setting.clients for one in observed),
        bits=span(one.setting.bits for one in observed),
        errors={
            figure: (round(float(np.median(found)), 4), round(float(np.percentile(found, _PERCENTILE)), 4))
            for figure, found in ratios.items()
        },
        terms=terms(observed),
    )


def coefficients(report: Report) -> Coefficients:
    """Of all backends that have cells enough.

    Raises:
        UsageError: none has, or the file has no processor time.
    """
    by: dict[str, list[Cell]] = defaultdict(list)
    for cell in report.cells:
        by[cell.setting.backend].append(cell)
    enough = {name: cells for name, cells in by.items() if len(cells) >= FEWEST_CELLS}
    if not enough:
        raise UsageError(f"no backend has {FEWEST_CELLS} cells: run  python -m benchmarks rounds --spread")
    machine: Mapping[str, Any] = report.machine
    return Coefficients(
        machine=short_stamp({name: value for name, value in machine.items() if name != "date"}),
        date=str(machine.get("date", "")).partition(" ")[0],
        load=f"{report.loads}" + ("; fitted under load" if report.warning else "") if report.loads else "not known",
        versions={name: str(machine[name]) for name in _STAMPED if name in machine},
        backends={name: fit(cells) for name, cells in enough.items()},
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    usual = FOLDER / "rounds.json"
    parser.add_argument(
        "results", nargs="?", type=Path, default=usual, metavar="RESULTS", help=f"file of suite rounds ({usual})"
    )
    parser.add_argument(
        "--out", type=Path, default=DEFAULT, metavar="FILE", help="where they go (the package's own, %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Read, fit, write, and print how far off held-out cells are.

    Raises:
        UsageError: there is no such file of results, or not enough in it.
    """
    try:
        report = read(arguments.results)
    except (OSError, ValueError) as error:
        raise UsageError(f"{arguments.results}: {error}") from error
    found = coefficients(report)
    found.save(arguments.out)
    table = Table(title=f"{found.machine}, {found.date}: held-out cells, median and {_PERCENTILE}th percentile factor")
    for heading in ("backend", "cells", SECONDS, "bytes", MEMORY):
        table.add_column(heading, justify="left" if heading == "backend" else "right")
    for name, one in found.backends.items():
        errors = (" / ".join(f"{each:.3f}" for each in one.errors.get(kind, ())) for kind in (SECONDS, "bytes", MEMORY))
        table.add_row(name, str(one.cells), *errors)
    Console(width=120).print(table, highlight=False)
    return 0
