"""The demo end to end: secure training is as good as plain, leaves a ledger that audits, and a cheat is caught."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from secure_agg import Evidence, Ledger, VerificationError, verify
from secure_agg.cli import experiment, main

pytest.importorskip("torch")
pytest.importorskip("sklearn")
image = pytest.importorskip("matplotlib.image")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as exit_:
        main(["demo", *(str(argument) for argument in arguments)])
    code = exit_.value.code
    assert isinstance(code, int)
    return code, capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code, out = run(capsys, *arguments, "--json")
    return code, json.loads(out)


@pytest.mark.parametrize(
    ("dataset", "backend", "clients"),
    [("breast-cancer", "masking", 5), ("digits", "masking", 10), ("digits", "plain", 10)],
)
def test_secure_training_is_as_good_as_plain(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: str, backend: str, clients: int
) -> None:
    options = ("--dataset", dataset, "--backend", backend, "--rounds", 3, "--output", tmp_path / "out")
    code, found = document(capsys, *options)
    assert code == 0
    assert len(found["clients"]) == clients
    accuracy = found["accuracy"]
    assert all(len(curve) == 4 for curve in accuracy.values())
    assert accuracy["secure"] == pytest.approx(accuracy["plain"], abs=0.02)
    assert accuracy["secure"][-1] > 0.6
    assert found["largest_update"] <= found["clip"], "clipped values would not be compared with their like"
    assert all(item["max_difference"] <= item["error_bound"] for item in found["differences"])

    with Ledger(found["ledger"], read_only=True) as ledger:
        report = ledger.audit()
        assert dict(report.tasks) == {dataset: 3}
        lost = {loss["round"]: loss for loss in found["losses"]}
        assert lost
        for number, record in enumerate(ledger.records()):
            missing = number in lost and not lost[number]["in_average"]
            assert record.participants == clients - missing
    pixels = image.imread(found["chart"])
    assert pixels.shape == (720, 1800, 4)
    assert pixels[..., :3].std() > 0.01, "the picture is blank"


def test_people_get_tables_and_the_next_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out = run(capsys, "--rounds", 1, "--output", tmp_path)
    assert code == 0
    for words in ("secure FedAvg", "centralised", "within the bound", "masked-input", "sent per client"):
        assert words in out
    assert f"secure-agg ledger audit {tmp_path / 'breast-cancer-1' / 'rounds.db'}" in out


def test_an_earlier_run_stays_as_it_was(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine = tmp_path / "breast-cancer-1"
    mine.mkdir()
    (mine / "rounds.db").write_text("somebody's own file")
    code, found = document(capsys, "--rounds", 1, "--output", tmp_path)
    assert (code, Path(found["folder"]).name) == (0, "breast-cancer-2")
    assert (mine / "rounds.db").read_text() == "somebody's own file"


def test_the_seed_settles_everything_but_time(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (_, first), (_, again), (_, other) = (
        document(capsys, "--rounds", 2, "--seed", seed, "--output", tmp_path) for seed in (1, 1, 2)
    )
    assert first["accuracy"] == again["accuracy"]
    assert first["losses"] == again["losses"]
    assert first["differences"] == again["differences"]
    assert first["accuracy"] != other["accuracy"]


@pytest.mark.parametrize("rounds", [1, 2, 3, 10, 25])
def test_clients_are_lost_at_every_phase_in_turn(rounds: int) -> None:
    losses = experiment.plan_losses(("a", "b", "c"), rounds, seed=7)
    assert losses
    assert all(0 <= number < rounds for number in losses)
    assert losses == experiment.plan_losses(("a", "b", "c"), rounds, seed=7)
    if rounds >= 10:
        assert {loss.phase for loss in losses.values()} == set(experiment.FALLS_SILENT)


@pytest.mark.parametrize("dataset", ["breast-cancer", "digits"])
def test_a_tampering_aggregator_is_caught_by_everybody(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: str
) -> None:
    code, found = document(capsys, "--tamper", "--dataset", dataset, "--output", tmp_path)
    assert (code, found["caught"]) == (1, True)
    parties = [verdict["party"] for verdict in found["verdicts"]]
    assert parties[-2:] == ["ledger", "auditor"]
    assert len(parties) == {"breast-cancer": 5, "digits": 10}[dataset] + 2
    assert {verdict["type"] for verdict in found["verdicts"]} == {"VerificationError"}

    with Ledger(found["ledger"], read_only=True) as ledger:
        assert ledger.audit().size == found["ledger_rounds"] == 2
        trust = ledger.trust
    with pytest.raises(VerificationError):
        verify(Evidence.from_bytes(Path(found["evidence"]).read_bytes()), trust)


def test_tampering_with_the_plain_backend_is_caught_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out = run(capsys, "--tamper", "--backend", "plain", "--rounds", 2, "--output", tmp_path)
    assert code == 1
    assert "caught by everybody" in out
    assert "ACCEPTED" not in out
