"""Poison wrecks plain averaging and not what CrypTen's parties compute; the demonstration says what that rests on."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secure_agg import Ledger, extras
from secure_agg.cli import main
from secure_agg.cli.demo import poison
from secure_agg.cli.demo.experiment import CLIP, training_for
from secure_agg.cli.terminal import exits
from secure_agg.fl import datasets

pytest.importorskip("torch")
pytest.importorskip("sklearn")
image = pytest.importorskip("matplotlib.image")
crypten = pytest.mark.skipif(importlib.util.find_spec("crypten") is None, reason="CrypTen is not installed")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--poison", "--backend", "crypten", *(str(argument) for argument in arguments)])
    assert isinstance(exit_.value.code, int)
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


@crypten
@pytest.mark.parametrize(
    ("dataset", "rounds", "floor"), [pytest.param("breast-cancer", 3, 0.85, marks=pytest.mark.long), ("digits", 2, 0.7)]
)
def test_poison_wrecks_the_plain_mean_and_nothing_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: str, rounds: int, floor: float
) -> None:
    code, out, _ = run(capsys, "--dataset", dataset, "--rounds", rounds, "--output", tmp_path / "out", "--json")
    assert code == 0
    found: Any = json.loads(out)
    last = {name: curve[-1] for name, curve in found["accuracy"].items()}
    assert set(last) == set(poison.TITLES)
    assert all(len(curve) == rounds + 1 for curve in found["accuracy"].values())
    assert last["plain"] < 0.5
    for name in ("honest", "norm-bound", "trimmed-mean", "median"):
        assert last[name] > floor, name
    assert last["norm-bound-hidden"] < last["norm-bound"], "an attacker within the bound is not kept out"

    everybody = set(found["clients"])
    for name, claim in (
        ("norm-bound", "sum"),
        ("trimmed-mean", "attested"),
        ("median", "attested"),
        ("norm-bound-hidden", "sum"),
    ):
        for item in found["secure"][name]:
            refused = [found["attacker"]] if name == "norm-bound" else []
            assert item["rejected"] == refused, name
            assert set(item["participants"]) == everybody - set(refused)
            assert item["claim"] == claim
            assert 0 < item["difference"] <= item["error_bound"]
            assert item["scaled"] == [], "honest updates are well within the bound"
            assert item["largest"] < found["norm_bound"]
            assert (item["poison"] > found["norm_bound"]) == (name != "norm-bound-hidden")

    with Ledger(found["ledger"], read_only=True) as ledger:
        audited = ledger.audit()
        assert (audited.verified, audited.attested) == (2 * rounds, 2 * rounds)
        assert (found["ledger_verified"], found["ledger_attested"]) == (2 * rounds, 2 * rounds)
        assert dict(audited.tasks) == dict.fromkeys(poison.SECURE, rounds) == found["ledger_tasks"]
        for record in ledger.records():
            assert record.claim == found["secure"][record.task][record.round]["claim"]
    pixels = image.imread(found["chart"])
    assert pixels.shape == (720, 1800, 4)
    assert pixels[..., :3].std() > 0.01, "the picture is blank"


@crypten
def test_people_read_who_was_refused_and_what_it_rests_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "--rounds", 1, "--output", tmp_path)
    assert code == 0
    words = " ".join(out.split())
    for said in (
        *poison.TITLES.values(),
        "hospital-e sends its update backwards and 20 times as large",
        "1.5 times the largest norm",
        "scale such an update down to the bound before they send it: in this run never",
        "attested",
        "accepts all 4 records: 2 are verified as sums, 2 are attested and no more",
        "protects nobody from its owner",
        f"secure-agg ledger audit {tmp_path / 'breast-cancer-1' / 'rounds.db'}",
    ):
        assert said in words, said


def tight_round(folder: Path) -> tuple[str, poison.PoisonedRound]:
    """A round with a norm bound that a few honest updates are above; and who poisons."""
    trainings = poison.Trainings(datasets.load("digits", 7), training_for("digits", 1, 7), folder / "rounds.db", None)
    _, (largest,) = trainings.honest()
    trainings.bound = round(0.95 * largest, 3)
    _, (found,) = trainings.secure(poison.NORM)
    return trainings.attacker, found


@crypten
def test_an_honest_client_above_the_bound_gives_way_and_is_accepted(tmp_path: Path) -> None:
    attacker, found = tight_round(tmp_path)
    assert found.scaled
    assert found.rejected == (attacker,)
    assert found.difference <= found.error_bound


@crypten
def test_an_honest_client_above_the_bound_that_does_not_give_way_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(poison, "scaled_to", lambda update, limit: update)
    attacker, found = tight_round(tmp_path)
    assert set(found.rejected) == {attacker, *found.scaled}
    assert len(found.rejected) > 1


def test_every_poisoned_value_is_one_that_an_honest_client_may_send() -> None:
    update = [np.array([0.3, -0.01, 0.0], dtype=np.float32), np.array([[-0.5]], dtype=np.float32)]
    spoilt = poison.poison(update)
    assert np.concatenate([array.ravel() for array in spoilt]) == pytest.approx([-CLIP, 0.2, 0.0, CLIP])
    assert all(array.dtype == np.float32 for array in spoilt)
    assert poison.norm(poison.scaled_to(spoilt, 0.25)) == pytest.approx(0.25)
    assert poison.norm(poison.scaled_to([np.zeros(3, dtype=np.float32)], 0.25)) == 0


def test_encoding_at_the_limit_stays_within_the_bound() -> None:
    step = CLIP / (2**15 - 1)  # stochastic rounding moves a value by less than one
    assert poison.slack(10_000) == pytest.approx(100 * step)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tamper"], "choose one"),
        (["--backend", "additive"], "backend 'additive' has none: "),
        (["--backend", "nonsense"], "nonsense"),
        (["--rounds", "0"], "rounds"),
    ],
)
def test_what_can_not_be_shown_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], said: str
) -> None:
    code, _, err = run(capsys, *options, "--output", tmp_path / "out")
    assert code == exits.USAGE
    assert said in err
    assert not (tmp_path / "out").exists()


def test_without_crypten_it_says_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(extras, "is_there", lambda name: name != "crypten")
    code, _, err = run(capsys, "--output", tmp_path / "out")
    assert code == exits.USAGE
    assert "pip install '.[mpc]'" in err
    assert not (tmp_path / "out").exists()
