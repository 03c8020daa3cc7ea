"""The matrix of rounds measures real rounds, can be cut off and go on, and says what it left out. Never how fast."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import files, results
from benchmarks.__main__ import main
from benchmarks.measure.cells import AGGREGATOR, CLIENT, Cell, Setting
from benchmarks.measure.memory import MEASURABLE, give_back
from benchmarks.measure.meter import Meter
from benchmarks.report import tables
from benchmarks.results import Report
from benchmarks.rounds import cell_process, limits_pinned
from benchmarks.rounds import suite as rounds
from benchmarks.rounds.cell_process import CellFailed
from benchmarks.rounds.cell_rounds import Rounds, federation
from benchmarks.rounds.suite import Matrix
from benchmarks.rounds.training import Training
from benchmarks.suite import UsageError
from secure_agg.backends.packed import carrier

PARAMS = 3_000
RANDOMNESS = 5 * 512
COHORT = 4
COMMAND = ["rounds", "--backends", "masking", "bfv", "--params", str(PARAMS), "--clients", str(COHORT)]
COMMAND += ["--bits", "16", "--lost", "0", "25", "--repeat", "2", "--rough", "--no-norms"]
BASE = Setting("masking", PARAMS, COHORT, 16, 0)
MATRIX = Matrix(("masking", "plain"), (10, 20), (3, 5), (16, 8), (0, 10), full=False, most=1_000, repeat=1)
NEEDS_PROC = pytest.mark.skipif(not MEASURABLE, reason="peak memory is reset through Linux's /proc")


@pytest.fixture(scope="module", autouse=True)
def unchanged() -> Iterator[None]:
    """While the tests run the source counts as the same, whoever is working on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "_source", lambda: "here")
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("rounds") / "rounds.json"
    assert main([*COMMAND, "--json", str(found)]) == 0
    return found


@pytest.fixture(scope="module")
def measured(file: Path) -> Report:
    return files.read(file)


@pytest.fixture(scope="module")
def cells(measured: Report) -> dict[Setting, Cell]:
    return {cell.setting: cell for cell in measured.cells}


@pytest.mark.long
def test_every_cell_is_in_the_file_with_every_role_and_phase(measured: Report, cells: dict[Setting, Cell]) -> None:
    lost = [dataclasses.replace(BASE, backend=name, lost=25) for name in ("masking", "bfv")]
    assert list(cells) == [BASE, dataclasses.replace(BASE, backend="bfv"), *lost]
    assert measured.complete
    phases = ["advertise", "share-keys", "masked-input", "consistency", "unmask"]
    assert [cost.phase for cost in cells[BASE].of(CLIENT)] == ["encode", "commit", *phases, "verify"]
    assert [cost.phase for cost in cells[BASE].of(AGGREGATOR)] == [*phases, "verify", "result"]
    assert cells[lost[1]].parties == {CLIENT: COHORT, AGGREGATOR: 1, "keyholder": 1}
    for cell in cells.values():
        assert len(cell.rounds) == 2
        for cost in (*cell.costs, *cell.plain):
            assert len(cost.seconds) == 2
            assert min(cost.seconds) >= 0
        assert all(len(cost.processor) == 2 and min(cost.processor) >= 0 for cost in cell.costs)


@pytest.mark.long
def test_what_roles_take_fits_into_the_whole_rounds_that_pyperf_times(cells: dict[Setting, Cell]) -> None:
    cell = cells[BASE]
    for place, whole in enumerate(cell.rounds):
        after = COHORT * cell.of(CLIENT)[-1].seconds[place] + cell.of(AGGREGATOR)[-1].seconds[place]
        assert COHORT * cell.samples(CLIENT)[place] + cell.samples(AGGREGATOR)[place] - after < whole


@pytest.mark.long
def test_bytes_are_those_of_the_wire_format_and_none_is_lost_on_the_way(cells: dict[Setting, Cell]) -> None:
    cell = cells[BASE]
    masked = carrier(federation(BASE).config).size
    assert masked < next(cost.sent for cost in cell.of(CLIENT) if cost.phase == "masked-input") < masked + 16_384
    assert cell.received > 4 * (PARAMS + RANDOMNESS)
    for whole in (cell, cells[dataclasses.replace(BASE, backend="bfv")]):
        sent, received = (
            sum(whole.parties[cost.role] * getattr(cost, way) for cost in whole.costs) for way in ("sent", "received")
        )
        assert sent == received


@pytest.mark.long
def test_averages_are_as_exact_as_the_codec_promises_and_not_more(cells: dict[Setting, Cell]) -> None:
    for cell in cells.values():
        assert 0 < cell.error <= cell.bound


@pytest.mark.long
def test_a_client_that_is_lost_is_lost_before_its_input(cells: dict[Setting, Cell]) -> None:
    with_all, without = (cells[dataclasses.replace(BASE, lost=lost)].of(AGGREGATOR) for lost in (0, 25))
    taken = [next(cost.received for cost in costs if cost.phase == "masked-input") for costs in (with_all, without)]
    assert taken[0] / taken[1] == pytest.approx(4 / 3)


