"""Server optimizers: by their papers' rules, as Flower's own strategies compute them, and the same bits everywhere."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np
import pytest

from secure_agg.errors import ConfigError, UpdateError
from secure_agg.fl.server_optimizers import NAMES, PLAIN, Moments, ServerOptimizer

SETTINGS: dict[str, dict[str, float]] = {
    "FedAvg": {},
    "FedAvgM": {"learning_rate": 0.9, "momentum": 0.5},
    "FedAdam": {"learning_rate": 0.05, "momentum": 0.8, "second": 0.95, "tau": 0.01},
    "FedAdagrad": {"learning_rate": 0.2, "tau": 0.02},
    "FedYogi": {"learning_rate": 0.03, "momentum": 0.7, "second": 0.9, "tau": 0.01},
}

ALONE = [name for name in NAMES if not ServerOptimizer.create(name).beside]
"""The others move what rides beside a model too: ``tests/fl/algorithms``."""


def means(rounds: int) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(3)
    return [[rng.normal(0, 0.1, (3, 4)), rng.normal(0, 1e-4, 5)] for _ in range(rounds)]


def run(optimizer: ServerOptimizer, updates: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    moments, steps = Moments(), []
    for number, mean in enumerate(updates):
        step, moments = optimizer.step(mean, moments, number)
        steps.append(step)
    return steps


def flowers(name: str, model: list[np.ndarray], updates: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    """The models after each round of Flower's own strategy, in float64 throughout."""
    strategy_module = pytest.importorskip("flwr.serverapp.strategy")
    from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    own = {"learning_rate": "server_learning_rate", "momentum": "server_momentum"}
    adaptive = {"learning_rate": "eta", "momentum": "beta_1", "second": "beta_2", "tau": "tau"}
    names = own if name == "FedAvgM" else adaptive
    strategy = getattr(strategy_module, name)(**{names[key]: value for key, value in SETTINGS[name].items()})

    class NoGrid:
        def get_node_ids(self) -> list[int]:
            return [1, 2]

    def record(arrays: list[np.ndarray]) -> Any:
        return ArrayRecord({str(place): Array(array) for place, array in enumerate(arrays)})

    models = []
    for number, mean in enumerate(updates, start=1):
        list(strategy.configure_train(number, record(model), ConfigRecord(), NoGrid()))
        averaged = record([x + d for x, d in zip(model, mean, strict=True)])
        content = RecordDict({"arrays": averaged, "metrics": MetricRecord({"num-examples": 1})})
        request = Message(RecordDict(), dst_node_id=1, message_type="train")
        arrays, _ = strategy.aggregate_train(number, [Message(content, reply_to=request)])
        model = [array.numpy() for array in arrays.values()]
        models.append(model)
    return models


