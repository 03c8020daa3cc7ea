"""``secure-agg plan`` says the same to people and to machines, and refuses what makes no sense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from secure_agg.cli import main
from secure_agg.cli.terminal import exits
from secure_agg.planning.coefficients import Coefficients, shipped

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


def test_coefficients_of_another_machine_are_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "slow.json"
    shipped().scaled(10.0, "a slow machine", "today").save(file)
    slow = Outcome(capsys, *SMALL, "--coefficients", file, "--json").document
    usual = Outcome(capsys, *SMALL, "--json").document
    assert slow["machine"] == "a slow machine"
    assert slow["prediction"]["seconds"] > usual["prediction"]["seconds"]


def test_a_plan_says_where_when_and_under_what_load_it_was_measured_and_how_far_off_it_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    document, said = Outcome(capsys, *SMALL, "--json").document, Outcome(capsys, *SMALL).out
    assert (document["machine"], document["load"]) == (shipped().machine, shipped().load)
    assert set(document["prediction"]["errors"]) == {"seconds", "bytes", "memory"}
    assert shipped().date in said
    assert "those that were left out" in " ".join(said.split())


@pytest.mark.parametrize(
    "options",
    [
        ("--backend", "magic"),
        ("--dropout", "0.9", "--backend", "masking"),
        ("--bits", "30", "--backend", "masking"),
        ("--up-mbit", "0"),
        ("--coefficients", "nowhere.json"),
        ("--servers", "0"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(capsys: pytest.CaptureFixture[str], options: tuple[str, ...]) -> None:
    assert Outcome(capsys, *SMALL, *options).code == exits.USAGE


def test_a_machine_is_calibrated_by_one_factor_and_the_file_is_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "here.json"
    document = Outcome(capsys, *SMALL, "--calibrate", file, "--json").document
    kept = Coefficients.load_file(file)
    assert document["machine"] == kept.machine
    assert "scaled by" in kept.load
    factors = {
        kept.backends[name].terms[place].per[amount] / each
        for name, fitted in shipped().backends.items()
        for place, term in enumerate(fitted.terms)
        if term.figure == "seconds"
        for amount, each in term.per.items()
    }
    assert max(factors) == pytest.approx(min(factors))
    assert min(factors) > 0


def test_a_norm_bound_is_proposed_with_its_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    earlier = ("--squared-norm", 4, "--squared-norm", 9, "--squared-norm", 1e9, "--previous-bound", 5)
    found = Outcome(capsys, *SMALL, *earlier, "--json").document["norm_bound"]
    assert (found["bound"], found["typical"], found["rounds"], found["highest"]) == (5.0, 3.0, 3, 5.0)
    said = Outcome(capsys, *SMALL, *earlier)
    assert said.code == exits.OK
    words = " ".join(said.out.split())
    assert "proposed norm bound: 5" in words
    for reason in found["reasons"]:
        assert reason in words


def test_a_previous_bound_alone_proposes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    refused = Outcome(capsys, *SMALL, "--previous-bound", 5)
    assert refused.code == exits.USAGE
    assert "--squared-norm" in refused.err


def test_privacy_says_what_is_spent_now_and_at_the_end_and_where_training_is_useless(
    capsys: pytest.CaptureFixture[str],
) -> None:
    budget = ("--privacy-epsilon", 4, "--privacy-delta", 1e-5, "--privacy-norm", 1, "--privacy-rounds", 100)
    words = ("plan", "--parameters", 65_536, "--clients", 100, *budget, "--min-clients", 90, "--privacy-done", 30)
    found = Outcome(capsys, *words, "--json").document["privacy"]
    assert 0 < found["epsilon_now"] < found["epsilon_next"] < found["epsilon_end"] <= 4
    assert (found["use"], round(found["noise_length"]), found["rounds"], found["done"]) == ("useless", 39, 100, 30)
    said = " ".join(Outcome(capsys, *words).out.split())
    assert "privacy: useless" in said
    assert "Training is useless: it is noise that moves the model" in said
    assert "privacy" not in Outcome(capsys, *SMALL, "--json").document
    refused = Outcome(capsys, *SMALL, "--privacy-done", 3)
    assert refused.code == exits.USAGE
