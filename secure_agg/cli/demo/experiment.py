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

from secure_agg.backends import load as load_backend
from secure_agg.backends.contract import Phase, PhaseKind
from secure_agg.executing import IN_PROCESS, Executor
from secure_agg.fl.datasets import Federation
from secure_agg.fl.fedavg import History, Model, Training, run_centralised, run_federated, weighted_mean
from secure_agg.local.aggregate import Result, aggregate
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.identity import Identity, Roster

CLIP: Final = 1.0
"""Bound of the updates' values: local training below moves no parameter by half as much."""

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


def phases_of(backend: str, clients: Sequence[str]) -> tuple[Phase, ...]:
    """The phases of this federation's rounds, in order."""
    roster = Roster({name: Identity.generate(name).public for name in clients})
    policy = Policy.default(len(roster), backend=backend, clip=CLIP)
    config = RoundConfig.create(task="demo", round=0, policy=policy, cohort=roster, shapes=((1,),))
    return load_backend(backend).phases(config)


def plan_losses(clients: Sequence[str], phases: Sequence[Phase], rounds: int, seed: int) -> dict[int, Loss]:
    """Round to the client it loses: in one round of every two, and at all phases that ask clients in turn.

    One client a round, which is what the default thresholds allow a federation of five to ten to lose.
    """
    draw = np.random.default_rng((seed, rounds))
    names = [phase.name for phase in phases if phase.kind is not PhaseKind.OPEN]
    order = draw.permutation(len(names))
    return {
        min(2 * pair + int(draw.integers(2)), rounds - 1): Loss(
            clients[int(draw.integers(len(clients)))], names[order[pair % len(names)]]
        )
        for pair in range(-(-rounds // 2))
    }


@dataclass(frozen=True)
class SecureRound:
    """One secure round, compared with plain averaging of the same updates.

    Attributes:
        participants: ids of the clients whose updates are in the average.
        difference: largest between the secure and the plain average.
        bound: what the codec documents for it.
        largest: size of the largest value in any update; at most ``CLIP``, or values were clipped.
        stats: of the round, see ``Result.stats``.
        secure_s, plain_s: wall-clock seconds of all parties' work in one process.
    """

    participants: tuple[str, ...]
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
        phases: of each secure round.
        losses: by round.
        rounds: of the secure training.
    """

    federation: Federation
    training: Training
    phases: tuple[Phase, ...]
    losses: Mapping[int, Loss]
    secure: History
    plain: History
    centralised: History
    rounds: tuple[SecureRound, ...]

    @property
    def parameters(self) -> int:
        """Of the model."""
        return sum(array.size for array in self.secure.model)

    def in_average(self, number: int) -> bool:
        """Whether the update of the client that round ``number`` lost is summed all the same: it came in before."""
        return self.losses[number].client in self.rounds[number].participants

    def label(self, phase: str) -> str:
        """A phase's name for people: the input is called after masks in all backends, and hidden by encryption in
        those with key holders.
        """
        kinds = {item.name: item.kind for item in self.phases}
        encrypted = kinds.get(phase) is PhaseKind.INPUT and PhaseKind.OPEN in kinds.values()
        return "encrypted-input" if encrypted else phase

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
    norm_bound: float | None = None,
    executor: Executor = IN_PROCESS,
) -> Result:
    """One secure round of the demo, appended to its ledger."""
    dropouts = {loss.client: loss.phase} if loss else {}
    return aggregate(
        updates,
        weights=weights,
        backend=backend,
        ledger=ledger,
        dropouts=dropouts,
        clip=CLIP,
        norm_bound=norm_bound,
        task=task,
        executor=executor,
    )


def run(
    federation: Federation,
    training: Training,
    backend: str,
    ledger: Path,
    watch: Watch | None = None,
    norm_bound: float | None = None,
    executor: Executor = IN_PROCESS,
) -> Experiment:
    """Train three times; every round of the secure training goes into ``ledger`` under the data set's name, with this
    bound of updates' norms if there is one.

    Raises:
        SecureAggError: a round was refused or aborted.
    """
    clients = tuple(federation.clients)
    phases = phases_of(backend, clients)
    losses = plan_losses(clients, phases, training.rounds, training.seed)
    rounds: list[SecureRound] = []

    def secure(number: int, updates: Mapping[str, Model], weights: Mapping[str, int]) -> list[npt.NDArray[np.float64]]:
        started = time.perf_counter()
        loss = losses.get(number)
        result = secure_average(ledger, federation.name, backend, updates, weights, loss, norm_bound, executor)
        secured = time.perf_counter()
        reference = weighted_mean({name: updates[name] for name in result.participants}, weights)
        averaged = time.perf_counter()
        rounds.append(
            SecureRound(
                participants=result.participants,
                difference=max(
                    float(np.abs(ours - theirs).max()) for ours, theirs in zip(result.average, reference, strict=True)
                ),
                bound=result.record.error_bound,
                largest=max(float(np.abs(array).max()) for update in updates.values() for array in update),
                stats=result.stats,
                secure_s=secured - started,
                plain_s=averaged - secured,
            )
        )
        return result.average

    def plain(number: int, updates: Mapping[str, Model], weights: Mapping[str, int]) -> list[npt.NDArray[np.float64]]:
        """Plain FedAvg loses the same clients, or the curves would differ by the data that went in."""
        return weighted_mean({name: updates[name] for name in rounds[number].participants}, weights)

    def seen(name: str) -> Callable[[int, float], None] | None:
        return (lambda done, accuracy: watch(name, done, accuracy)) if watch else None

    secured = run_federated(federation, training, secure, seen("secure"))
    return Experiment(
        federation=federation,
        training=training,
        phases=phases,
        losses=losses,
        secure=secured,
        plain=run_federated(federation, training, plain, seen("plain")),
        centralised=run_centralised(federation, training, seen("centralised")),
        rounds=tuple(rounds),
    )
