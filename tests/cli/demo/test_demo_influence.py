"""A site with 0.6 % of the data wrecks a plain weighted mean; a proved norm bound leaves it the influence of its
weight, and squeezes no honest client.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secure_agg import Ledger
from secure_agg.cli import main
from secure_agg.cli.demo import influence, poison
from secure_agg.fl import datasets
from secure_agg.planning.norms import squared_norm

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

ROUNDS = 3


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--poison", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    assert exit_.value.code == 0, captured.err
    return captured.out


def test_a_light_site_wrecks_the_plain_mean_and_not_a_bounded_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(poison, "is_there", lambda: False)
    found: Any = json.loads(run(capsys, "--rounds", ROUNDS, "--output", tmp_path, "--json"))
    sizes = found["clients"]
    assert 0.005 < sizes[influence.ATTACKER] / sum(sizes.values()) < 0.008
    honest = found["honest"]["accuracy"][-1]
    assert honest > 0.9
    for attack in influence.ATTACKS:
        assert abs(found["bounded"][attack]["accuracy"][-1] - honest) < 0.02, attack
    assert found["plain_mean"]["flipped"]["accuracy"][-1] < 0.6
    assert found["plain_mean"]["backdoor"]["backdoor"] > 0.8
    assert found["bounded"]["backdoor"]["backdoor"] < found["plain_mean"]["backdoor"]["backdoor"] - 0.5
    assert found["functions"] == {}

    for attack, rounds in found["bounded_rounds"].items():
        assert len(rounds) == ROUNDS
        for item in rounds:
            assert item["scaled"] == [], "an honest client was squeezed"
            assert item["scaled_clients"] == 1, attack
            assert item["heaviest"] < found["norm_bound"] < item["poison"]
            assert item["proofs"] == len(sizes)
    with Ledger(found["ledger"], read_only=True) as ledger:
        audited = ledger.audit()
    assert dict(audited.tasks) == {influence.PILOT: influence.PILOT_ROUNDS, **dict.fromkeys(influence.ATTACKS, ROUNDS)}
    assert audited.norm_proofs == found["ledger_norm_proofs"] == len(influence.ATTACKS) * ROUNDS * len(sizes)


def test_people_read_where_the_bound_comes_from_and_what_it_leaves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(poison, "is_there", lambda: False)
    words = " ".join(run(capsys, "--rounds", 1, "--output", tmp_path).split())
    for said in (
        "light-site has 3 of 427 samples, 0.7 %",
        "the root of the mean squared norm by weight",
        "one dishonest client can move a round's mean as far as it likes",
        "hospital-a has 50 times the weight of light-site and the same bound",
        "Honest updates that were scaled down, in all rounds: 0",
        "CrypTen is not installed",
        "one that lies has the influence of the heaviest",
        "poison within the bound is accepted",
    ):
        assert said in words, said


def test_the_bound_is_proposed_from_what_verified_sums_say(tmp_path: Path) -> None:
    federation = influence.with_light_site(datasets.load("breast-cancer", 7))
    rng = np.random.default_rng(7)
    updates = {name: [rng.normal(size=(5, 7)).astype(np.float32), np.zeros(3, np.float32)] for name in federation.sizes}
    trainings = influence._Trainings(federation, None, "masking", tmp_path / "rounds.db", None)  # type: ignore[arg-type]
    squares = {name: squared_norm(update, influence.CLIP) for name, update in updates.items()}
    mean = sum(squares[name] * size for name, size in federation.sizes.items()) / sum(federation.sizes.values())
    assert trainings._pilot(updates, federation.sizes) == pytest.approx(mean, rel=1e-8)


def test_the_light_site_takes_its_samples_from_the_largest_and_adds_none() -> None:
    before = datasets.load("digits", 7)
    after = influence.with_light_site(before)
    assert sum(after.sizes.values()) == sum(before.sizes.values())
    assert {name for name in before.sizes if after.sizes[name] != before.sizes[name]} == {"office-01"}


def test_every_poisoned_value_is_one_that_an_honest_client_may_send() -> None:
    update = [np.array([0.3, -0.001, 0.0], dtype=np.float32)]
    assert influence.spoilt(influence.FLIPPED, update)[0] == pytest.approx([-influence.CLIP, 1.0, 0.0])
    assert influence.spoilt(influence.SCALED, update)[0] == pytest.approx([influence.CLIP, -1.0, 0.0])
