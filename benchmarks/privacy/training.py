"""Training with noise: accuracy by ε on two real tasks, and where noise is all that is left.

Every client takes gradient steps on its own few samples; its difference is clipped, summed with the others', and the
mean has the noise that a task's policy gives. The noise of the sum is drawn at once: sums of Skellam variables are one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.results import Row
from secure_agg.fl import datasets
from secure_agg.planning.privacy import USELESS as USELESS_NOISE
from secure_agg.planning.privacy import fewest_bits
from secure_agg.privacy import skellam
from secure_agg.privacy.asked import Privacy
from secure_agg.privacy.mechanism import Mechanism
from secure_agg.protocol.codec.rotation import restore, rotation_key
from secure_agg.protocol.config import Policy
from secure_agg.protocol.config.privacy import PrivacyRule
from secure_agg.protocol.config.settings import MAX_BITS

DELTA: Final = 1e-5
_STEPS: Final = 2


@dataclass(frozen=True)
class Task:
    """One of them.

    Attributes:
        name: for people.
        clients: n, each with as many samples as there are for it.
        rounds: T.
        norm: c.
        rate: of the clients' gradient steps.
    """

    name: str
    clients: int
    rounds: int
    norm: float
    rate: float


TASKS: Final = (Task("breast-cancer", 100, 20, 0.5, 0.3), Task("mnist", 1000, 20, 1.0, 0.5))
USELESS: Final = ((100, 62, 4.0, 20), (100, 7_850, 4.0, 20), (100, 65_536, 4.0, 100), (1000, 1_048_576, 2.0, 100))
"""Clients, values, ε, rounds."""

Floats = npt.NDArray[np.float64]


@functools.cache
def _data(task: Task) -> tuple[Floats, Any, Floats, Any]:
    if task.name == "mnist":
        whole = datasets.mnist()
        order = np.random.default_rng(1).permutation(len(whole))
        features, labels = whole.features[order].astype(np.float64), whole.labels[order]
        return features[1000:], labels[1000:], features[:1000], labels[:1000]
    found = datasets.load(task.name, 1)
    pooled, test = found.pooled(), found.test
    return (
        pooled.features.astype(np.float64),
        pooled.labels,
        test.features.astype(np.float64),
        test.labels,
    )


def _differences(model: Floats, features: Floats, labels: Any, task: Task) -> Floats:
    """Of all clients at once, (n, values): softmax regression on each one's own samples."""
    n, classes, size = task.clients, model.shape[1], model.shape[0] - 1
    per = len(labels) // n
    x = np.concatenate([features[: n * per], np.ones((n * per, 1))], axis=1).reshape(n, per, size + 1)
    truth = np.eye(classes)[labels[: n * per]].reshape(n, per, classes)
    local = np.repeat(model[None], n, axis=0)
    for _ in range(_STEPS):
        scores = x @ local
        scores -= scores.max(axis=2, keepdims=True)
        chances = np.exp(scores)
        chances /= chances.sum(axis=2, keepdims=True)
        local -= task.rate * (x.transpose(0, 2, 1) @ (chances - truth)) / per
    return (local - model).reshape(n, -1)


def _coarsest(rule: PrivacyRule, size: int, clients: int) -> Mechanism:
    """The numbers of a round with as few bits as it has room in."""
    bits = fewest_bits(rule, size, clients) or MAX_BITS
    return rule.mechanism_of(size, clients, (1 << (bits - 1)) - 1)


def trained(task: Task, epsilon: float | None, seed: int) -> float:
    """Accuracy on the test set after all rounds; None adds no noise."""
    features, labels, test, truth = _data(task)
    classes = int(labels.max()) + 1
    model = np.zeros((features.shape[1] + 1, classes))
    made = None
    if epsilon is not None:
        budget = Privacy(epsilon=epsilon, delta=DELTA, norm=task.norm, rounds=task.rounds)
        policy = Policy.default(task.clients, privacy=budget)
        rule = policy.privacy
        if rule is None:
            raise AssertionError("the policy has privacy")
        made = _coarsest(rule, model.size, task.clients)
    for number in range(task.rounds):
        moves = _differences(model, features, labels, task)
        norms = np.linalg.norm(moves, axis=1, keepdims=True)
        mean = (moves * np.minimum(1.0, task.norm / np.maximum(norms, 1e-12))).mean(axis=0)
        if made is not None:
            key = rotation_key(bytes([seed]) * 32, f"round {number}")
            noise = skellam.draw(task.clients * made.variance, key, made.padded)
            mean += restore(noise, key, model.size, task.norm / float(made.length * task.clients))
        model += mean.reshape(model.shape)
    found = np.concatenate([test, np.ones((len(test), 1))], axis=1) @ model
    return float(np.mean(found.argmax(axis=1) == truth))


def rows(epsilons: Sequence[float], repeat: int, tasks: Sequence[Task] = TASKS) -> Iterator[Row]:
    """Accuracy by ε, and what noise is beside an update where it is useless."""
    for task in tasks:
        plain = trained(task, None, 0)
        for epsilon in epsilons:
            found = [trained(task, epsilon, seed) for seed in range(repeat)]
            low, high = np.percentile(found, (25, 75))
            yield Row(
                key=f"training.{task.name}.{epsilon:g}",
                name=f"{task.name}, {task.clients:,} clients, epsilon {epsilon:g}",
                unit="accuracy",
                median=float(np.median(found)),
                spread=(float(low), float(high)) if repeat > 1 else None,
                samples=repeat,
                peer="without noise",
                peer_median=plain,
                note=f"{task.rounds} rounds, delta {DELTA:g}, norm {task.norm:g}",
            )
    for clients, size, epsilon, rounds in USELESS:
        yield _noise(clients, size, epsilon, rounds)


def _noise(clients: int, size: int, epsilon: float, rounds: int) -> Row:
    """How long the noise of a mean is, in clips: a mean of updates is 1 at most."""
    name = f"noise of {clients:,} clients, {size:,} values, epsilon {epsilon:g}, {rounds} rounds"
    policy = Policy.default(
        clients,
        min_clients=clients * 9 // 10,
        privacy=Privacy(epsilon=epsilon, delta=DELTA, norm=1.0, rounds=rounds),
    )
    rule = policy.privacy
    if rule is None:
        raise AssertionError("the policy has privacy")
    made = _coarsest(rule, size, clients)
    found = made.noise(clients)
    useless = "; training is useless: it is noise that moves the model" if found > USELESS_NOISE else ""
    return Row(
        key=f"noise.{clients}.{size}",
        name=name,
        unit="clips",
        median=found,
        derived=made.noise(1),
        derived_unit="clips, of one client's own",
        note=f"h = {made.honest}, {made.half.bit_length() + 1} bits{useless}",
    )
