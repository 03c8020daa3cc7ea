"""How busy the machine was is measured beside everything else, kept with it, and said where it was too much."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.measured import CELLS, LOADED, QUIET, cell, report_of, timed, without_pictures

from benchmarks import everything, files, load
from benchmarks.__main__ import main
from benchmarks.load import Load, Watch, together
from benchmarks.report import markdown
from benchmarks.results import Report, machine
from benchmarks.rounds import suite as rounds
from benchmarks.suite import Suite


def loads(monkeypatch: pytest.MonkeyPatch, *averages: float) -> None:
    """What the system says, one after the other; the last from then on."""
    left = list(averages)
    monkeypatch.setattr(os, "getloadavg", lambda: (left.pop(0) if len(left) > 1 else left[0], 9.0, 9.0), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def test_a_watch_keeps_what_was_before_and_the_highest(monkeypatch: pytest.MonkeyPatch) -> None:
    loads(monkeypatch, 0.5, 3.0)
    with Watch() as watch:
        assert watch.load == Load(0.5, 0.5, 2)
    assert watch.load == Load(0.5, 3.0, 2)
    loads(monkeypatch, 3.0, 0.5)
    with Watch() as watch:
        pass
    assert watch.load == Load(3.0, 3.0, 2)


def test_a_watch_looks_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    loads(monkeypatch, 0.5, 4.0, 1.0)
    monkeypatch.setattr(load, "_EVERY_S", 0.0)
    with Watch() as watch:
        while watch.load == Load(0.5, 0.5, 2):
            pass
    assert watch.load == Load(0.5, 4.0, 2)


def test_a_watch_ends_with_what_it_watches() -> None:
    with pytest.raises(KeyError), Watch() as watch:
        raise KeyError
    assert not watch._thread.is_alive()


def test_a_system_without_load_averages_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg")
    with Watch() as watch:
        assert watch.load is None
    assert watch.load is None
    assert together([None]) is None


@pytest.mark.parametrize(("most", "cores", "said"), [(2.0, 2, False), (2.1, 2, True), (1.5, 1, True), (1.5, 16, False)])
def test_more_than_one_for_each_core_is_too_much(most: float, cores: int, said: bool) -> None:
    found = Load(0.1, most, cores)
    assert found.too_high == said
    assert bool(found.warning) == said
    if said:
        assert f"{most} on {cores} core" in found.warning


def test_the_worst_of_several_counts() -> None:
    assert together([None, QUIET, LOADED, Load(9.0, 1.0, 2)]) == Load(QUIET.before, LOADED.most, 2)


# --- where it is said -------------------------------------------------------------------------------------------


def fake(during: Callable[[], object] = lambda: None) -> Suite:
    def run(arguments: argparse.Namespace) -> Report:
        during()
        return Report("fake", machine(), {}, (timed("a", 1.0),))

    return Suite("fake", lambda parser: None, run)


def test_every_suite_is_watched_and_a_busy_machine_is_told_before_and_after(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loads(monkeypatch, 5.0, 6.0)
    told: list[str] = []
    report = everything.measured(fake(lambda: told.append(capsys.readouterr().err)), argparse.Namespace())
    assert "WARNING a load of 5.0 on 2 cores" in " ".join(told[0].split())
    assert report.load == Load(5.0, 6.0, 2)
    report.print()
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{report.loads}" in shown
    assert "WARNING suite fake: a load of" in shown


def test_a_quiet_machine_is_not_warned_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loads(monkeypatch, 0.5, 1.5)
    report = everything.measured(fake(), argparse.Namespace())
    quiet = report_of(cell(), load=report.load)
    quiet.print()
    assert not quiet.warning
    assert "WARNING" not in "".join(capsys.readouterr())


def test_the_load_is_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rounds.json"
    files.write(file, report_of(cell(load=LOADED), load=QUIET))
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["load"] == {"before": 0.2, "most": 2.0, "cores": 2}
    assert kept["cells"][0]["load"] == {"before": 0.4, "most": 2.1, "cores": 2}
    assert files.read(file).load == QUIET
    assert files.read(file).cells[0].load == LOADED


@pytest.mark.parametrize("where", ["suite", "cell", "stamp"])
def test_pages_markdown_and_readme_warn_wherever_the_load_was_seen(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = report_of(cell(load=LOADED if where == "cell" else QUIET), load=LOADED if where == "suite" else QUIET)
    if where == "stamp":
        report = Report("rounds", {**report.machine, "load": 2.1}, {}, (), cells=report.cells)
    files.write(tmp_path / "rounds.json", report)
    files.write(tmp_path / "core.json", report_of(suite="core", rows=(timed("a", 1.0),), load=QUIET))
    readme = tmp_path / "README.md"
    readme.write_text(f"{markdown.BEGIN}\n{markdown.END}\n", encoding="utf-8")
    written = [tmp_path / "out" / "page.html", tmp_path / "out" / "page.md", readme]
    options = ["--html", str(written[0]), "--markdown", str(written[1]), "--readme", str(readme)]
    assert main(["report", str(tmp_path), *options]) == 0
    for file in written:
        text = file.read_text(encoding="utf-8")
        assert "suite rounds: a load of 2.1 on 2 cores is above 1 for each" in text, file
        assert "suite core: a load" not in text, file
        assert "medians of 3 rounds" in text.lower(), file
    assert "WARNING: suite rounds: a load of 2.1" in capsys.readouterr().err


def test_a_quiet_report_says_its_load_and_warns_of_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pictures(monkeypatch)
    files.write(tmp_path / "rounds.json", report_of(*CELLS, load=QUIET))
    page = tmp_path / "out" / "page.html"
    assert main(["report", str(tmp_path), "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "WARNING" not in text + capsys.readouterr().err
    assert "rounds: load 0.2 before, at most 2.0, on 2 cores" in text


def test_a_comparison_tells_that_the_earlier_run_was_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files.write(tmp_path / "old" / "rounds.json", report_of(cell(load=LOADED)))
    files.write(tmp_path / "new" / "rounds.json", report_of(cell()))
    assert main(["report", str(tmp_path / "new"), "--compare", str(tmp_path / "old")]) == 0
    assert "WARNING: the earlier run, suite rounds: a load of 2.1" in capsys.readouterr().err


def test_a_cell_is_watched_while_it_runs_and_its_line_tells_a_load() -> None:
    assert "load 0.4 before, at most 2.1, on 2 cores" in rounds._line(cell().setting, cell(load=LOADED), {})
    assert "load" not in rounds._line(cell().setting, cell(), {})
