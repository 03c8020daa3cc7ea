"""NVFlare's controller asks every site who it is, and has those train that the pinned beacon draws."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from nvflare.app_common.abstract.fl_model import FLModel
from support.beacons import rehearsal
from support.frameworks.nvflare_network import Network

from secure_agg.ledger.log import Ledger
from secure_agg.plugins.homes import federation
from secure_agg.protocol.config import Policy

NAMES = tuple(f"site-{i}" for i in range(7))
CHAIN = rehearsal(range(1, 49))
POLICY = Policy.default(7, cohort_size=4, corruption_rate=0.0, clip=1.0, bits=20, max_weight=16)
PARAMS = {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}


def test_the_drawn_sites_train_in_each_round(tmp_path: Path) -> None:
    trained: list[str] = []

    def train(name: str, model: FLModel) -> FLModel:
        trained.append(name)
        step = (1 + NAMES.index(name)) / 16
        return FLModel(params={"w": (model.params["w"] + step).astype(np.float32)}, meta={"NUM_STEPS_CURRENT_ROUND": 4})

    federation.make(tmp_path / "homes", NAMES, POLICY, task="task", beacon=CHAIN)
    network = Network(tmp_path / "sites", tmp_path / "homes", train)
    with contextlib.closing(network):
        for name in NAMES:
            network.add(name)
        params = PARAMS
        for number in range(3):
            trained.clear()
            result = network.round(params)
            with Ledger(tmp_path / "homes" / "server" / "rounds.db", read_only=True) as ledger:
                drawn = set(ledger.trust.cohort("task", CHAIN.pulses[1 + 16 * number].signature))
                assert len(ledger.indexes("task")) == number + 1
            assert (len(trained), set(trained)) == (4, drawn)
            mean = np.mean([(1 + NAMES.index(name)) / 16 for name in drawn])
            np.testing.assert_allclose(result.params["w"], params["w"] + mean, atol=1e-4)
            assert result.meta["nr_aggregated"] == 4
            params = result.params
