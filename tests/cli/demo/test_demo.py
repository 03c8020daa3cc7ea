"""The demo end to end: secure training is as good as plain, leaves a ledger that audits, and a cheat is caught."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secure_agg import Evidence, Ledger, VerificationError, verify
from secure_agg.cli import main
from secure_agg.cli.demo import experiment
from secure_agg.fl import datasets

pytest.importorskip("torch")
pytest.importorskip("sklearn")
CLIENTS = ("a", "b", "c")
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
    ("dataset", "backend", "rounds"),
    [
        ("breast-cancer", "masking", 3),
        ("digits", "masking", 3),
        ("digits", "plain", 3),
        *(("breast-cancer", backend, 2) for backend in ("bfv", "ckks")),
        pytest.param("breast-cancer", "paillier", 2, marks=pytest.mark.long),
        *(pytest.param("digits", backend, 2, marks=pytest.mark.long) for backend in ("bfv", "ckks", "paillier")),
    ],
)
def test_secure_training_is_as_good_as_plain(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: str, backend: str, rounds: int
) -> None:
    clients = {"breast-cancer": 5, "digits": 10}[dataset]
    options = ("--dataset", dataset, "--backend", backend, "--rounds", rounds, "--output", tmp_path / "out")
    code, found = document(capsys, *options)
    assert code == 0
    assert len(found["clients"]) == clients
    accuracy = found["accuracy"]
    assert all(len(curve) == rounds + 1 for curve in accuracy.values())
    assert accuracy["secure"] == pytest.approx(accuracy["plain"], abs=0.02)
    assert accuracy["secure"][-1] > 0.6
    assert found["largest_update"] <= found["clip"], "clipped values would not be compared with their like"
    assert all(item["max_difference"] <= item["error_bound"] for item in found["differences"])

    with Ledger(found["ledger"], read_only=True) as ledger:
        report = ledger.audit()
        assert dict(report.tasks) == {dataset: rounds}
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
    # Rounding is drawn from each client's own randomness, never from a seed: the difference varies below its bound.
    bounds, bounds_again = ([found["error_bound"] for found in run["differences"]] for run in (first, again))
    assert bounds == bounds_again
    for found in (*first["differences"], *again["differences"]):
        assert found["max_difference"] <= found["error_bound"]
    assert first["accuracy"] != other["accuracy"]


@pytest.mark.parametrize(
    ("backend", "asked"),
    [
        ("masking", ("advertise", "share-keys", "masked-input", "consistency", "unmask")),
        ("paillier", ("advertise", "consistency", "masked-input")),
    ],
)
@pytest.mark.parametrize("rounds", [1, 2, 3, 10, 25])
def test_clients_are_lost_at_every_phase_in_turn(rounds: int, backend: str, asked: tuple[str, ...]) -> None:
    phases = experiment.phases_of(backend, CLIENTS)
    losses = experiment.plan_losses(CLIENTS, phases, rounds, seed=7)
    assert losses
    assert all(0 <= number < rounds for number in losses)
    assert losses == experiment.plan_losses(CLIENTS, phases, rounds, seed=7)
    if rounds >= 10:
        assert {loss.phase for loss in losses.values()} == set(asked)


@pytest.mark.parametrize(
    ("backend", "phase", "in_average"),
    [
        ("masking", "masked-input", False),
        ("masking", "consistency", True),
        ("bfv", "consistency", False),
        ("bfv", "masked-input", False),
    ],
)
def test_plain_training_loses_the_clients_that_the_backend_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, phase: str, in_average: bool
) -> None:
    federation = datasets.load("breast-cancer", 7)
    client = next(iter(federation.clients))
    monkeypatch.setattr(experiment, "plan_losses", lambda *_: {0: experiment.Loss(client, phase)})
    training = experiment.training_for("breast-cancer", 1, 7)
    found = experiment.run(federation, training, backend, tmp_path / "rounds.db")
    assert found.in_average(0) is in_average
    assert (client in found.rounds[0].participants) is in_average
    for ours, theirs in zip(found.secure.model, found.plain.model, strict=True):
        assert np.abs(ours - theirs).max() <= found.rounds[0].bound + 1e-6


def test_encryption_is_called_by_its_name_and_the_key_holders_time_is_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, masked = run(capsys, "--rounds", 1, "--output", tmp_path)
    _, encrypted = run(capsys, "--rounds", 1, "--backend", "bfv", "--output", tmp_path)
    for words in ("encrypted-input", "decrypt", "key holder"):
        assert words in encrypted
        assert words not in masked
    assert "masked-input" not in encrypted
    assert "share-keys" not in encrypted


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


@pytest.mark.parametrize("backend", ["plain", "bfv", "ckks", "paillier"])
def test_tampering_is_caught_with_every_backend(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, backend: str
) -> None:
    code, out = run(capsys, "--tamper", "--backend", backend, "--rounds", 2, "--output", tmp_path)
    assert code == 1
    assert "caught by everybody" in out
    assert "ACCEPTED" not in out


@pytest.mark.slow
def test_rounds_are_worked_on_by_other_processes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ("--backend", "plain", "--rounds", 1, "--executor", "processes:2", "--output", tmp_path / "out")
    code, found = document(capsys, *options)
    assert code == 0
    assert all(item["max_difference"] <= item["error_bound"] for item in found["differences"])
