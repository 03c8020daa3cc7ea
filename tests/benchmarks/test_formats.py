"""Files of results are read, the first format's too, or refused in words that say what to do. None is lost."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from support.measured import CELLS, QUIET, cell, report_of, timed

from benchmarks import everything, files, results
from benchmarks.__main__ import main
from benchmarks.measure.cells import Cell, Setting
from benchmarks.results import FIRST_FORMAT, FORMAT, FormatError, Report, machine
from benchmarks.rounds import cell_process, limits_pinned
from benchmarks.suite import Suite, UsageError

LATER = "secure-agg-benchmark/3"


def document(found: Report) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(found.to_json())
    return loaded


def first_format(found: Report) -> dict[str, Any]:
    """As the first version has written it: without format, loads and local training."""
    old = document(found)
    del old["format"], old["load"]
    for each in old["cells"]:
        del each["load"], each["training"]
    return old


def put(file: Path, content: dict[str, Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_a_file_names_its_format() -> None:
    assert document(report_of(*CELLS))["format"] == FORMAT == "secure-agg-benchmark/2"


def test_a_file_of_the_first_format_is_read(tmp_path: Path) -> None:
    found = files.read(put(tmp_path / "rounds.json", first_format(report_of(*CELLS, load=QUIET))))
    assert found.format == FIRST_FORMAT
    assert found.load is None
    assert [(each.load, each.training) for each in found.cells] == [(None, ())] * len(CELLS)
    bare = tuple(dataclasses.replace(each, load=None, training=()) for each in CELLS)
    assert found == dataclasses.replace(report_of(*bare), format=FIRST_FORMAT)


def test_a_file_of_the_first_format_is_compared_and_reported(tmp_path: Path) -> None:
    old = put(tmp_path / "old.json", first_format(report_of(*CELLS)))
    new = tmp_path / "rounds.json"
    files.write(new, report_of(cell(slower=2.0), *CELLS[1:]))
    assert main(["report", str(new), "--compare", str(old)]) == 1
    page = tmp_path / "page.html"
    assert main(["report", str(old), "--html", str(page)]) == 0
    assert "load not known" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("named", [LATER, "secure-agg-trust/2", "", "x" * 10_000])
def test_a_file_of_another_format_is_refused_by_both_names(named: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as refused:
        Report.from_json(json.dumps(document(report_of(*CELLS)) | {"format": named}))
    assert repr(named)[:60] in str(refused.value)
    assert FORMAT in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("option", ["results", "--compare"])
def test_the_command_refuses_it_with_the_files_name(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good" / "a.json", put(tmp_path / "bad" / "b.json", {"suite": "core", "format": LATER})
    files.write(good, report_of(*CELLS))
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(bad)] if option == "results" else ["report", str(good), "--compare", str(bad)])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert str(bad) in said
    assert LATER in said


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b'{"suite": 1}', b"\xff\xfe", b'{"suite": "core"}', b"[" * 9999]
)
def test_what_is_no_report_is_no_report(content: bytes) -> None:
    with pytest.raises(ValueError, match="no report of a benchmark") as refused:
        Report.from_json(content)
    assert not isinstance(refused.value, FormatError)


@pytest.mark.parametrize("part", ["rounds", "training", "costs", "plain"])
def test_a_cell_whose_parts_were_not_all_measured_is_refused(part: str) -> None:
    broken = document(report_of(cell()))
    seconds = broken["cells"][0][part]
    if part in ("costs", "plain"):
        seconds[0]["seconds"] = []
    else:
        seconds.pop()
    with pytest.raises(ValueError, match="samples"):
        Report.from_json(json.dumps(broken))


# --- nothing is lost ------------------------------------------------------------------------------------------


def suite(ran: list[str]) -> Suite:
    def run(arguments: argparse.Namespace) -> Report:
        ran.append("ran")
        return Report("one", machine(), {}, (timed("a", 1.0),))

    return Suite("one", lambda parser: None, run)


def test_all_does_not_write_over_what_another_version_has_measured(tmp_path: Path) -> None:
    file = put(tmp_path / "one.json", {"suite": "one", "format": LATER})
    kept, ran = file.read_bytes(), list[str]()
    with pytest.raises(UsageError, match="another folder"):
        everything.run_all({"one": suite(ran)}, argparse.Namespace(out=tmp_path, quick=False))
    assert not ran
    assert file.read_bytes() == kept


def test_all_measures_anew_what_is_of_the_first_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_source", lambda: "here")
    ran = list[str]()
    for _ in range(2):
        everything.run_all({"one": suite(ran)}, argparse.Namespace(out=tmp_path, quick=False))
    assert ran == ["ran"]
    put(tmp_path / "one.json", first_format(files.read(tmp_path / "one.json")))
    everything.run_all({"one": suite(ran)}, argparse.Namespace(out=tmp_path, quick=False))
    assert ran == ["ran"] * 2
    assert files.read(tmp_path / "one.json").format == FORMAT


COMMAND = ["rounds", "--backends", "masking", "--params", "1000", "--clients", "10", "--bits", "16", "--lost", "0"]
COMMAND += ["--no-norms"]


def test_a_matrix_of_another_format_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = put(tmp_path / "rounds.json", {"suite": "rounds", "format": LATER})
    with pytest.raises(SystemExit):
        main([*COMMAND, "--json", str(file)])
    assert LATER in capsys.readouterr().err
    assert json.loads(file.read_text()) == {"suite": "rounds", "format": LATER}


def test_a_matrix_of_the_first_format_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells have no local training, whatever source they are of."""
    asked: list[Setting] = []

    def measure(setting: Setting, repeat: int) -> Cell:
        asked.append(setting)
        return cell()

    monkeypatch.setattr(results, "_source", lambda: "here")
    monkeypatch.setattr(cell_process, "measure", measure)
    monkeypatch.setattr(limits_pinned, "rows", lambda core, quick: [])
    file = tmp_path / "rounds.json"
    assert main([*COMMAND, "--json", str(file)]) == 0
    assert main([*COMMAND, "--json", str(file)]) == 0
    assert len(asked) == 1
    put(file, first_format(files.read(file)))
    assert main([*COMMAND, "--json", str(file)]) == 0
    assert len(asked) == 2
    assert files.read(file).format == FORMAT
