"""``secure-agg plan`` says the same to people and to machines, and refuses what makes no sense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from secure_agg.cli import exits, main
from secure_agg.planning import calibration
from secure_agg.planning.constants import DEFAULT, Constants
from secure_agg.planning.work import Operation

SMALL = ("plan", "--parameters", "100000", "--clients", "20")


class Outcome:
    """What a command left behind."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        self.code = exit_.value.code
        self.out, self.err = capsys.readouterr()

    @property
    def document(self) -> Any:
        """The JSON on stdout."""
        return json.loads(self.out)


def test_people_and_machines_are_told_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    said, found = Outcome(capsys, *SMALL), Outcome(capsys, *SMALL, "--json")
    assert said.code == found.code == exits.OK
    document = found.document
    assert document["recommended"]["backend"] == "masking"
    assert "recommended: masking" in said.out
    for share in document["prediction"]["shares"]:
        assert share["phase"] in said.out
        assert share["role"] in said.out
    assert set(document["prediction"]["memory"]) == {"client", "aggregator"}


def test_a_backend_that_is_asked_for_is_planned_whatever_is_advised(capsys: pytest.CaptureFixture[str]) -> None:
    document = Outcome(capsys, *SMALL, "--backend", "additive", "--servers", 3, "--json").document
    assert document["prediction"]["backend"] == "additive"
    assert {share["role"] for share in document["prediction"]["shares"]} == {"client", "aggregator", "shareholder"}


def test_where_nothing_fits_it_is_said_and_nothing_is_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    found = Outcome(capsys, *SMALL, "--post-quantum", "--json").document
    assert found["recommended"]["backend"] is None
    assert "prediction" not in found
    assert "recommended: none" in Outcome(capsys, *SMALL, "--post-quantum").out


def test_constants_of_another_machine_are_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "slow.json"
    Constants("a slow machine", 1, {name: 10 * each for name, each in DEFAULT.seconds.items()}).save(file)
    slow = Outcome(capsys, *SMALL, "--constants", file, "--json").document
    usual = Outcome(capsys, *SMALL, "--json").document
    assert slow["machine"] == "a slow machine"
    assert slow["prediction"]["seconds"] > usual["prediction"]["seconds"]


@pytest.mark.parametrize(
    "options",
    [
        ("--backend", "magic"),
        ("--dropout", "0.9", "--backend", "masking"),
        ("--bits", "30", "--backend", "masking"),
        ("--up-mbit", "0"),
        ("--constants", "nowhere.json"),
        ("--servers", "0"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(capsys: pytest.CaptureFixture[str], options: tuple[str, ...]) -> None:
    assert Outcome(capsys, *SMALL, *options).code == exits.USAGE


def test_calibration_measures_every_operation_and_keeps_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "here.json"
    document = Outcome(capsys, *SMALL, "--calibrate", file, "--json").document
    kept = Constants.load(file)
    assert document["machine"] == kept.machine
    assert set(kept.seconds) == set(Operation)
    free = {name for name, each in kept.seconds.items() if each == 0}
    assert free <= calibration.DIFFERENCES
