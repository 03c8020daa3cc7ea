"""Results of benchmarks that are made up: costs that grow with the model and the cohort, and texts of an attacker."""

from __future__ import annotations

import pytest

from benchmarks.load import Load
from benchmarks.measure.cells import AGGREGATOR, CLIENT, Cell, Cost, Setting
from benchmarks.report import sections
from benchmarks.results import Report, Row
from benchmarks.timing import Samples

STAMP = {"cpu": "Abacus", "cores": 2, "python": "3.11.7 (64-bit)", "numpy": "2.4", "date": "2026-11-21 10:00:00"}
HOSTILE = '<script src="http://evil.example/x.js">|'
QUIET = Load(before=0.2, most=2.0, cores=2)
LOADED = Load(before=0.4, most=2.1, cores=2)


def cell(
    backend: str = "masking",
    params: int = 1_000,
    clients: int = 10,
    *,
    slower: float = 1.0,
    load: Load | None = QUIET,
    training: tuple[float, ...] = (0.02, 0.03, 0.01),
) -> Cell:
    """Three rounds; at the defaults 10 ms of a client, 13 ms of the aggregator, and 20 ms of local training."""
    unit = 1e-6 * params * slower

    def cost(role: str, phase: str, seconds: float, **more: float) -> Cost:
        return Cost(role=role, phase=phase, seconds=(seconds, 1.01 * seconds, 0.99 * seconds), **more)

    return Cell(
        setting=Setting(backend, params, clients, 16, 0),
        parties={CLIENT: clients, AGGREGATOR: 1},
        costs=(
            cost(CLIENT, "encode", unit),
            cost(CLIENT, "commit", 2 * unit),
            cost(CLIENT, "masked-input", 4 * unit, sent=4.0 * params, memory=8e6),
            cost(CLIENT, "verify", 3 * unit, received=4.0 * params),
            cost(AGGREGATOR, "masked-input", clients * unit, received=4.0 * params * clients),
            cost(AGGREGATOR, "verify", 3 * unit),
        ),
        rounds=(0.1, 0.1, 0.1),
        plain=(cost(CLIENT, "send", unit / 10), cost(AGGREGATOR, "average", unit / 5)),
        error=1e-4,
        bound=2e-4,
        training=training,
        load=load,
    )


CELLS = (cell(), cell("bfv"), cell(params=10_000), cell("bfv", 10_000), cell(clients=30), cell("bfv", clients=30))


def report_of(*cells: Cell, suite: str = "rounds", rows: tuple[Row, ...] = (), load: Load | None = None) -> Report:
    """A suite's report with something missing."""
    return Report(suite, STAMP, {"repeat": 3}, rows, {"a part": HOSTILE}, cells, load=load)


def timed(key: str, *seconds: float, peer: float | None = None) -> Row:
    """A row, with a peer as constant as no peer is."""
    beside = (f"peer {HOSTILE}", Samples((peer,) * len(seconds))) if peer else None
    return Row.timed(key, f"row {key} {HOSTILE}", Samples(seconds), peer=beside)


def without_pictures(patch: pytest.MonkeyPatch) -> None:
    """Reports show no pictures, which take half a second each, to what is about their words."""
    patch.setattr(sections, "pictures", lambda *_: [])
