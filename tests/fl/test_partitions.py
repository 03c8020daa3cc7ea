"""Splits are partitions, and skewed as they are asked to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secure_agg.errors import ConfigError
from secure_agg.fl.partitions import by_groups, by_labels, by_numbers

LABELS = np.random.default_rng(1).integers(0, 10, 2000)


def is_partition(parts: list[np.ndarray], samples: int) -> bool:
    return np.array_equal(np.sort(np.concatenate(parts)), np.arange(samples))


@pytest.mark.parametrize("alpha", [0.1, 1.0, 100.0])
def test_labels_are_split_over_all_clients(alpha: float) -> None:
    parts = by_labels(LABELS, 8, alpha, seed=3, least=5)
    assert is_partition(parts, len(LABELS))
    assert min(map(len, parts)) >= 5
    assert all(
        np.array_equal(one, other) for one, other in zip(parts, by_labels(LABELS, 8, alpha, 3, least=5), strict=True)
    )


def test_a_small_alpha_leaves_clients_few_labels() -> None:
    """Entropy of the labels of a client, in the mean: near log 10 for one distribution."""

    def entropy(alpha: float) -> float:
        found = []
        for part in by_labels(LABELS, 8, alpha, seed=4):
            shares = np.bincount(LABELS[part], minlength=10) / len(part)
            found.append(-np.sum(shares[shares > 0] * np.log(shares[shares > 0])))
        return float(np.mean(found))

    assert entropy(0.1) < 1.5 < 2.2 < entropy(100.0) <= np.log(10)


def test_numbers_are_lognormal_of_one_distribution() -> None:
    parts = by_numbers(5000, 20, 1.0, seed=5, least=10)
    assert is_partition(parts, 5000)
    sizes = sorted(map(len, parts))
    assert sizes[0] >= 10
    assert sizes[-1] > 5 * sizes[0]
    assert {len(part) for part in by_numbers(1000, 10, 0.0, seed=5)} == {100}


def test_groups_are_clients() -> None:
    parts = by_groups(["b", "a", "b", "c"])
    assert {name: part.tolist() for name, part in parts.items()} == {"a": [1], "b": [0, 2], "c": [3]}


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (lambda: by_labels(LABELS, 8, 0.0, 1), "alpha"),
        (lambda: by_labels(LABELS, 8, float("nan"), 1), "alpha"),
        (lambda: by_labels(LABELS[:5], 8, 1.0, 1), "not enough"),
        (lambda: by_labels(LABELS[:90], 30, 0.05, 1, least=3), "no split"),
        (lambda: by_numbers(100, 0, 1.0, 1), "not enough"),
        (lambda: by_numbers(100, 4, -1.0, 1), "spread"),
    ],
)
def test_splits_that_can_not_be_are_refused(split: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        split()
