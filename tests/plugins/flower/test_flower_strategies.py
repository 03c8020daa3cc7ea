"""Stock strategies on secure rounds: those that need the mean alone end where a plain run ends, others are refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyServerSideFixedClipping,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedXgbBagging,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
    Strategy,
)
from support.frameworks.flower_nodes import Fleet, Seen, app_of, flower_log, members, model_of, record, start

from secure_agg.errors import ConfigError, RunStopped
from secure_agg.fl.model_files import start_digest
from secure_agg.fl.server_optimizers import PLAIN, ServerOptimizer
from secure_agg.plugins.core.server.history import History
from secure_agg.plugins.flower import strategies
from secure_agg.plugins.homes import federation
from secure_agg.protocol.config import Policy

SERVER_OPTIMIZERS: dict[str, Callable[[], Strategy]] = {
    "FedAvgM": lambda: FedAvgM(server_learning_rate=0.9, server_momentum=0.5, fraction_evaluate=0.0),
    "FedAdam": lambda: FedAdam(tau=0.1, fraction_evaluate=0.0),
    "FedYogi": lambda: FedYogi(tau=0.1, fraction_evaluate=0.0),
    "FedAdagrad": lambda: FedAdagrad(tau=0.1, fraction_evaluate=0.0),
}
MEANS: dict[str, Callable[[], Strategy]] = {
    "FedAvg": FedAvg,
    "FedProx": lambda: FedProx(proximal_mu=0.5, fraction_evaluate=0.0),
}


@pytest.mark.parametrize("name", [*MEANS, *SERVER_OPTIMIZERS])
def test_a_stock_strategy_ends_where_a_plain_run_ends(name: str, tmp_path: Path) -> None:
    make = (MEANS | SERVER_OPTIMIZERS)[name]
    plain = Fleet.nodes(tmp_path, members(3, app_of(mods=())))
    wanted = make().start(plain, record(start()), num_rounds=2)
    seen = Seen()
    rules = {"optimizer": strategies.optimizer(make()), "start_model": start_digest(start())}
    fleet = Fleet.make(tmp_path, members(3, app_of(seen=seen)), rules=rules, clip=2.0, max_weight=32)
    found = fleet.run(make(), rounds=2)

    for layer in ("layer", "bias"):
        assert np.abs(model_of(found.arrays)[layer] - model_of(wanted.arrays)[layer]).max() < 1e-3
    for number in (1, 2):
        for metric in ("loss", "count"):
            assert found.train_metrics_clientapp[number][metric] == pytest.approx(
                wanted.train_metrics_clientapp[number][metric], rel=1e-9
            )
    assert found.evaluate_metrics_clientapp.keys() == wanted.evaluate_metrics_clientapp.keys()
    for number, metrics in wanted.evaluate_metrics_clientapp.items():
        assert found.evaluate_metrics_clientapp[number]["accuracy"] == pytest.approx(metrics["accuracy"], abs=1e-3)
    assert sorted(seen.trained) == [0, 0, 1, 1, 2, 2]
    assert [config["server-round"] for config in seen.configs] == [1, 1, 1, 2, 2, 2]
    if name == "FedProx":
        assert {config["proximal-mu"] for config in seen.configs} == {0.5}


@pytest.mark.parametrize("name", SERVER_OPTIMIZERS)
def test_a_second_run_goes_on_with_the_moments_of_the_first(name: str, tmp_path: Path) -> None:
    """To the nodes it is one chain; Flower's own strategy would begin with none."""
    make = SERVER_OPTIMIZERS[name]
    plain = make().start(Fleet.nodes(tmp_path, members(3, app_of(mods=()))), record(start()), num_rounds=3)
    rules = {"optimizer": strategies.optimizer(make())}
    fleet = Fleet.make(tmp_path, members(3, app_of()), rules=rules, clip=2.0, max_weight=32)
    first = fleet.run(make(), rounds=1)
    # Flower's averaging has made a float of the counter, which an app that goes on makes a whole number again.
    second = fleet.run(make(), rounds=2, model=model_of(first.arrays) | {"batches": start()["batches"]})
    assert not fleet.aborts()
    assert model_of(second.arrays)["layer"].dtype == np.float32
    for layer in ("layer", "bias"):
        assert np.abs(model_of(second.arrays)[layer] - model_of(plain.arrays)[layer]).max() < 2e-3


