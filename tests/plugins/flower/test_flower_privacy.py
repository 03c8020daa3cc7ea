"""A stock Flower app whose homes have a privacy budget: the mean has noise, weights and metrics do not travel."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvg
from support.frameworks.flower_nodes import TASK, Fleet, app_of, members, model_of, start, step

from secure_agg import Privacy
from secure_agg.errors import ConfigError
from secure_agg.plugins.homes.server import ServerHome

BUDGET = Privacy(epsilon=8.0, delta=1e-5, norm=2.0, rounds=2)


def test_an_app_trains_with_noise_until_its_budget_is_spent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fleet = Fleet.make(tmp_path, members(4, app_of()), privacy=BUDGET, bits=20, min_clients=4)
    with caplog.at_level(logging.WARNING, "secure_agg"):
        found = model_of(fleet.run(rounds=1, model=start(1000)).arrays)
    assert any("summed without noise: count, loss" in text for text in caplog.messages)
    with ServerHome.open(fleet.folder / "server") as home:
        record = home.ledger.last(TASK)
        assert record is not None
        made = home.ledger.evidence(record).config.mechanism
    assert record.claim == "dp-sum"
    assert made is not None
    old, moves = start(1000), []
    for place in range(4):  # each counts alike, whatever its examples
        new = step(old, place)
        flat = np.concatenate([(new[name] - old[name]).ravel() for name in ("layer", "bias")])
        moves.append(flat * min(1.0, BUDGET.norm / np.linalg.norm(flat)))
    flat = np.concatenate([(found[name] - old[name]).ravel() for name in ("layer", "bias")])
    noise = flat - np.mean(moves, axis=0)
    deviation = BUDGET.norm * made.deviation / (made.length * 2)
    assert 0.83 < np.sqrt(np.mean(noise**2)) / deviation < 1.17
    assert found["batches"] == old["batches"]
    last = model_of(fleet.run(rounds=1, model=found).arrays)
    with ServerHome.open(fleet.folder / "server") as home:
        report = home.ledger.audit()
    assert report.privacy[TASK].rounds == 2
    assert 7.0 < report.privacy[TASK].spent / 1e6 <= BUDGET.epsilon
    with pytest.raises(ConfigError, match="the privacy budget is spent: epsilon = 8 is for 2 rounds"):
        fleet.run(rounds=1, model=last)


def test_an_evaluation_whose_metrics_would_have_no_noise_ends_the_run(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(4, app_of()), privacy=BUDGET, bits=20, min_clients=4)
    with pytest.raises(ConfigError, match="evaluation sums metrics without noise"):
        fleet.run(FedAvg(fraction_evaluate=1.0))
