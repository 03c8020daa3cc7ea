"""A model whose training is a pure function of node, round and model, so that tests can do it again."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Model = dict[str, npt.NDArray[Any]]


def start(size: int) -> Model:
    """The model of the first round: weights, a bias of another type, and a counter that nobody averages."""
    return {
        "weights": np.zeros((2, size // 2), dtype=np.float32),
        "bias": np.zeros((), dtype=np.float64),
        "steps": np.array(0, dtype=np.int64),
    }


def train(model: Model, partition: int) -> tuple[Model, dict[str, float]]:
    """One step towards the partition's own weights."""
    target = np.random.default_rng(partition).standard_normal(model["weights"].shape, dtype=np.float32)
    trained = {
        "weights": model["weights"] + np.float32(0.5) * (target - model["weights"]),
        "bias": np.asarray(model["bias"] + 0.25 * (partition - model["bias"])),
        "steps": np.asarray(model["steps"] + 1),
    }
    return trained, {"loss": float(np.mean((target - model["weights"]) ** 2)), "num-examples": examples(partition)}


def evaluate(model: Model, partition: int) -> dict[str, float]:
    """The distance of the bias from the partition's own."""
    return {"distance": float(abs(partition - model["bias"])), "num-examples": examples(partition)}


def examples(partition: int) -> int:
    """How many the partition has."""
    return 10 + 7 * partition
