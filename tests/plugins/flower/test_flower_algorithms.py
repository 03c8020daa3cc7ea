"""SCAFFOLD and FedNova as Flower apps: a stock strategy carries them, and the homes pin what becomes of the mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents.blocks import blocks
from fl.algorithms.quadratics import some
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAdam, FedAvg
from support.flower_nodes import Fleet, Model, model_of
from support.source_tree import ROOT

from secure_agg.errors import ConfigError
from secure_agg.fl.algorithms.named import create
from secure_agg.fl.algorithms.training import train
from secure_agg.fl.model_files import start_digest

PARTS = some(3, seed=31)
STEPS = (2, 5, 3)
WEIGHTS = (3, 1, 2)
MODEL = [np.array([0.5, -0.5, 0.25])]
ALGORITHMS = {
    "SCAFFOLD": create("SCAFFOLD", rate=0.2, scale=0.5),
    "FedNova": create("FedNova", rate=0.2, usual_steps=5.0),
}


(APP,) = (each.text for each in blocks(ROOT / "docs" / "algorithms.md") if each.section == "In frameworks")
"""The app that the guide shows."""


def apps_of(name: str) -> dict[str, ClientApp]:
    """The guide's app at each node, over what it leaves to the reader."""
    apps = {}
    for place, (part, steps, weight) in enumerate(zip(PARTS, STEPS, WEIGHTS, strict=True)):
        algorithm = ALGORITHMS[name]
        space: dict[str, Any] = {"algorithm": algorithm, "gradient": part.gradient, "steps": steps}
        space["examples"] = weight if algorithm.weighted else 1
        exec(compile(APP, "docs/algorithms.md", "exec"), space)  # noqa: S102
        apps[f"m{place}"] = space["app"]
    return apps


def begin(name: str) -> Model:
    algorithm = ALGORITHMS[name]
    return algorithm.named(["w"], algorithm.begin(MODEL).shared)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_app_ends_where_a_plain_training_ends(name: str, tmp_path: Path) -> None:
    algorithm, start = ALGORITHMS[name], begin(name)
    rules = {"optimizer": algorithm.server, "start_model": start_digest(start)}
    limit = WEIGHTS[0] if algorithm.weighted else 1
    fleet = Fleet.make(tmp_path, apps_of(name), rules=rules, clip=8.0, bits=22, max_weight=limit)
    found = fleet.run(FedAvg(fraction_evaluate=0.0), rounds=3, model=start)
    assert not fleet.aborts()
    clients = {
        f"m{i}": part.client(steps, weight)
        for i, (part, steps, weight) in enumerate(zip(PARTS, STEPS, WEIGHTS, strict=True))
    }
    wanted = train(algorithm, MODEL, clients, 3)
    names, arrays = algorithm.unnamed(model_of(found.arrays))
    assert names == ("w",)
    for array, plain in zip(arrays, wanted.shared, strict=True):
        assert array == pytest.approx(plain, abs=2e-4)


def test_a_strategy_with_a_step_of_its_own_does_not_carry_them(tmp_path: Path) -> None:
    rules = {"optimizer": ALGORITHMS["FedNova"].server}
    fleet = Fleet.make(tmp_path, apps_of("FedNova"), rules=rules)
    with pytest.raises(ConfigError, match="would refuse this strategy's"):
        fleet.secure(FedAdam(fraction_evaluate=0.0))
