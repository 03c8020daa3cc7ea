"""A stock NVFlare job whose homes have a privacy budget: the mean has noise, weights and metrics do not travel."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from nvflare.app_common.abstract.fl_model import FLModel
from support.frameworks.nvflare_network import Network

from secure_agg import Privacy
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import Policy

NAMES = tuple(f"site-{i}" for i in range(1, 5))
BUDGET = Privacy(epsilon=8.0, delta=1e-5, norm=2.0, rounds=2)
PARAMS = {"w": np.zeros((40, 25), np.float32), "b": np.ones(5)}
MOVES = {name: np.random.default_rng(place).normal(size=1005) * place for place, name in enumerate(NAMES)}


def train(name: str, model: FLModel) -> FLModel:
    flat = MOVES[name]
    moved = {"w": model.params["w"] + flat[:-5].reshape(40, 25).astype(np.float32), "b": model.params["b"] + flat[-5:]}
    return FLModel(params=moved, metrics={"accuracy": 0.5}, meta={"NUM_STEPS_CURRENT_ROUND": 1 + len(name)})


def test_a_job_trains_with_noise_until_its_budget_is_spent(tmp_path: Path) -> None:
    folder = tmp_path / "federation"
    policy = Policy.default(4, privacy=BUDGET, bits=20, min_clients=4)
    federation.make(folder, NAMES, policy, task="task")
    network = Network(tmp_path / "sites", folder, train)
    sites = {name: network.add(name) for name in NAMES}
    with contextlib.closing(network):
        first = network.round(PARAMS)
        assert all(site.errors == [] for site in sites.values())
        assert not first.metrics
        second = network.round(first.params)
        assert all(site.errors == [] for site in sites.values()), "sites come to the same model, from the noisy mean"
        with pytest.raises(Exception, match="the privacy budget is spent"):
            network.round(second.params)
    with ServerHome.open(folder / "server") as home:
        report, record = home.ledger.audit(), home.ledger.last("task")
        assert record is not None
        made = home.ledger.evidence(record).config.mechanism
    assert made is not None
    assert (report.privacy["task"].rounds, dict(report.claims)) == (2, {"dp-sum": 2})
    flat = np.concatenate([(first.params[name] - PARAMS[name]).ravel() for name in ("w", "b")])
    clipped = [move * min(1.0, BUDGET.norm / max(1e-9, float(np.linalg.norm(move)))) for move in MOVES.values()]
    noise = flat - np.mean(clipped, axis=0)
    deviation = BUDGET.norm * made.deviation / (made.length * 2)
    assert 0.83 < np.sqrt(np.mean(noise**2)) / deviation < 1.17
