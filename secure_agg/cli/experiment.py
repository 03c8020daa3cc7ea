"""What ``demo`` measures: the same federated training with secure and with plain averaging, and with the
data in one place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.codec import FixedPoint
from secure_agg.fl.datasets import Federation
from secure_agg.fl.fedavg import History, Model, Training, run_centralised, run_federated, weighted_mean
from secure_agg.rounds import PHASES, Result, aggregate

CLIP: Final = 1.0
"""Bound of the updates' values: local training below moves no parameter by half as much."""

FALLS_SILENT: Final = tuple(phase for phase in PHASES if phase != "choose-peers")
"""Phases at which the demo loses a client: those of a cohort that is small enough for a complete graph."""

_TRAININGS: Final[Mapping[str, dict[str, Any]]] = {
    "breast-cancer": {"epochs": 2, "batch": 16, "rate": 0.02, "hidden": 16},
    "digits": {"epochs": 5, "batch": 16, "rate": 0.05, "hidden": 64},
}

Watch = Callable[[str, int, float], None]
"""Called with (``secure``, ``plain`` or ``centralised``, rounds done, accuracy)."""


@dataclass(frozen=True)
class Loss:
    """A client that falls silent in a round, from a phase on."""

    client: str
    phase: str

    @property
    def in_average(self) -> bool:
        """Whether its update is summed all the same: it was handed in before the client was lost."""
        return PHASES.index(self.phase) >= PHASES.index("consistency")


def plan_losses(clients: Sequence[str], rounds: int, seed: int) -> dict[int, Loss]:
    """Round to the client it loses: in one round of every two, and at all phases in turn.

    One client a round, which is what the default thresholds allow a federation of five to ten to lose.
    """
    draw = np.random.default_rng((seed, rounds))
    phases = draw.permutation(len(FALLS_SILENT))
    return {
        min(2 * pair + int(draw.integers(2)), rounds - 1): Loss(
            clients[int(draw.integers(len(clients)))], FALLS_SILENT[phases[pair % len(phases)]]
        )
        for pair in range(-(-rounds // 2))
    }


@dataclass(frozen=True)
class SecureRound:
    """One secure round, compared with plain averaging of the same updates.

    Attributes:
        difference: largest between the secure and the plain average.
        bound: what the codec documents for it.
        largest: size of the largest value in any update; at most ``CLIP``, or values were clipped.
        stats: of the round, see ``Result.stats``.
        secure_s, plain_s: wall-clock seconds of all parties' work in one process.
    """

    difference: float
    bound: float
    largest: float
    stats: Mapping[str, float]
    secure_s: float
    plain_s: float


@dataclass(frozen=True)
class Experiment:
    """Three finished trainings from the same seeds.

    Attributes:
        losses: by round.
        rounds: of the secure training.
    """

    federation: Federation
    training: Training
    losses: Mapping[int, Loss]
    secure: History
    plain: History
    centralised: History
    rounds: tuple[SecureRound, ...]

    @property
    def parameters(self) -> int:
        """Of the model."""
        return sum(array.size for array in self.secure.model)

    def typical(self, name: str) -> float:
        """The median of a figure over the rounds: the first one compiles, which is no cost of a round."""
        values = [item.stats[name] for item in self.rounds if name in item.stats]
        return median(values) if values else 0.0


def training_for(dataset: str, rounds: int, seed: int) -> Training:
    """The demo's settings for a data set."""
    return Training(rounds=rounds, seed=seed, **_TRAININGS[dataset])


def secure_average(
    ledger: Path,
    task: str,
    backend: str,
    updates: Mapping[str, Model],
    weights: Mapping[str, int],
    loss: Loss | None,
) -> Result:
    """One secure round of the demo, appended to its ledger."""
    dropouts = {loss.client: loss.phase} if loss else {}
    return aggregate(updates, weights=weights, backend=backend, ledger=ledger, dropouts=dropouts, clip=CLIP, task=task)


def run(
    federation: Federation, training: Training, backend: str, ledger: Path, watch: Watch | None = None
) -> Experiment:
    """Train three times; every round of the secure training goes into ``ledger`` under the data set's name.

    Raises:
        SecureAggError: a round was refused or aborted.
    """
    losses = plan_losses(tuple(federation.clients), training.rounds, training.seed)
    rounds: list[SecureRound] = []

    def plain(number: int, updates: Mapping[str, Model], weights: Mapping[str, int]) -> list[npt.NDArray[np.float64]]:
        """Plain FedAvg loses the same clients, or the curves would differ by the data that went in."""
        loss = losses.get(number)
        lost = loss.client if loss and not loss.in_average else None
        return weighted_mean({name: update for name, update in updates.items() if name != lost}, weights)

    def secure(number: int, updates: Mapping[str, Model], weights: Mapping[str, int]) -> list[npt.NDArray[np.float64]]:
        started = time.perf_counter()
        result = secure_average(ledger, federation.name, backend, updates, weights, losses.get(number))
        secured = time.perf_counter()
        reference = weighted_mean({name: updates[name] for name in result.participants}, weights)
        averaged = time.perf_counter()
        rounds.append(
            SecureRound(
                difference=max(
                    float(np.abs(ours - theirs).max()) for ours, theirs in zip(result.average, reference, strict=True)
                ),
                bound=FixedPoint(result.evidence.config.policy).error_bound(
                    len(result.participants), result.record.weight_sum
                ),
                largest=max(float(np.abs(array).max()) for update in updates.values() for array in update),
                stats=result.stats,
                secure_s=secured - started,
                plain_s=averaged - secured,
            )
        )
        return result.average

    def seen(name: str) -> Callable[[int, float], None] | None:
        return (lambda done, accuracy: watch(name, done, accuracy)) if watch else None

    return Experiment(
        federation=federation,
        training=training,
        losses=losses,
        secure=run_federated(federation, training, secure, seen("secure")),
        plain=run_federated(federation, training, plain, seen("plain")),
        centralised=run_centralised(federation, training, seen("centralised")),
        rounds=tuple(rounds),
    )
