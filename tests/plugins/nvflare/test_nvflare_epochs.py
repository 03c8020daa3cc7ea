"""A job in which the federation changes: the stock controller notices nothing but who takes part."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from nvflare.app_common.abstract.fl_model import FLModel
from support.changing.homes import audited, join, submit
from support.federation import identity
from support.frameworks.nvflare_network import Network

from secure_agg.plugins.homes import federation
from secure_agg.protocol.config import Policy
from secure_agg.roles.epochs.change import Change

NAMES = ("site-1", "site-2", "site-3", "site-4")
NEW = identity("site-5")
STEPS = {name: number / 16 for number, name in enumerate((*NAMES, NEW.name), 1)}
PARAMS = {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}


def test_a_job_goes_on_over_an_epoch_and_the_next_one_with_who_has_joined(tmp_path: Path) -> None:
    homes, trained = tmp_path / "homes", list[str]()

    def train(name: str, model: FLModel) -> FLModel:
        if not trained:  # while the first round is under way owners agree on an epoch
            trained.append(name)
            submit(homes, Change(join={NEW.name: NEW.public}, leave={"site-4"}), NEW)
        weights = (model.params["w"] + STEPS[name]).astype(np.float32)
        return FLModel(params={"w": weights}, meta={"NUM_STEPS_CURRENT_ROUND": 4})

    federation.make(homes, NAMES, Policy.default(4, clip=1.0, bits=20, max_weight=16, min_clients=2), task="task")
    params, rounds = PARAMS, [NAMES, NAMES[:3], (*NAMES[:3], NEW.name)]
    for job, names in (("first", NAMES), ("second", rounds[2])):
        if job == "second":
            join(homes, NEW)
        network = Network(tmp_path / job, homes, train)
        with contextlib.closing(network):
            for name in names:
                network.add(name)
            for took_part in rounds[:2] if job == "first" else rounds[2:]:
                result = network.round(params)
                assert result.meta["nr_aggregated"] == len(took_part)
                mean = np.mean([STEPS[name] for name in took_part])
                np.testing.assert_allclose(result.params["w"], params["w"] + mean, atol=1e-4)
                params = result.params
    assert audited(homes) == (1, [set(names) for names in rounds])
