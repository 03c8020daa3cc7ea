"""Samples split over clients as they lie in federations: skewed in labels, in numbers, or as they come.

Every split is a partition: each sample is with one client. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.errors import ConfigError

MOST_DRAWS: Final = 1000
"""Splits that are drawn until every client has the least that it should."""

Places = npt.NDArray[np.int64]


def by_labels(labels: npt.NDArray[Any], clients: int, alpha: float, seed: int, *, least: int = 1) -> list[Places]:
    """Label-skewed: of every label the clients' shares are drawn from Dirichlet(α, …, α).

    Hsu et al. 2019 (arXiv:1909.06335) draw each client's mixture of labels, Yurochkin et al. 2019 (arXiv:1905.12022)
    each label's mixture of clients; this is the second, which leaves no sample over. Small α: few labels per client.

    Args:
        labels: (samples,) of anything that can be sorted.
        clients: how many.
        alpha: above 0.
        seed: of the split.
        least: samples of every client, at least.

    Returns:
        The places of each client's samples, int64, sorted.

    Raises:
        ConfigError: a number is out of range, or no split was drawn in which every client has ``least``.
    """
    _check(labels, clients, least)
    if not alpha > 0:
        raise ConfigError(f"alpha is {alpha!r}, not above 0")
    rng = np.random.default_rng(seed)
    for _ in range(MOST_DRAWS):
        parts: list[list[Places]] = [[] for _ in range(clients)]
        for label in np.unique(labels):
            places = rng.permutation(np.flatnonzero(labels == label))
            cuts = np.round(np.cumsum(rng.dirichlet(np.full(clients, alpha)))[:-1] * len(places)).astype(np.int64)
            for part, own in zip(parts, np.split(places, cuts), strict=True):
                part.append(own)
        split = [np.sort(np.concatenate(part)) for part in parts]
        if min(map(len, split)) >= least:
            return split
    raise ConfigError(f"{MOST_DRAWS} draws gave no split with {least} samples for each of {clients} clients")


def by_numbers(samples: int, clients: int, spread: float, seed: int, *, least: int = 1) -> list[Places]:
    """Quantity-skewed: of one distribution, in numbers that are lognormal with this spread.

    Args:
        samples: in all.
        clients: how many.
        spread: standard deviation of the numbers' logarithm, at least 0; 0 for equal numbers.
        seed: of the split.
        least: samples of every client, at least.

    Returns:
        See ``by_labels``.

    Raises:
        ConfigError: a number is out of range, or there are too few samples.
    """
    _check(np.empty(samples, np.int8), clients, least)
    if not 0 <= spread < np.inf:
        raise ConfigError(f"spread is {spread!r}, not a number of at least 0")
    rng = np.random.default_rng(seed)
    sizes = rng.lognormal(0.0, spread, clients)
    cuts = least * np.arange(1, clients) + np.round(
        np.cumsum(sizes / sizes.sum())[:-1] * (samples - least * clients)
    ).astype(np.int64)
    return [np.sort(part) for part in np.split(rng.permutation(samples), cuts)]


def by_groups(groups: npt.NDArray[Any] | Sequence[Any]) -> dict[str, Places]:
    """As they come: one client for every group, by the group's name.

    Args:
        groups: (samples,), whom each sample belongs to.

    Returns:
        The places of each client's samples, int64, sorted.
    """
    array = np.asarray(groups).astype(str)
    return {str(name): np.flatnonzero(array == name) for name in np.unique(array)}


def _check(labels: npt.NDArray[Any], clients: int, least: int) -> None:
    if clients < 1 or least < 0 or len(labels) < clients * max(least, 1):
        raise ConfigError(f"{len(labels)} samples are not enough for {clients} clients with {least} each")