@pytest.mark.parametrize(
    ("pinned", "strategy"),
    [
        (PLAIN, FedAdam(fraction_evaluate=0.0)),
        (ServerOptimizer.create("FedAdam"), FedAvg(fraction_evaluate=0.0)),
        (ServerOptimizer.create("FedAdam"), FedYogi(fraction_evaluate=0.0)),
        (ServerOptimizer.create("FedAdam", tau=0.01), FedAdam(fraction_evaluate=0.0)),
        (ServerOptimizer.create("FedAvgM", momentum=0.9), FedAvgM(server_momentum=0.5, fraction_evaluate=0.0)),
    ],
)
def test_a_strategy_that_is_not_set_as_the_homes_pin_it_is_refused_at_the_start(
    pinned: ServerOptimizer, strategy: Strategy, tmp_path: Path
) -> None:
    fleet = Fleet.make(tmp_path, members(3, app_of()), rules={"optimizer": pinned})
    with pytest.raises(ConfigError, match="would refuse this strategy's"):
        fleet.secure(strategy)


def test_an_optimizer_that_does_nothing_is_fedavg(tmp_path: Path) -> None:
    assert Fleet.make(tmp_path, members(3, app_of())).run(FedAvgM(fraction_evaluate=0.0)).arrays


def test_a_crafted_first_model_is_refused_by_every_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    fleet = Fleet.make(tmp_path, members(3, app_of(seen=seen)), rules={"start_model": start_digest(start())})
    crafted = start() | {"bias": np.array(0.125)}
    assert "the start model that is pinned" in fleet.stops(model=crafted)  # by the server's own home
    monkeypatch.setattr(History, "check", lambda *_: None)
    with flower_log() as log:
        assert "3 of 3 nodes know another" in fleet.stops(model=crafted)
    assert [abort["error"] for abort in fleet.aborts()] == ["TooFewClients"]
    assert any("pinned start model" in line for line in log)
    assert seen.trained == []
    monkeypatch.undo()
    fleet.run()
    assert sorted(seen.trained) == [0, 1, 2]


def test_a_node_that_was_away_for_rounds_is_shown_them_and_takes_part_again(tmp_path: Path) -> None:
    seen = Seen()
    app = app_of(seen=seen)
    strategy = FedAdam(tau=0.1, fraction_evaluate=0.0)
    rules = {"optimizer": strategies.optimizer(strategy), "start_model": start_digest(start())}
    fleet = Fleet.make(tmp_path, members(4, app), rules=rules)
    fleet.grid.nodes[103].app = lambda message, context: None
    result = fleet.run(strategy, rounds=2, phase_s=1.0, timeout=1.0)
    assert 3 not in seen.trained
    fleet.grid.nodes[103].app = app
    with flower_log() as log:
        again = FedAdam(tau=0.1, fraction_evaluate=0.0)
        fleet.run(again, model=model_of(result.arrays) | {"batches": start()["batches"]})
    assert seen.trained.count(3) == 1
    assert any("1 nodes have been shown round 0" in line for line in log)


class Crafting(FedAvg):
    """A server that goes on from a model of its own."""

    def aggregate_train(self, server_round, replies):  # type: ignore[no-untyped-def]
        _, metrics = super().aggregate_train(server_round, replies)
        return record(start() | {"bias": np.array(0.125)}), metrics


