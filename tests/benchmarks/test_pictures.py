"""Every picture says what it is of, how often and beside what load; spreads show, and colours keep their meaning."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from support.measured import CELLS, LOADED, QUIET, cell, report_of

from benchmarks.__main__ import main
from benchmarks.files import write
from benchmarks.measure.cells import CLIENT, Cell, Cost
from benchmarks.report import canvas, palette, plots, tables
from benchmarks.report.canvas import Picture
from benchmarks.timing import Samples

pytestmark = pytest.mark.long

COUNTED = "traffic"
"""The picture of bytes, which have no spread."""
BACKENDS = ("masking", "additive", "bfv", "ckks", "paillier", "crypten", "plain")
PNG = b"\x89PNG\r\n\x1a\n"


def text_of(picture: Picture) -> str:
    """All that can be read in a picture, lines joined."""
    return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", picture.svg))


def by_name(*cells: Cell) -> dict[str, Picture]:
    return {picture.name: picture for picture in plots.pictures(cells, "Abacus, 2 cores")}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Picture]:
    return by_name(*CELLS)


# --- what a picture says ----------------------------------------------------------------------------------------


def test_every_picture_names_its_backends_and_its_cell(drawn: dict[str, Picture]) -> None:
    cells = {
        "growth-params": "masking, bfv: 10 clients, 16 bits",
        "growth-clients": "masking, bfv: 1,000 parameters, 16 bits",
    }
    for name, picture in drawn.items():
        of = cells.get(name, "masking, bfv: 1,000 parameters, 10 clients, 16 bits")
        assert of in text_of(picture), name
        assert picture.description.startswith(of)
        assert picture.title in text_of(picture)


def test_every_picture_says_how_often_it_was_measured_where_and_beside_what_load(drawn: dict[str, Picture]) -> None:
    for name, picture in drawn.items():
        said = text_of(picture)
        assert "3 rounds" in said, name
        assert "Load 0.2 before, at most 2.0, on 2 cores" in said, name
        assert "Abacus, 2 cores" in said, name
        assert "WARNING" not in said, name  # 2.0 on two cores is one for each, and not above


def test_what_was_measured_above_one_for_each_core_carries_a_warning() -> None:
    for name, picture in by_name(cell(), cell("bfv", load=LOADED), cell("bfv", clients=30)).items():
        warned = "WARNING: a load of 2.1 on 2 cores is above 1 for each" in text_of(picture)
        assert warned == (name != COUNTED), name
        assert ("WARNING" in picture.description) == warned
        assert (palette.WARNING in picture.svg) == warned


def test_a_load_of_other_cells_is_not_held_against_a_picture() -> None:
    found = by_name(cell(), cell(params=5_000, load=LOADED), cell(clients=30))
    assert {name for name, picture in found.items() if "WARNING" in text_of(picture)} == {"growth-params"}


def test_an_unknown_load_is_said_to_be_unknown() -> None:
    for picture in by_name(cell(load=None)).values():
        assert "Load not known" in text_of(picture)


def test_the_lost_clients_are_part_of_the_cell() -> None:
    lost = dataclasses.replace(cell(), setting=dataclasses.replace(cell().setting, lost=20))
    more = dataclasses.replace(lost, setting=dataclasses.replace(lost.setting, clients=30))
    found = by_name(lost, more)
    assert "10 clients, 16 bits, 2 lost" in text_of(found["overhead"])
    assert "1,000 parameters, 16 bits, 20 % lost" in text_of(found["growth-clients"])


# --- spreads ----------------------------------------------------------------------------------------------------


@pytest.fixture
def axes_of(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """The axes of every picture that is drawn."""
    seen: dict[str, list[Any]] = {}
    honest = canvas.Canvas.picture

    def noting(self: canvas.Canvas, name: str, description: str) -> Picture:
        seen[name] = list(self.figure.axes)
        return honest(self, name, description)

    monkeypatch.setattr(canvas.Canvas, "picture", noting)
    return seen


def spreads(axes: Any, along: int) -> list[tuple[float, ...]]:
    """From where to where the error bars on some axes reach, in the order of what they are of."""
    found = []
    for container in axes.containers:
        if hasattr(container, "has_xerr"):
            found += [tuple(end[along] for end in segment) for segment in container.lines[2][0].get_segments()]
    return found


def test_seconds_have_bars_from_the_first_to_the_third_quartile(axes_of: dict[str, list[Any]]) -> None:
    wide = cell("bfv", slower=3.0)
    plots.pictures((cell(), wide, cell(clients=30)))
    client = [Samples(each.samples(CLIENT)).scaled(1e3).quartiles for each in (cell(), wide)]
    assert spreads(axes_of["verification"][0], 0)[:2] == [pytest.approx(each) for each in client]
    multiples = [cell().beside_plain.quartiles, wide.beside_plain.quartiles]
    assert spreads(axes_of["overhead"][0], 0) == [pytest.approx(each) for each in multiples]
    training = [each.beside_training for each in (cell(), wide)]
    assert spreads(axes_of["overhead"][1], 0) == [pytest.approx(each.quartiles) for each in training if each]
    ends = [Samples(each.samples(CLIENT)).quartiles for each in (cell(), cell(clients=30))]
    assert spreads(axes_of["growth-clients"][0], 1)[:2] == [pytest.approx(each) for each in ends]
    assert not spreads(axes_of[COUNTED][0], 0)


def test_quartiles_stand_beside_the_bars_of_phases(drawn: dict[str, Picture]) -> None:
    assert "10 ms (9.95 – 10.1)" in text_of(drawn["breakdown"])
    assert tables.between(Samples((2.48, 2.85))) == "2,572 – 2,758"


def test_one_round_has_no_spread_and_says_so() -> None:
    def once(costs: tuple[Cost, ...]) -> tuple[Cost, ...]:
        return tuple(dataclasses.replace(cost, seconds=cost.seconds[:1]) for cost in costs)

    whole = cell()
    single = dataclasses.replace(
        whole, costs=once(whole.costs), plain=once(whole.plain), rounds=(0.1,), training=(0.02,)
    )
    found = by_name(single)
    assert "Medians of 1 round; no spread is known" in text_of(found["overhead"])


# --- colours ----------------------------------------------------------------------------------------------------


def colors_in(picture: Picture) -> set[str]:
    return set(re.findall(r"#[0-9a-f]{6}\b", picture.svg))


def test_a_colour_is_a_backend_and_the_same_in_every_picture(drawn: dict[str, Picture]) -> None:
    others = {palette.color(name) for name in BACKENDS} - {palette.color("masking"), palette.color("bfv")}
    for name, picture in drawn.items():
        assert colors_in(picture) >= {palette.color("masking"), palette.color("bfv")}, name
        assert not colors_in(picture) & others, name


def test_a_backends_colour_does_not_depend_on_what_else_is_shown() -> None:
    for picture in by_name(cell("bfv"), cell("bfv", 5_000)).values():
        assert palette.color("bfv") in colors_in(picture)
        assert palette.color("masking") not in colors_in(picture)


def test_no_two_backends_look_alike_and_none_like_a_baseline() -> None:
    grounds = [
        tone(name) for name in BACKENDS for tone in (palette.color, lambda each: palette.light(palette.color(each)))
    ]
    assert len({*grounds, palette.INK, palette.OTHERS, palette.WARNING}) == len(grounds) + 3
    assert len({palette.marker(name) for name in BACKENDS}) == len(BACKENDS)


def test_a_backend_of_another_package_has_a_colour_of_its_own() -> None:
    assert palette.color("elsewhere") not in {palette.color(name) for name in BACKENDS}
    assert palette.color("elsewhere") in colors_in(by_name(cell("elsewhere"))["overhead"])


# --- local training ---------------------------------------------------------------------------------------------


def test_work_is_shown_beside_local_training_as_beside_bare_averaging(drawn: dict[str, Picture]) -> None:
    # 10 clients of 10 ms and an aggregator of 13 ms; training takes each client 20, 30, 10 ms in the three rounds.
    beside = cell().beside_training
    assert beside is not None
    assert beside.seconds == pytest.approx((113 / 200, 1.01 * 113 / 300, 0.99 * 113 / 100))
    assert cell().beside_plain.median == pytest.approx(113 / (10 * 0.1 + 0.2))
    said = text_of(drawn["overhead"])
    assert "× plain FedAvg, which only averages (log)" in said
    assert "× local training of the same model (log)" in said
    assert "94 ×" in said
    assert "0.56 ×" in said
    shown = tables.costs(CELLS)
    assert shown.columns[-2:] == ("work of all, × FedAvg", "work of all, × local training")
    assert shown.rows[0][-2:] == ("94", "0.56")


def test_results_without_local_training_are_shown_without_it() -> None:
    bare = cell(training=())
    found = by_name(bare)
    assert "local training" not in "".join(text_of(picture) for picture in found.values())
    assert tables.costs([bare]).rows[0][-2:] == ("94", "–")


# --- files ------------------------------------------------------------------------------------------------------


def test_every_picture_is_written_as_svg_and_as_png_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "rounds.json", report_of(*CELLS, load=QUIET))
    assert main(["report", str(tmp_path), "--markdown", str(tmp_path / "out" / "report.md")]) == 0
    vectors = sorted((tmp_path / "out").glob("*.svg"))
    assert len(vectors) == 6
    for vector in vectors:
        assert vector.read_text(encoding="utf-8").startswith("<svg")
        assert vector.with_suffix(".png").read_bytes().startswith(PNG)
