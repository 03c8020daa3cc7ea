"""FedAvg (McMahan et al. 2017, arXiv:1602.05629) in which the averaging step is an argument.

Plain and secure federated training share every line but that step, and centralised training shares the
model, its start and the local training, so their curves differ by nothing else. Everything is drawn from the
seed. Needs the extra ``demo``; PyTorch is imported when a model is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from secure_agg.fl.datasets import Federation, Samples

Model = list[npt.NDArray[np.float32]]
"""A model's parameters, or an update of them: the state dict's values in its order."""

Averager = Callable[[int, Mapping[str, Model], Mapping[str, int]], Sequence[npt.NDArray[Any]]]
"""``(round, updates by client, weights by client)`` to the average that the global model moves by."""

Progress = Callable[[int, float], None]
"""Called with (rounds done, accuracy)."""


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    Attributes:
        rounds: of federated training; centralised training runs as many epochs as a client does in all.
        epochs: local epochs per round.
        batch: samples per step.
        rate: learning rate of plain SGD.
        hidden: units of the hidden layer.
        seed: of the start model and every shuffle.
    """

    rounds: int
    epochs: int
    batch: int
    rate: float
    hidden: int
    seed: int


@dataclass(frozen=True)
class History:
    """A finished training.

    Attributes:
        accuracy: on the held-out samples: of the start model, then after each round.
        model: the last one.
        local_s: seconds of local training, all clients and rounds.
    """

    accuracy: tuple[float, ...]
    model: Model
    local_s: float


def weighted_mean(
    updates: Mapping[str, Sequence[npt.NDArray[Any]]], weights: Mapping[str, int]
) -> list[npt.NDArray[np.float64]]:
    """The plain weighted mean over ``updates``, in float64: what FedAvg computes without any protection."""
    total = sum(weights[name] for name in updates)
    count = len(next(iter(updates.values())))
    return [
        np.sum([weights[name] / total * update[i].astype(np.float64) for name, update in updates.items()], axis=0)
        for i in range(count)
    ]


def run_federated(
    federation: Federation, training: Training, average: Averager, progress: Progress | None = None
) -> History:
    """FedAvg: each round every client trains from the global model and hands in the difference; the global
    model moves by their average.
    """
    learner = _Learner(federation, training)
    model = learner.start()
    accuracy = [learner.accuracy(model)]
    local_s = 0.0
    for number in range(training.rounds):
        started = time.perf_counter()
        updates = {
            name: _difference(learner.train(model, samples, (number, place)), model)
            for place, (name, samples) in enumerate(federation.clients.items())
        }
        local_s += time.perf_counter() - started
        mean = average(number, updates, federation.sizes)
        model = [(old + step).astype(np.float32) for old, step in zip(model, mean, strict=True)]
        accuracy.append(learner.accuracy(model))
        if progress is not None:
            progress(number + 1, accuracy[-1])
    return History(tuple(accuracy), model, local_s)


def run_centralised(federation: Federation, training: Training, progress: Progress | None = None) -> History:
    """The same model from the same start on all samples in one place, ``training.epochs`` epochs per round:
    what the federation would reach without keeping its data apart.
    """
    learner = _Learner(federation, training)
    model, pooled = learner.start(), federation.pooled()
    accuracy = [learner.accuracy(model)]
    local_s = 0.0
    for number in range(training.rounds):
        started = time.perf_counter()
        model = learner.train(model, pooled, (number, len(federation.clients)))
        local_s += time.perf_counter() - started
        accuracy.append(learner.accuracy(model))
        if progress is not None:
            progress(number + 1, accuracy[-1])
    return History(tuple(accuracy), model, local_s)


def _difference(new: Model, old: Model) -> Model:
    return [after - before for after, before in zip(new, old, strict=True)]


class _Learner:
    """One PyTorch network, into which models are loaded as arrays."""

    def __init__(self, federation: Federation, training: Training) -> None:
        import torch

        # Such small layers gain nothing from threads, and threads that wait for each other in a spin cost minutes on a
        # machine whose cores are busy.
        torch.set_num_threads(1)
        self._torch = torch
        self._training = training
        self._test = federation.test
        # Only the start model is drawn by PyTorch; the caller's own random state stays as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            self._network = torch.nn.Sequential(
                torch.nn.Linear(federation.features, training.hidden),
                torch.nn.ReLU(),
                torch.nn.Linear(training.hidden, federation.classes),
            )

    def start(self) -> Model:
        """The parameters as they are now."""
        return [tensor.detach().numpy().copy() for tensor in self._network.state_dict().values()]

    def _load(self, model: Model) -> None:
        names = self._network.state_dict()
        tensors = {name: self._torch.tensor(array) for name, array in zip(names, model, strict=True)}
        self._network.load_state_dict(tensors)

    def train(self, model: Model, samples: Samples, place: tuple[int, int]) -> Model:
        """Local epochs of SGD from ``model``; ``place`` is (round, client) and draws the shuffles."""
        torch, training = self._torch, self._training
        self._load(model)
        parameters = list(self._network.parameters())
        features, labels = torch.from_numpy(samples.features), torch.from_numpy(samples.labels)
        shuffle = np.random.default_rng((training.seed, *place))
        for _ in range(training.epochs):
            order = torch.from_numpy(shuffle.permutation(len(samples)))
            for batch in order.split(training.batch):
                loss = torch.nn.functional.cross_entropy(self._network(features[batch]), labels[batch])
                gradients = torch.autograd.grad(loss, parameters)
                # By hand: importing torch.optim takes longer than the whole training.
                with torch.no_grad():
                    for parameter, gradient in zip(parameters, gradients, strict=True):
                        parameter -= training.rate * gradient
        return self.start()

    def accuracy(self, model: Model) -> float:
        """Share of the held-out samples that ``model`` labels rightly."""
        torch = self._torch
        self._load(model)
        with torch.no_grad():
            predicted = self._network(torch.from_numpy(self._test.features)).argmax(dim=1).numpy()
        return float((predicted == self._test.labels).mean())
