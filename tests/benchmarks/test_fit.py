"""What a fit makes of cells: costs that are sums of amounts are found again, and what can't be known is not made up."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from benchmarks import files, fit
from benchmarks.__main__ import main
from benchmarks.measure.cells import Cell, Cost, Setting
from benchmarks.results import Report
from benchmarks.suite import UsageError
from secure_agg.planning.coefficients import MEMORY, SECONDS, Coefficients
from secure_agg.planning.prediction import predict
from secure_agg.planning.setting import Setting as Asked

STAMP = {"cpu": "Abacus", "cores": 2, "python": "3.11.7 (64-bit)", "numpy": "2.4", "date": "2026-11-29 10:00:00"}
POINTS = [(d, n) for d in (10_000, 40_000, 200_000) for n in (3, 9, 27)]
SEED = 7


def cost(d: int, n: int) -> float:
    """Seconds of the aggregator in the input phase of these cells."""
    return 1e-3 + 2e-4 * n + 3e-10 * n * d


def cell(params: int, clients: int, noise: float = 1.0) -> Cell:
    """Of backend ``plain``, as if it had been measured."""
    seconds = noise * cost(params, clients)
    costs = (
        Cost(
            role="client",
            phase="advertise",
            seconds=(1.0,),
            sent=200.0,
            processor=(1e-3,),
            memory=4.0 * params + 2e6,
        ),
        Cost(
            role="aggregator",
            phase="masked-input",
            seconds=(1.0,),
            sent=50.0 * clients,
            received=300.0 * clients,
            processor=(seconds,),
            memory=8.0 * params + 2e6,
        ),
    )
    plain = tuple(Cost(role=role, phase="average", seconds=(1.0,)) for role in ("client", "aggregator"))
    setting = Setting("plain", params, clients, 16, 0)
    parties = {"client": clients, "aggregator": 1}
    return Cell(setting=setting, parties=parties, costs=costs, rounds=(1.0,), plain=plain, error=0.1, bound=1.0)


CELLS = tuple(cell(*point) for point in POINTS)


def report(*cells: Cell) -> Report:
    return Report("rounds", STAMP, {}, (), cells=cells)


def test_costs_that_are_sums_of_amounts_are_found_again_where_nothing_was_measured() -> None:
    found = predict(Asked("plain", 1_000_000, 20), fit.coefficients(report(*CELLS)))
    assert found.processor("aggregator") == pytest.approx(cost(1_000_000, 20), rel=0.01)
    assert found.sent("aggregator") == pytest.approx(1_000, rel=1e-4)
    assert found.memory["client"] == pytest.approx(6e6, rel=0.01)


def test_cells_that_are_left_out_tell_how_far_off_a_plan_is() -> None:
    errors = fit.fit(CELLS).errors
    for figure in (SECONDS, "bytes", MEMORY):
        assert errors[figure] == pytest.approx((1.0, 1.0), abs=0.02), figure
    noise = np.random.default_rng(SEED).lognormal(0.0, 0.5, len(POINTS))
    rough = fit.fit([cell(*point, each) for point, each in zip(POINTS, noise, strict=True)]).errors
    assert rough[SECONDS][1] > 1.2, f"seed {SEED}"
    assert rough["bytes"] == pytest.approx((1.0, 1.0), abs=0.02)


def test_no_coefficient_is_negative_and_the_squares_are_the_least() -> None:
    source = np.random.default_rng(SEED)
    for _ in range(50):
        matrix, wanted = source.standard_normal((12, 5)), source.standard_normal(12)
        found = fit.least_squares(matrix, wanted)
        assert found.min() >= 0, f"seed {SEED}"
        slope = matrix.T @ (wanted - matrix @ found)  # Karush, Kuhn and Tucker
        assert slope.max() < 1e-8, f"seed {SEED}"
        assert np.abs(slope[found > 0]).max(initial=0.0) < 1e-8, f"seed {SEED}"


def test_an_amount_that_was_never_there_costs_nothing() -> None:
    matrix = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    assert fit.least_squares(matrix, np.array([2.0, 4.0, 6.0])) == pytest.approx([2.0, 0.0])


def test_amounts_of_a_backend_have_no_part_in_what_roles_do_alone() -> None:
    seen = [({"one": 1.0, "values": float(d), "its masks": 3.0 * d}, 1e-9 * d) for d in (10_000, 50_000, 200_000)]
    assert set(fit._term(("client", "commit", SECONDS), seen).per) == {"values"}
    of_backend = [({"one": 1.0, "its masks": amounts["its masks"]}, seconds) for amounts, seconds in seen]
    assert set(fit._term(("client", "masked-input", SECONDS), of_backend).per) == {"its masks"}


def test_the_command_writes_what_plans_read_and_says_how_far_off_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, out = tmp_path / "rounds.json", tmp_path / "here.json"
    files.write(results, report(*CELLS))
    assert main(["fit", str(results), "--out", str(out)]) == 0
    kept = Coefficients.load_file(out)
    assert (kept.machine, kept.date) == ("Abacus, 2 cores, Python 3.11.7, numpy 2.4", "2026-11-29")
    assert kept.fitted("plain").parameters == (10_000, 200_000)
    assert kept.fitted("plain").clients == (3, 27)
    said = capsys.readouterr().out
    assert "plain" in said
    assert "held-out" in said


def test_too_few_cells_and_cells_without_processor_time_are_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rounds --spread"):
        fit.coefficients(report(*CELLS[:3]))
    bare = [dataclasses.replace(one, processor=()) for one in CELLS[0].costs]
    with pytest.raises(UsageError, match="no processor time"):
        fit.fit([*CELLS[:6], dataclasses.replace(CELLS[0], costs=tuple(bare))])
    with pytest.raises(SystemExit):
        main(["fit", str(tmp_path / "nowhere.json")])
