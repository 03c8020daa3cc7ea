"""What ``demo --poison`` measures: one client sends poison, and functions that see no update in clear keep it out.

The same training runs several times from the same seeds, every client with the same weight: a trimmed mean and a median
know no weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.backends.crypten import rules
from secure_agg.backends.crypten.engine import loader
from secure_agg.cli.demo.experiment import CLIP
from secure_agg.errors import ConfigError
from secure_agg.fl.datasets import Federation
from secure_agg.fl.fedavg import History, Model, Training, run_federated, weighted_mean
from secure_agg.ledger.audit import AuditReport
from secure_agg.ledger.log import Ledger
from secure_agg.local.aggregate import Result, aggregate
from secure_agg.protocol.config import Policy

BACKEND: Final = "crypten"
BOOST: Final = 20
"""The poisoned client sends its own update this many times as large, and backwards."""
PILOT_ROUNDS: Final = 2
"""Rounds of honest training whose largest norm the bound is taken from."""
MARGIN: Final = 1.5
"""The bound, in such norms."""

HONEST: Final = "honest"
PLAIN: Final = "plain"
NORM: Final = "norm-bound"
TRIMMED: Final = "trimmed-mean"
MEDIAN: Final = "median"
HIDDEN: Final = "norm-bound-hidden"

TITLES: Final[Mapping[str, str]] = {
    HONEST: "nobody poisons, plain mean",
    PLAIN: "poisoned, plain mean",
    NORM: "poisoned, norm bound",
    TRIMMED: "poisoned, trimmed mean",
    MEDIAN: "poisoned, median",
    HIDDEN: "poison just within the norm bound",
}
"""The trainings, in their order."""
SECURE: Final = (NORM, TRIMMED, MEDIAN, HIDDEN)
"""Those under multi-party computation; their names are their tasks' in the ledger."""

Watch = Callable[[str, int, float], None]
"""Called with (training, rounds done, accuracy)."""


@dataclass(frozen=True)
class PoisonedRound:
    """One secure round.

    Attributes:
        participants: ids of the clients whose updates the result is made of.
        rejected: ids of those who took part and were refused, which is public.
        claim: what the ledger's record claims: ``sum`` or ``attested``.
        poison: norm of the poisoned update.
        largest: norm of the largest honest update, as trained.
        scaled: ids of honest clients who scaled their update down to the norm bound.
        difference: largest between the result and the same function of the same updates in clear.
        error_bound: what the codec documents for it.
    """

    participants: tuple[str, ...]
    rejected: tuple[str, ...]
    claim: str
    poison: float
    largest: float
    scaled: tuple[str, ...]
    difference: float
    error_bound: float


@dataclass(frozen=True)
class Poisoning:
    """Finished trainings from the same seeds.

    Attributes:
        attacker: id of the client that sends poison.
        pilot: norm of the largest update in the first ``pilot_rounds`` rounds of honest training.
        pilot_rounds: how many these are.
        bound: largest norm that is accepted.
        trim: values that the trimmed mean drops at each end.
        histories: by training.
        rounds: of the secure trainings.
        audited: what an audit of the ledger from scratch found.
    """

    federation: Federation
    training: Training
    attacker: str
    pilot: float
    pilot_rounds: int
    bound: float
    trim: int
    histories: Mapping[str, History]
    rounds: Mapping[str, tuple[PoisonedRound, ...]]
    audited: AuditReport

    @property
    def parameters(self) -> int:
        """Of the model."""
        return sum(array.size for array in self.histories[HONEST].model)


def require() -> None:
    """Refuse to start where what computes these functions is missing; imports nothing.

    Raises:
        ConfigError: names what is missing.
    """
    loader.require()


def is_there() -> bool:
    """Whether what computes these functions is installed; imports nothing."""
    try:
        require()
    except ConfigError:
        return False
    return True


def norm(update: Sequence[npt.NDArray[Any]]) -> float:
    """The L2 norm over all arrays."""
    return math.sqrt(sum(float(np.square(array, dtype=np.float64).sum()) for array in update))


def poison(update: Model) -> Model:
    """Backwards, and ``BOOST`` times as far; clipped, so that every value is one that an honest client may send."""
    return [np.clip(np.float32(-BOOST) * array, np.float32(-CLIP), np.float32(CLIP)) for array in update]


def scaled_to(update: Model, limit: float) -> Model:
    """The update with this norm."""
    factor = np.float32(limit / (norm(update) or 1.0))
    return [factor * array for array in update]


def slack(parameters: int) -> float:
    """What encoding may add to an update's norm: a step of the codec in each coordinate."""
    return math.sqrt(parameters) * Policy.default(3, backend=BACKEND, clip=CLIP).step


