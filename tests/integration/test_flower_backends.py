"""Every backend that hides updates, under Flower: its operators are processes of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvg
from support.frameworks.flower_nodes import Fleet, app_of, flower_log, members, model_of, record, start

from secure_agg.errors import RunStopped
from secure_agg.plugins.homes import federation
from secure_agg.protocol.config import Option

pytestmark = pytest.mark.usefixtures("quick_operators")

VALUES = sum(array.size for name, array in start().items() if name != "batches")
LONG = pytest.mark.flower_long


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("additive", {"options": (Option("aggregators", 2),)}),
        pytest.param("bfv", {"parameters": VALUES}, marks=LONG),
        pytest.param("ckks", {"parameters": VALUES}, marks=LONG),
        pytest.param("paillier", {"parameters": VALUES}, marks=LONG),
    ],
)
def test_a_run_with_operators_ends_with_the_model_of_plain_fedavg(backend, options, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    plain = Fleet.nodes(tmp_path, members(3, app_of(mods=())))
    wanted = FedAvg().start(plain, record(start()), num_rounds=2)
    fleet = Fleet.make(tmp_path, members(3, app_of()), backend=backend, **options)
    with federation.operators(fleet.folder):
        found = fleet.run(FedAvg(), rounds=2)
    for layer in ("layer", "bias"):
        assert np.abs(model_of(found.arrays)[layer] - model_of(wanted.arrays)[layer]).max() < 1e-3
    assert found.train_metrics_clientapp[2]["loss"] == pytest.approx(wanted.train_metrics_clientapp[2]["loss"])
    evaluates = backend == "additive"  # an encryption key is for one task and one size of model
    assert found.evaluate_metrics_clientapp.keys() == (wanted.evaluate_metrics_clientapp.keys() if evaluates else set())
    assert not fleet.aborts()


@LONG  # the transport tries for some seconds
def test_without_its_operators_a_round_comes_to_nothing_before_anybody_trains(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(3, app_of()), backend="additive", options=(Option("aggregators", 2),))
    with flower_log() as log, pytest.raises(RunStopped, match=r"no round of this run is verified.*OperatorLost"):
        fleet.run()
    assert any("OperatorLost" in line and "the model stays as it was" in line for line in log)