@pytest.mark.long
def test_averaging_and_local_training_are_measured_after_each_round_beside_a_load(cells: dict[Setting, Cell]) -> None:
    for cell in cells.values():
        assert [len(cost.seconds) for cost in cell.plain] == [2, 2, 2]
        assert len(cell.training) == 2
        assert min(cell.training) > 0
        assert cell.beside_training is not None
        assert cell.beside_training.median > 0
        assert cell.load is None or cell.load.most >= cell.load.before >= 0


@pytest.mark.parametrize(
    ("params", "kept"), [(1, 85), (1_000, 985), pytest.param(100_000, 99_985, marks=pytest.mark.long)]
)
def test_local_training_is_of_a_model_as_large_and_learns(params: int, kept: int) -> None:
    training = Training(params)
    assert training.params == kept
    before = training.accuracy
    for _ in range(3):
        training.epoch()
    assert training.accuracy > before + 0.05


@pytest.mark.long
def test_verification_is_a_part_of_the_whole(cells: dict[Setting, Cell]) -> None:
    for cell in cells.values():
        for role in (CLIENT, AGGREGATOR):
            assert 0 < cell.seconds(role, verified=False) < cell.seconds(role)
        assert cell.overhead > 1


@NEEDS_PROC
@pytest.mark.long
def test_memory_is_metered_for_every_role(cells: dict[Setting, Cell]) -> None:
    for cell in cells.values():
        assert all(cell.memory(role) is not None for role in cell.roles)
        assert (cell.memory(CLIENT) or 0) > 0


@NEEDS_PROC
def test_an_array_that_a_step_makes_shows_in_its_peak() -> None:
    meter, kept = Meter(memory=True), list[object]()
    give_back()
    for operation in (
        lambda: np.ones(8_000_000, dtype=np.uint8).sum(),
        lambda: kept.append(np.ones(8_000_000, dtype=np.uint8)),
        lambda: 0,
    ):
        meter.run(CLIENT, "one", "some", "do", operation)
    hoarded, held, idle = meter.calls
    assert hoarded.grown > 7_500_000 > 1_000_000 > hoarded.kept
    assert min(held.grown, held.kept) > 7_500_000
    assert max(idle.grown, idle.kept) < 1_000_000


@pytest.mark.long
def test_the_machines_limits_are_part_of_the_run(measured: Report) -> None:
    limits = [row for row in measured.rows if row.key.startswith("machine.")]
    names = {"keystream", "add", "sha256", "fsync"} | (
        {"multiexp"} if "multi-scalar" not in measured.missing else set()
    )
    assert {row.key.removeprefix("machine.") for row in limits} >= names - {"multiexp"}
    assert all(row.median > 0 and row.derived for row in limits)