class Trainings:
    """Runs them; what all have in common."""

    def __init__(self, federation: Federation, training: Training, ledger: Path, watch: Watch | None) -> None:
        self._federation, self._training, self._ledger, self._watch = federation, training, ledger, watch
        clients = tuple(federation.clients)
        self.attacker = clients[int(np.random.default_rng(training.seed).integers(len(clients)))]
        self.trim = len(clients) // 5
        self.min_clients = max(3, 2 * self.trim + 1)
        self.bound = 0.0

    def _run(self, name: str, average: Callable[[int, Mapping[str, Model]], Sequence[npt.NDArray[Any]]]) -> History:
        watch = self._watch
        return run_federated(
            self._federation,
            self._training,
            lambda number, updates, _: average(number, updates),
            (lambda done, accuracy: watch(name, done, accuracy)) if watch else None,
        )

    def honest(self) -> tuple[History, list[float]]:
        """Without poison; and the largest norm of each round."""
        norms: list[float] = []

        def average(number: int, updates: Mapping[str, Model]) -> list[npt.NDArray[np.float64]]:
            norms.append(max(map(norm, updates.values())))
            return _mean(updates)

        return self._run(HONEST, average), norms

    def plain(self) -> History:
        """With poison and no defence: what a plain server does, and every backend that only sums."""
        return self._run(PLAIN, lambda _, updates: _mean({**updates, self.attacker: poison(updates[self.attacker])}))

    def secure(self, name: str) -> tuple[History, tuple[PoisonedRound, ...]]:
        """With poison, under multi-party computation."""
        rounds: list[PoisonedRound] = []

        def average(_: int, updates: Mapping[str, Model]) -> list[npt.NDArray[np.float64]]:
            average, found = self._round(name, updates)
            rounds.append(found)
            return average

        return self._run(name, average), tuple(rounds)

    def _round(self, name: str, trained: Mapping[str, Model]) -> tuple[list[npt.NDArray[np.float64]], PoisonedRound]:
        largest = max(norm(update) for client, update in trained.items() if client != self.attacker)
        limit = self.bound - slack(sum(array.size for array in trained[self.attacker]))
        scaled: tuple[str, ...] = ()
        sent = dict(trained)
        if name in (NORM, HIDDEN):
            # The bound is public: an honest client above it would be refused as a whole, so it gives way.
            scaled = tuple(c for c, update in trained.items() if c != self.attacker and norm(update) > limit)
            sent |= {client: scaled_to(trained[client], limit) for client in scaled}
        spoilt = poison(trained[self.attacker])
        sent[self.attacker] = scaled_to(spoilt, limit) if name == HIDDEN else spoilt
        result = aggregate(
            sent,
            backend=BACKEND,
            options=self._options(name),
            ledger=self._ledger,
            clip=CLIP,
            min_clients=self.min_clients,
            task=name,
        )
        reference = self._reference(name, sent, result)
        return result.average, PoisonedRound(
            participants=result.participants,
            rejected=tuple(client for client in sent if client not in result.participants),
            claim=result.record.claim,
            poison=norm(sent[self.attacker]),
            largest=largest,
            scaled=scaled,
            difference=max(
                float(np.abs(ours - theirs).max()) for ours, theirs in zip(result.average, reference, strict=True)
            ),
            error_bound=result.record.error_bound,
        )

    def _options(self, name: str) -> dict[str, int]:
        if name == TRIMMED:
            return {rules.FUNCTION: rules.TRIMMED_MEAN, rules.TRIM: self.trim}
        if name == MEDIAN:
            return {rules.FUNCTION: rules.MEDIAN}
        return {rules.NORM_BOUND: round(1000 * self.bound)}

    def _reference(self, name: str, sent: Mapping[str, Model], result: Result) -> list[npt.NDArray[np.float64]]:
        """The same function of the participants' updates, in clear."""
        chosen = {client: sent[client] for client in result.participants}
        if name in (NORM, HIDDEN):
            return _mean(chosen)
        cut = self.trim if name == TRIMMED else (len(chosen) - 1) // 2
        stacked = (
            np.sort(np.stack(arrays).astype(np.float64), axis=0) for arrays in zip(*chosen.values(), strict=True)
        )
        return [ordered[cut : len(chosen) - cut].mean(axis=0) for ordered in stacked]


def _mean(updates: Mapping[str, Model]) -> list[npt.NDArray[np.float64]]:
    return weighted_mean(updates, dict.fromkeys(updates, 1))


def run(federation: Federation, training: Training, ledger: Path, watch: Watch | None = None) -> Poisoning:
    """All trainings; every round of the secure ones goes into ``ledger``, each training a task of its own.

    Raises:
        ConfigError: CrypTen is not installed.
        SecureAggError: a round was refused or aborted.
    """
    trainings = Trainings(federation, training, ledger, watch)
    histories, rounds = {}, {}
    histories[HONEST], norms = trainings.honest()
    pilot = max(norms[:PILOT_ROUNDS])
    trainings.bound = math.ceil(1000 * MARGIN * pilot) / 1000  # as the policy states it
    histories[PLAIN] = trainings.plain()
    for name in SECURE:
        histories[name], rounds[name] = trainings.secure(name)
    with Ledger(ledger, read_only=True) as log:
        audited = log.audit()
    return Poisoning(
        federation=federation,
        training=training,
        attacker=trainings.attacker,
        pilot=pilot,
        pilot_rounds=min(PILOT_ROUNDS, len(norms)),
        bound=trainings.bound,
        trim=trainings.trim,
        histories=histories,
        rounds=rounds,
        audited=audited,
    )
