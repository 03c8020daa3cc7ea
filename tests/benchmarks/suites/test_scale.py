"""Suite ``scale``: laws are what they are fitted to, amounts are those of rounds, and what does not fit is said."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support.federation as support

from benchmarks.__main__ import main
from benchmarks.federation import Federation, update
from benchmarks.measure.round import measure
from benchmarks.scale import growth, received, shards, simulated, whole
from benchmarks.scale.growth import Growth, Point
from benchmarks.scale.laws import Law, Terms
from secure_agg.backends.masking import aggregator as masking
from secure_agg.backends.masking.rules import MASKED_INPUT
from secure_agg.executing import IN_PROCESS


def test_a_power_law_is_found_and_says_how_well_it_holds() -> None:
    sizes = [10.0, 100.0, 1000.0, 10_000.0]
    law = Law.of(sizes, [3 * size**1.5 for size in sizes])
    assert (law.scale, law.power) == pytest.approx((3, 1.5))
    assert law.residuals == pytest.approx([1] * 4)
    assert law.at(1e6) == pytest.approx(3e9)
    bent = Law.of(sizes, [1, 10, 100, 2000])
    assert bent.residuals[-1] > 1
    assert np.prod(bent.residuals) == pytest.approx(1)


def test_terms_are_found_also_where_a_fixed_cost_bends_the_law() -> None:
    sizes = [10.0, 100.0, 1000.0, 10_000.0]
    values = [7 + 0.01 * size for size in sizes]
    terms = Terms.of(sizes, values, (0, 1))
    assert [factor for factor, _ in terms.parts] == pytest.approx([7, 0.01])
    assert terms.at(1e9) == pytest.approx(1e7)
    assert Law.of(sizes, values).at(1e9) < 1e6
    assert terms.residuals == pytest.approx([1] * 4)


@pytest.mark.parametrize(("sizes", "values"), [([1], [1]), ([1, 1], [1, 2]), ([1, 2], [1, 0]), ([1, 2], [1])])
def test_a_law_takes_two_sizes_and_positive_values(sizes: list[float], values: list[float]) -> None:
    with pytest.raises(ValueError, match="make a law"):
        Law.of(sizes, values)


@pytest.mark.parametrize("clients", [5, 12])
def test_as_many_streams_are_counted_as_a_round_removes(clients: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    add_masks = masking.add_masks

    def counting(*given: Any) -> None:
        seen.append(len(given[-1]))
        add_masks(*given)

    monkeypatch.setattr(masking, "add_masks", counting)
    federation, lost = Federation.of(clients, 100), growth.lost_of(clients)
    silent = dict.fromkeys(federation.names[:lost], MASKED_INPUT)
    measure(federation, [update(100)] * clients, silent=silent, executor=IN_PROCESS)
    assert seen == [growth.streams(clients, lost)]


def test_a_prediction_is_the_laws_at_that_size() -> None:
    def point(clients: int, params: int) -> Point:
        lost = growth.lost_of(clients)
        amounts = {
            "ingest": (clients - lost) * params * 1e-9,
            "unmask": growth.streams(clients, lost) * params * 1e-10,
            "verify": params * 1e-8 if params > 1000 else clients * 1e-4,
            "relay": clients**2 * 1e-5,
        }
        return Point(clients, params, lost, amounts)

    laws = Growth.of([point(20, d) for d in (2000, 4000, 8000)], [point(n, 1000) for n in (130, 190, 280)])
    found = laws.predict(10_000, 1_000_000)
    assert found["ingest"] == pytest.approx(9.0)
    assert found["unmask"] == pytest.approx(growth.streams(10_000, 1000) * 1e-4)
    assert found["verify"] == pytest.approx(0.01 + 1.0)
    assert found["relay"] == pytest.approx(1000)


def test_a_round_that_does_not_fit_is_said_and_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "free", lambda: 1 << 20)
    (said,) = whole.rows([(10, 1_000_000)], IN_PROCESS)
    assert isinstance(said, str)
    assert said.startswith("10 × 1,000,000: takes some")


def test_a_large_round_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "free", lambda: 1 << 40)
    (row,) = whole.rows([(3, 1000)], IN_PROCESS)
    assert not isinstance(row, str)
    assert row.key == "scale.3x1000"


def test_single_large_rounds_are_asked_for_by_their_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = whole.needed(3, 1000)
    monkeypatch.setattr(whole, "free", lambda: 2 * needed)
    out = tmp_path / "large.json"
    assert main(["scale", "--cells", "3x1000,10x100000000", "--executor", "processes:1", "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert [row["key"] for row in report["rows"]] == ["scale.3x1000"]
    assert list(report["missing"]) == ["10 × 100,000,000"]
    for wrong in (["--cells", "1x5"], ["--cells", "3x1000", "--whole"], ["--cells", "3"]):
        with pytest.raises(SystemExit) as ended:
            main(["scale", *wrong])
        assert ended.value.code == 2


@pytest.mark.slow
def test_a_simulation_is_measured_in_a_process_of_its_own() -> None:
    seconds, memory, received = simulated.rows(simulated.FLAT, 3, 50)
    assert seconds.median > 0
    assert memory.median > 10
    assert 0.1 < received.median < 100
    assert not seconds.targets


@pytest.mark.slow
@pytest.mark.parametrize(("way", "clients", "found"), [("sampled", 12, {"drawn": 9}), ("tree", 9, {"edges": 3})])
def test_very_many_are_drawn_from_or_dealt_into_edges(way: str, clients: int, found: dict[str, float]) -> None:
    measured = simulated.run(way, clients, 20)
    assert {name: measured[name] for name in found} == found
    assert measured["cpu"] > 0


@pytest.mark.usefixtures("seeded")  # who chooses whom says how many hashes each is shown
def test_bytes_of_a_client_are_those_that_a_round_sends_it() -> None:
    """Of a cohort whose peers are chosen; what is random has the same size."""
    local = support.Federation(30, shapes=((1,),), options={"complete_up_to": 0}).round()
    local.run()
    sent = local.traffic.download
    for phase, size in received.received(30, {"complete_up_to": 0}).items():
        if phase != MASKED_INPUT:  # a receipt comes in it, too
            real = statistics.fmean(amount for (_, at), amount in sent.items() if at == phase)
            assert size == pytest.approx(real, rel=0.1), phase


def test_cells_of_many_have_names_and_targets_of_their_own() -> None:
    names = {simulated.name_of(*cell) for cell in simulated.CELLS}
    assert len(names) == len(simulated.CELLS)
    assert any(clients == 10_000 for way, clients, _ in simulated.CELLS if way == simulated.SAMPLED)
    assert any(clients == 10_000 for way, clients, _ in simulated.CELLS if way == simulated.TREE)


@pytest.mark.long
def test_the_suite_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "TARGET", (200, 10_000))
    file = tmp_path / "scale.json"
    options = ["--params", "2000,4000", "--clients", "4,6", "--streams", "5", "--executor", "processes:2"]
    assert main(["scale", *options, "--repeat", "1", "--no-many", "--json", str(file)]) == 0
    rows = {row["key"] for row in json.loads(file.read_text())["rows"]}
    assert rows >= {
        "scale.masks",
        "scale.hash",
        "scale.sums",
        "scale.decode",
        "scale.simulation",
        "scale.predicted",
        "scale.law.received",
    }
    assert callable(shards.simulation)


@pytest.mark.parametrize(
    "options",
    [("--params", "5"), ("--clients", "0,3"), ("--executor", "in-process"), ("--executor", "x"), ("--repeat", "0")],
)
def test_options_out_of_range_are_refused(options: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["scale", *options])
    assert ended.value.code == 2
