"""Pages, Markdown, the documents' table and comparisons, of results that are made up; and the command that runs all."""

from __future__ import annotations

import argparse
import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.measured import CELLS, HOSTILE, cell, report_of, timed, without_pictures

from benchmarks import everything, files
from benchmarks.__main__ import SUITES, main
from benchmarks.measure.cells import AGGREGATOR, CLIENT
from benchmarks.report import compare, markdown, plots, publish
from benchmarks.results import Report, Row, Target, machine
from benchmarks.suite import Suite, UsageError
from secure_agg.errors import ConfigError


def results(found: Path) -> Path:
    """Two suites' results in a folder."""
    files.write(found / "rounds.json", report_of(*CELLS))
    missed = Row(key="m", name="missed", unit="ms", median=2.0, targets=(Target("median", 1.0),))
    files.write(found / "core.json", report_of(suite="core", rows=(timed("fast", 1.0, peer=2.0), missed)))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return results(tmp_path / "results")


class Page(HTMLParser):
    """What a page refers to and what it is made of."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def values(self, name: str) -> list[str]:
        return [str(attrs[name]) for _, attrs in self.tags if name in attrs]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    whole = tmp_path_factory.mktemp("page")
    target = whole / "out" / "report.html"
    assert main(["report", str(results(whole / "results")), "--html", str(target)]) == 0
    return target.read_text(encoding="utf-8")


# --- the page ---------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_from_elsewhere_and_no_script(page: str) -> None:
    parsed = Page(page)
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "img", "iframe", "image", "object", "base"}
    references = [*parsed.values("href"), *parsed.values("src"), *parsed.values("xlink:href")]
    assert references
    assert all(reference.startswith("#") for reference in references)
    assert not re.findall(r"url\((?!#)|@import", page)


def test_what_was_measured_elsewhere_is_text_and_never_markup(page: str) -> None:
    assert HOSTILE not in page
    assert page.count("&lt;script src=&quot;http://evil.example/x.js&quot;&gt;") >= 3


def test_every_picture_is_described_and_every_reference_has_its_target(page: str) -> None:
    parsed = Page(page)
    pictures = [attrs for tag, attrs in parsed.tags if tag == "svg"]
    assert len(pictures) == 6
    for attrs in pictures:
        assert attrs["role"] == "img"
        assert len(str(attrs["aria-label"])) > 40
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    used = {value[1:] for value in (*parsed.values("href"), *parsed.values("xlink:href"))}
    assert used | set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)


def test_pictures_take_the_pages_colour_of_text(page: str) -> None:
    assert plots.INK not in page
    assert "currentColor" in page
    assert "color-scheme: light dark" in page


def test_a_missed_target_is_marked(page: str) -> None:
    assert '<strong class="bad">MISSED</strong>' in page


def test_the_same_results_give_the_same_page(page: str, folder: Path) -> None:
    again = folder.parent / "again.html"
    assert main(["report", str(folder), "--html", str(again)]) == 0
    assert again.read_text(encoding="utf-8") == page


@pytest.mark.long
def test_growth_is_drawn_only_where_an_axis_has_several_values() -> None:
    names = {picture.name for picture in plots.pictures(CELLS)}
    assert names == {"overhead", "breakdown", "verification", "traffic", "growth-params", "growth-clients"}
    assert {picture.name for picture in plots.pictures(CELLS[:4])} == names - {"growth-clients"}


# --- Markdown ---------------------------------------------------------------------------------------------------


def test_markdown_shows_its_pictures_and_escapes_what_it_quotes(folder: Path) -> None:
    target = folder.parent / "report.md"
    assert main(["report", str(folder), "--markdown", str(target)]) == 0
    text = target.read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(shown) == 6
    assert all((folder.parent / name).read_text().startswith("<svg") for name in shown)
    assert "<script" not in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 7
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


def test_a_documents_table_is_replaced_and_nothing_else(folder: Path) -> None:
    document = folder.parent / "document.md"
    document.write_text(f"before\n\n{markdown.BEGIN}\nold\n{markdown.END}\n\nafter\n", encoding="utf-8")
    for _ in range(2):
        assert main(["report", str(folder), "--table", str(document)]) == 0
        text = document.read_text(encoding="utf-8")
        assert text.startswith(
            f"before\n\n{markdown.BEGIN}\n\nOne verified round: 1,000 parameters, 10 clients, 16 bits"
        )
        assert text.endswith(f"{markdown.END}\n\nafter\n")
        assert "old" not in text
        assert "Abacus, 2 cores, Python 3.11.7, numpy 2.4, 2026-11-21" in text
        assert text.count("| masking |") == 1
        # 10 µs of a client at 1,000 parameters: 1 + 2 + 4 + 3; without commitment and check 5
        assert "| masking | 10 ms | 5 ms | 13 ms |" in text


@pytest.mark.parametrize("content", ["", markdown.BEGIN, f"{markdown.END}{markdown.BEGIN}", f"{markdown.BEGIN}" * 2])
def test_a_document_without_both_marks_is_left_alone(
    content: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = folder.parent / "document.md"
    document.write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(folder), "--table", str(document)])
    assert stopped.value.code == 2
    assert "once each" in capsys.readouterr().err
    assert document.read_text(encoding="utf-8") == content


def test_this_projects_performance_document_has_the_marks() -> None:
    text = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    assert text.count(markdown.BEGIN) == text.count(markdown.END) == 1


# --- comparing --------------------------------------------------------------------------------------------------


def changes(old: tuple[Row, ...], new: tuple[Row, ...], threshold: float = 1.25) -> compare.Comparison:
    return compare.compare([report_of(suite="core", rows=old)], [report_of(suite="core", rows=new)], threshold)


def test_a_regression_is_above_the_threshold_and_clear_of_the_old_quartiles() -> None:
    old = timed("a", 1.0, 1.1, 1.2), timed("b", 1.0, 1.1, 1.2), timed("c", 1.0, 1.5, 2.0), timed("d", 4.0, 4.1, 4.2)
    new = timed("a", 1.5, 1.6, 1.7), timed("b", 1.2, 1.3, 1.4), timed("c", 1.4, 2.0, 2.6), timed("d", 1.0, 1.1, 1.2)
    found = changes(old, new)
    assert [change.new.name for change in found.regressions] == ["core/a"]
    assert [change.new.name for change in found.gains] == ["core/d"]
    assert not changes(old, new, threshold=1.5).regressions


def test_a_slower_machine_is_no_regression_of_ours_but_is_told() -> None:
    keys = ("machine.add", "limit.copy", "phe.encrypt", "tenseal.add")
    found = changes(tuple(timed(key, 1.0) for key in keys), tuple(timed(key, 2.0) for key in keys))
    assert not found.regressions
    assert found.machine == pytest.approx(2.0)
    assert "2.00 ×" in found.summary


def test_other_options_are_not_compared() -> None:
    old = dataclasses.replace(report_of(suite="core", rows=(timed("a", 1.0),)), parameters={"repeat": 4})
    found = compare.compare([old], [report_of(suite="core", rows=(timed("a", 9.0),))])
    assert not found.changes
    assert found.skipped == ("core",)


def test_cells_are_compared_role_by_role_whatever_else_was_run() -> None:
    found = compare.compare([report_of(cell(), cell("bfv"))], [report_of(cell(slower=2.0), cell(params=5))])
    assert {change.new.name.removeprefix("rounds/masking.d1000.n10.q16.l0.") for change in found.regressions} == {
        CLIENT,
        AGGREGATOR,
    }
    assert len(found.changes) == 5  # memory and bytes besides


@pytest.mark.parametrize(("slower", "code"), [(1.0, 0), (1.2, 0), (1.3, publish.REGRESSION)])
def test_the_exit_code_says_whether_there_is_a_regression(
    slower: float, code: int, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not code:
        without_pictures(monkeypatch)
    old = folder.parent / "old.json"
    files.write(old, report_of(*CELLS))
    files.write(folder / "rounds.json", report_of(cell(slower=slower), *CELLS[1:]))
    page = folder.parent / "report.html"
    assert main(["report", str(folder), "--compare", str(old), "--html", str(page)]) == code
    shown = capsys.readouterr().out
    assert ("REGRESSION" in shown) == bool(code)
    assert ("REGRESSION" in page.read_text(encoding="utf-8")) == bool(code)


# --- files ------------------------------------------------------------------------------------------------------


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    missed = Row(key="m", name="missed", unit="ms", median=2.0, targets=(Target("median", 1.0),))
    whole = dataclasses.replace(report_of(*CELLS, rows=(missed, timed("a", 1.0, 2.0, peer=3.0))), arguments={"x": "1"})
    files.write(tmp_path / "deep" / "rounds.json", whole)
    assert files.read(tmp_path / "deep" / "rounds.json") == whole


def test_a_file_that_can_not_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rounds.json"
    files.write(file, report_of(CELLS[0]))

    def full(self: Report) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(Report, "to_json", full)
    with pytest.raises(ConfigError, match=r"rounds\.json can't be written: disk full"):
        files.write(file, report_of())
    assert files.read(file) == report_of(CELLS[0])
    assert [path.name for path in tmp_path.iterdir()] == ["rounds.json"]


@pytest.mark.parametrize(
    ("content", "said"), [(None, "holds no results"), ("{}", "no report"), ("twice", "second report")]
)
def test_what_holds_no_results_is_a_usage_error(
    content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content == "twice":
        for name in "ab":
            files.write(tmp_path / f"{name}.json", report_of(CELLS[0]))
    elif content:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(tmp_path), "--html", str(tmp_path / "x.html")])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_threshold_below_one_is_a_usage_error(folder: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(folder), "--threshold", "1"])
    assert stopped.value.code == 2


# --- all --------------------------------------------------------------------------------------------------------


def fake(name: str, ran: list[str], *, fails: bool = False) -> Suite:
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--size", type=int, default=9)

    def run(arguments: argparse.Namespace) -> Report:
        ran.append(f"{name} {arguments.size}")
        if fails:
            raise UsageError("it is not installed")
        return Report(name, machine(), {}, (timed("a", 1.0),))

    return Suite(name, add, run, quick=("--size", "1"))


def run_all(folder: Path, suites: dict[str, Suite], *, quick: bool = False) -> None:
    everything.run_all(suites, argparse.Namespace(out=folder, quick=quick))


def test_all_runs_every_suite_once_and_again_only_with_other_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.results._source", lambda: "here")
    ran: list[str] = []
    suites = {name: fake(name, ran) for name in ("one", "two")}
    run_all(tmp_path, suites)
    run_all(tmp_path, suites)
    assert ran == ["one 9", "two 9"]
    run_all(tmp_path, suites, quick=True)
    assert ran[2:] == ["one 1", "two 1"]
    (tmp_path / "two.json").write_text("cut o")
    run_all(tmp_path, suites, quick=True)
    assert ran[4:] == ["two 1"]
    monkeypatch.setattr("benchmarks.results._source", lambda: "changed")
    run_all(tmp_path, suites, quick=True)
    assert ran[5:] == ["one 1", "two 1"]


def test_a_suite_that_can_not_run_here_is_missing_and_the_others_go_on(tmp_path: Path) -> None:
    ran: list[str] = []
    suites = {"one": fake("one", ran, fails=True), "two": fake("two", ran)}
    run_all(tmp_path, suites)
    assert ran == ["one 9", "two 9"]
    assert files.read(tmp_path / "one.json").missing == {"one": "it is not installed"}
    run_all(tmp_path, {"one": fake("one", ran)})
    assert ran[-1] == "one 9"


def test_every_suite_has_a_quick_form_that_its_own_parser_takes() -> None:
    for name, suite in SUITES.items():
        parser = argparse.ArgumentParser()
        suite.add_arguments(parser)
        assert suite.quick, name
        given: Any = parser.parse_args(suite.quick)
        assert vars(given) != vars(parser.parse_args([])), name