@pytest.mark.long
def test_a_second_run_measures_no_cell_again(file: Path, measured: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(setting: Setting, repeat: int) -> Cell:
        raise AssertionError(f"{setting} was there")

    monkeypatch.setattr(cell_process, "measure", never)
    monkeypatch.setattr(limits_pinned, "rows", lambda core, quick: [])
    assert main([*COMMAND, "--json", str(file)]) == 0
    assert files.read(file).cells == measured.cells


def without_processes(monkeypatch: pytest.MonkeyPatch, known: Cell, fail_at: int = 99) -> list[Setting]:
    """Cells like ``known``, and what was asked for; the run is cut off at one of them."""
    asked: list[Setting] = []

    def measure(setting: Setting, repeat: int) -> Cell:
        asked.append(setting)
        if len(asked) == fail_at:
            raise KeyboardInterrupt
        return dataclasses.replace(known, setting=setting)

    monkeypatch.setattr(cell_process, "measure", measure)
    monkeypatch.setattr(limits_pinned, "rows", lambda core, quick: [])
    return asked


@pytest.mark.long
def test_a_run_that_is_cut_off_goes_on_where_it_was(
    tmp_path: Path, cells: dict[Setting, Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tmp_path / "rounds.json"
    asked = without_processes(monkeypatch, cells[BASE], fail_at=3)
    with pytest.raises(KeyboardInterrupt):
        main([*COMMAND, "--json", str(found)])
    assert not files.read(found).complete
    assert "cut off" in files.read(found).missing["the other cells"]
    assert len(files.read(found).cells) == 2
    assert main([*COMMAND, "--json", str(found)]) == 0
    assert asked[3:] == [asked[2], dataclasses.replace(BASE, backend="bfv", lost=25)]
    assert len(files.read(found).cells) == 4
    assert not files.read(found).missing.keys() & {"the other cells"}


@pytest.mark.parametrize("changed", ["source", "repeat"])
@pytest.mark.long
def test_cells_of_other_code_or_another_effort_are_measured_anew(
    changed: str, tmp_path: Path, cells: dict[Setting, Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tmp_path / "rounds.json"
    asked = without_processes(monkeypatch, cells[BASE])
    assert main([*COMMAND, "--json", str(found)]) == 0
    if changed == "source":
        monkeypatch.setattr(results, "_source", lambda: "other")
    again = [*COMMAND, "--json", str(found), *(["--repeat", "3"] if changed == "repeat" else [])]
    assert main(again) == 0
    assert len(asked) == 8


def test_one_axis_leaves_the_base_at_a_time_or_all_do() -> None:
    one = MATRIX.settings
    assert one[:2] == (Setting("masking", 10, 3, 16, 0), Setting("plain", 10, 3, 16, 0))
    assert len(one) == len(set(one)) == 2 * 5
    every = dataclasses.replace(MATRIX, full=True).settings
    assert len(every) == 2 * 2**4
    assert set(one) < set(every)


def test_rounds_with_a_norm_bound_are_run_beside_each_size() -> None:
    found = [one for one in dataclasses.replace(MATRIX, bounded=True).settings if one.norms]
    assert found == [
        Setting(backend, params, 3, 16, 0, norms)
        for params in (10, 20)
        for backend, norms in (("masking", "proved"), ("masking", "screened"), ("plain", "proved"))
    ]


@pytest.mark.parametrize(("norms", "clients"), [("proved", 3), ("screened", 5)])  # of five one may be excised
def test_a_round_with_a_norm_bound_is_a_cell_like_others(norms: str, clients: int) -> None:
    rounds_of = Rounds(Setting("masking", 500, clients, 16, 0, norms))
    assert rounds_of.time(1) > 0
    found = rounds_of.cell([1.0])
    assert found.error <= found.bound
    assert ("screen" in {cost.phase for cost in found.costs}) == (norms == "screened")
    plain = Cell(
        setting=dataclasses.replace(found.setting, norms=""),
        parties=found.parties,
        costs=found.costs,
        rounds=found.rounds,
        plain=found.plain,
        error=found.error,
        bound=found.bound,
    )
    (row,) = tables.bounded([plain, found]).rows
    assert row[:4] == ("masking", norms, "500", str(clients))


@pytest.mark.long
def test_what_is_left_out_is_reported_with_its_reason(
    tmp_path: Path, cells: dict[Setting, Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = without_processes(monkeypatch, cells[BASE])
    monkeypatch.setattr(rounds, "installed", lambda name: False)
    found = tmp_path / "rounds.json"
    command = ["rounds", "--backends", "crypten", "paillier", "--params", "10", "--clients", "4", "--bits", "16"]
    assert main([*command, "--lost", "0", "--most", "39", "--json", str(found)]) == 0
    missing = files.read(found).missing
    assert asked == []
    assert "pip install" in missing["crypten.d10.n4.q16.l0"]
    assert "above --most 39" in missing["paillier.d10.n4.q16.l0"]
    assert "not installed" in missing["multi-scalar multiplication"]


def test_a_cell_that_would_not_be_secure_is_refused_by_its_process() -> None:
    with pytest.raises(CellFailed, match="24 bits"):
        cell_process.measure(Setting("bfv", 10, 100, 24, 0), 1)


def test_another_suites_file_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "core.json"
    files.write(found, Report("core", {}, {}, ()))
    kept = found.read_bytes()
    with pytest.raises(SystemExit):
        main([*COMMAND, "--json", str(found)])
    assert "holds suite core" in capsys.readouterr().err
    assert found.read_bytes() == kept


@pytest.mark.parametrize(
    "options",
    [["--backends", "none"], ["--params", "0"], ["--lost", "100"], ["--repeat", "0"], ["--core", "4096"]],
)
def test_options_out_of_range_are_a_usage_error(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["rounds", *options])
    assert stopped.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_a_cell_needs_a_round() -> None:
    with pytest.raises(ValueError, match="no round"):
        Rounds(dataclasses.replace(BASE, backend="plain")).cell([1.0])


def test_defaults_are_a_matrix_with_every_backend() -> None:
    parser = argparse.ArgumentParser()
    rounds.SUITE.add_arguments(parser)
    given = parser.parse_args([])
    assert set(given.backends) == {"masking", "additive", "bfv", "ckks", "paillier", "crypten", "plain"}
    assert all(len(getattr(given, axis)) > 1 for axis in ("params", "clients", "bits", "lost"))


def test_an_unknown_backend_names_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="masking"):
        dataclasses.replace(MATRIX, backends=("none",))


@pytest.mark.long
def test_the_stamp_names_no_machine_and_no_path(file: Path) -> None:
    stamp = json.loads(file.read_text())["machine"]
    assert {"cpu", "cores", "platform", "python", "numpy", "pyperf", "secure-agg", "source"} <= set(stamp)
    assert not [value for value in stamp.values() if "/" in str(value)]
    assert "hostname" not in stamp