@pytest.mark.parametrize("name", ALONE)
def test_models_come_out_as_under_flowers_own_strategy(name: str) -> None:
    updates = means(6)
    model = [np.linspace(-1, 1, 12).reshape(3, 4), np.zeros(5)]
    wanted = flowers(name, model, updates)
    for step, expected in zip(run(ServerOptimizer.create(name, **SETTINGS[name]), updates), wanted, strict=True):
        model = [x + d for x, d in zip(model, step, strict=True)]
        for one, other in zip(model, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_the_papers_rules_for_one_number_by_hand() -> None:
    d = [[np.array([0.5])], [np.array([-0.25])]]
    (one,), (two,) = run(ServerOptimizer.create("FedAvgM", learning_rate=2.0, momentum=0.5), d)
    assert (one[0], two[0]) == (2 * 0.5, 2 * (0.5 * 0.5 - 0.25))
    (one,), (two,) = run(ServerOptimizer.create("FedAdagrad", learning_rate=1.0, tau=0.5), d)
    assert (one[0], two[0]) == (0.5 / (0.5 + 0.5), -0.25 / (np.sqrt(0.25 + 0.0625) + 0.5))
    (one,), (two,) = run(ServerOptimizer.create("FedYogi", learning_rate=1.0, momentum=0.0, second=0.5, tau=0.5), d)
    assert one[0] == 0.5 / (np.sqrt(0.125) + 0.5)
    assert two[0] == -0.25 / (np.sqrt(0.125 - 0.5 * 0.0625) + 0.5)
    (one,), _ = run(ServerOptimizer.create("FedAdam", learning_rate=1.0, momentum=0.5, second=0.5, tau=0.5), d)
    assert one[0] == np.sqrt(0.75) / 0.75 * 0.25 / (np.sqrt(0.125) + 0.5)


def test_the_bits_are_these() -> None:
    """Nodes on different machines have to agree on them; a change here ends every task that is under way."""
    rounds = [[np.arange(-8, 8, dtype=np.float64) / 2**k / 3] for k in range(4)]
    digests = {}
    for name in ALONE:
        steps = run(ServerOptimizer.create(name, **SETTINGS[name]), rounds)
        data = b"".join(array.astype("<f8").tobytes() for step in steps for array in step)
        digests[name] = hashlib.sha256(data).hexdigest()[:16]
    assert digests == {
        "FedAvg": "4a47878b51818c64",
        "FedAvgM": "0f511e4e8d0b2a72",
        "FedAdam": "442d15575d48bd09",
        "FedAdagrad": "bf60d0f6303afcd9",
        "FedYogi": "8a3cbbc24cfd52ac",
    }


@pytest.mark.parametrize("name", ALONE)
def test_what_is_remembered_is_not_the_callers(name: str) -> None:
    optimizer, mean = ServerOptimizer.create(name, **SETTINGS[name]), [np.ones(3)]
    _, moments = optimizer.step(mean, Moments(), 0)
    kept = [array.copy() for array in (*moments.first, *moments.second)]
    optimizer.step([np.full(3, 0.5)], moments, 1)
    for before, after in zip(kept, (*moments.first, *moments.second), strict=True):
        assert np.array_equal(before, after)


def test_names_and_stock_settings() -> None:
    assert ServerOptimizer.create("fedadam") == ServerOptimizer("FedAdam", 0.1, 0.9, 0.99, 1e-3)
    assert ServerOptimizer.create("FEDYOGI").learning_rate == 0.01
    assert ServerOptimizer.create("FedProx") == ServerOptimizer.create("fedavg") == PLAIN
    assert ServerOptimizer.create("FedAvgM") == PLAIN
    assert ServerOptimizer.create("FedAvgM", momentum=0.5) != PLAIN
    for name in NAMES:
        optimizer = ServerOptimizer.create(name, **SETTINGS.get(name, {}))
        assert msgspec.json.decode(msgspec.json.encode(optimizer), type=ServerOptimizer) == optimizer


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("FedBest", {}, "none of FedAvg, FedAvgM"),
        ("FedAvg", {"learning_rate": 0.5}, "has no learning rate"),
        ("FedAvgM", {"tau": 0.5}, "has no tau"),
        ("FedAdagrad", {"second": 0.5}, "has no second momentum"),
        ("FedAvgM", {"learning_rate": 0.0}, "learning rate of FedAvgM is 0.0, not in"),
        ("FedAdam", {"learning_rate": float("nan")}, "learning rate"),
        ("FedAdam", {"learning_rate": float("inf")}, "learning rate"),
        ("FedAdam", {"momentum": 1.0}, "momentum"),
        ("FedAdam", {"momentum": -0.1}, "momentum"),
        ("FedAdam", {"second": 1.0}, "second momentum"),
        ("FedAdam", {"tau": 0.0}, "tau"),
    ],
)
def test_settings_that_lead_to_no_model_are_refused(name: str, settings: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ServerOptimizer.create(name, **settings)


def test_no_step_is_infinite_and_no_moment_of_another_model() -> None:
    optimizer = ServerOptimizer.create("FedAvgM", learning_rate=1e6, momentum=0.5)
    with pytest.raises(UpdateError, match="not finite"), np.errstate(over="ignore"):
        optimizer.step([np.array([1e305])], Moments(), 0)
    _, moments = optimizer.step([np.ones(2)], Moments(), 0)
    with pytest.raises(UpdateError, match="other shapes"):
        optimizer.step([np.ones(3)], moments, 1)