@pytest.mark.parametrize("checks", [True, False])
def test_a_strategy_of_ones_own_is_followed_by_homes_that_take_any_model_only(checks: bool, tmp_path: Path) -> None:
    seen = Seen()
    fleet = Fleet.make(tmp_path, members(3, app_of(seen=seen)), rules={"checks_model": checks})
    with flower_log() as log, pytest.raises(RunStopped) if checks else contextlib.nullcontext():
        fleet.run(Crafting(), rounds=2, custom_strategy=True)
    assert len(seen.trained) == (3 if checks else 6)
    assert len(seen.evaluated) == (0 if checks else 3)
    assert any("take any model" in line for line in log) != checks


def test_layers_that_are_not_averaged_keep_their_values_and_their_type_on_the_nodes(tmp_path: Path) -> None:
    """Flower's averaging makes float64 of whole numbers; apps that reply in their own types would be refused."""
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    result = fleet.run(rounds=3)
    assert model_of(result.arrays)["batches"] == 5
    assert not fleet.aborts()


class Checkpoints(FedAvg):
    """What many apps do: the mean, and a copy of it kept."""

    def aggregate_train(self, server_round, replies):  # type: ignore[no-untyped-def]
        arrays, metrics = super().aggregate_train(server_round, replies)
        self.kept = arrays
        return arrays, metrics


NEED_REPLIES: dict[str, Callable[[], Strategy]] = {
    "FedMedian": FedMedian,
    "FedTrimmedAvg": FedTrimmedAvg,
    "Krum": lambda: Krum(num_malicious_nodes=1),
    "MultiKrum": lambda: MultiKrum(num_malicious_nodes=1, num_nodes_to_select=2),
    "Bulyan": lambda: Bulyan(num_malicious_nodes=1),
    "QFedAvg": lambda: QFedAvg(client_learning_rate=0.1),
    "FedXgbBagging": FedXgbBagging,
    "DifferentialPrivacyServerSideFixedClipping": lambda: DifferentialPrivacyServerSideFixedClipping(
        FedAvg(), noise_multiplier=1.0, clipping_norm=1.0, num_sampled_clients=3
    ),
    "Checkpoints": Checkpoints,
}


@pytest.mark.parametrize("name", NEED_REPLIES)
def test_a_strategy_that_needs_every_reply_is_refused(name: str, tmp_path: Path) -> None:
    strategy = NEED_REPLIES[name]()
    with pytest.raises(ConfigError, match=f"^{name} computes"):
        Fleet.make(tmp_path, members(3, app_of())).secure(strategy)


def test_an_own_strategy_runs_where_its_author_says_that_the_mean_is_enough(tmp_path: Path) -> None:
    strategy = Checkpoints(fraction_evaluate=0.0)
    result = Fleet.make(tmp_path, members(3, app_of())).run(strategy, custom_strategy=True)
    assert strategy.kept is result.arrays


@pytest.mark.parametrize("fractions", [{"fraction_train": 0.5}, {"fraction_evaluate": 0.5}])
def test_a_strategy_that_asks_some_clients_only_is_refused(fractions: dict[str, float], tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    with pytest.raises(ConfigError, match="a round is of the whole pinned roster"):
        fleet.secure(FedAvg(**fractions))


def test_the_strategy_waits_for_as_many_nodes_as_the_policy_needs(tmp_path: Path) -> None:
    federation.make(tmp_path / "federation", members(5, app_of()), Policy.default(5), task="flower")
    strategy = FedAvg()
    fleet = Fleet(tmp_path / "federation", Fleet.nodes(tmp_path / "federation", {}), ())
    fleet.secure(strategy)
    assert strategy.min_available_nodes == 4


def test_functions_of_ones_own_for_metrics_are_warned_of(tmp_path: Path) -> None:
    fleet = Fleet.make(tmp_path, members(3, app_of()))
    with flower_log() as log:
        fleet.secure(FedAvg(train_metrics_aggr_fn=lambda replies, key: next(iter(replies[0].metric_records.values()))))
    assert any("are given one reply, which holds the means" in line for line in log)
