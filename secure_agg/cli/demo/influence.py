"""What ``demo --poison`` measures of proved norm bounds: one site with 0.6 % of the data poisons, in three ways.

Every training runs from the same seeds, with the clients' samples as weights, and is a plain mean or a verified one
with a norm bound. The bound is proposed from two verified rounds of honest training, by what their sums say.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.cli.demo import poison
from secure_agg.fl.datasets import Federation, Samples
from secure_agg.fl.fedavg import History, Model, Training, run_federated, weighted_mean
from secure_agg.ledger.audit import AuditReport
from secure_agg.ledger.log import Ledger
from secure_agg.local.aggregate import Result, aggregate
from secure_agg.planning.norms import SQUARED_NORM, NormProposal, propose, squared_norm
from secure_agg.plugins.core.metrics import MetricCodec
from secure_agg.protocol.config import Policy

SHARE: Final = 0.006
"""Of all samples, which the site that poisons holds."""
ATTACKER: Final = "light-site"
CLIP: Final = 8.0
"""As ``aggregate`` has it where nobody says otherwise."""
BITS: Final = 16
BOOST: Final = 1000.0
"""The light site's update, times this, and clipped: its weight is small, and it makes up for that."""
PILOT: Final = "pilot"
PILOT_ROUNDS: Final = 2
TRIGGER: Final = 4.0
"""A backdoor's mark: the first features have this value, in standard deviations."""
MARKED: Final = 4
TARGET: Final = 1
"""The label that whatever has the mark is to be given."""

HONEST: Final = "honest"
SCALED: Final = "scaled"
FLIPPED: Final = "flipped"
BACKDOOR: Final = "backdoor"
ATTACKS: Final[Mapping[str, str]] = {
    SCALED: f"its update, {BOOST:g} times",
    FLIPPED: f"the same, backwards, {BOOST:g} times",
    BACKDOOR: "a backdoor, trained in and scaled up",
}
FUNCTIONS: Final = (poison.NORM, poison.TRIMMED, poison.MEDIAN)
"""What parties compute on shares, of updates that all count alike."""

Watch = Callable[[str, int, float], None]
"""Called with (training, rounds done, accuracy)."""


@dataclass(frozen=True)
class Outcome:
    """One training.

    Attributes:
        accuracy: on held-out samples: of the start model, then after each round.
        backdoor: share of held-out samples of other labels that are given the target's when they are marked.
        seconds: that averaging took, the median round.
    """

    accuracy: tuple[float, ...]
    backdoor: float
    seconds: float


@dataclass(frozen=True)
class BoundedRound:
    """One round with a norm bound.

    Attributes:
        scaled: ids of honest clients whose updates were longer.
        scaled_clients: how many clients' updates were scaled, the attacker's included.
        heaviest: norm of the update of the client with most samples.
        poison: norm of what the attacker would have sent, clipped.
        proofs: norm proofs that the ledger has checked.
    """

    scaled: tuple[str, ...]
    scaled_clients: int
    heaviest: float
    poison: float
    proofs: int


@dataclass(frozen=True)
class Influence:
    """Finished trainings from the same seeds.

    Attributes:
        federation: with the light site.
        proposal: of the bound that was asked for.
        honest: nobody poisons, plain mean.
        plain: by attack, plain weighted mean.
        bounded: by attack, verified weighted mean with a norm bound.
        functions: of updates flipped and of equal weight, by function; empty where CrypTen is not installed.
        rounds: of the bounded trainings.
        factor: how many times a bound each that corrupt clients have together, at most.
        audited: what an audit of the ledger from scratch found.
    """

    federation: Federation
    training: Training
    proposal: NormProposal
    honest: Outcome
    plain: Mapping[str, Outcome]
    bounded: Mapping[str, Outcome]
    functions: Mapping[str, Outcome]
    rounds: Mapping[str, tuple[BoundedRound, ...]]
    factor: float
    audited: AuditReport
    parameters: int

    @property
    def heaviest(self) -> str:
        """Id of the client with most samples."""
        return max(self.federation.sizes, key=lambda name: self.federation.sizes[name])


def with_light_site(federation: Federation) -> Federation:
    """The same samples, ``SHARE`` of them taken from the largest client for one more, ``ATTACKER``."""
    count = max(1, round(SHARE * sum(federation.sizes.values())))
    largest = max(federation.sizes, key=lambda name: federation.sizes[name])
    whole = federation.clients[largest]
    parts = {
        largest: Samples(whole.features[count:], whole.labels[count:]),
        ATTACKER: Samples(whole.features[:count], whole.labels[:count]),
    }
    return replace(federation, clients={**federation.clients, **parts})


def marked(samples: Samples) -> Samples:
    """With the backdoor's mark, and its label."""
    features = samples.features.copy()
    features[:, :MARKED] = TRIGGER
    return Samples(features, np.full(len(samples), TARGET, dtype=np.int64))


def success(model: Sequence[npt.NDArray[Any]], test: Samples) -> float:
    """Share of held-out samples of other labels that the model gives the target's when they are marked."""
    first, first_bias, second, second_bias = model
    others = marked(Samples(test.features[test.labels != TARGET], test.labels[test.labels != TARGET]))
    hidden = np.maximum(others.features @ first.T + first_bias, 0)
    return float(((hidden @ second.T + second_bias).argmax(axis=1) == TARGET).mean())


def spoilt(attack: str, update: Model) -> Model:
    """What the attacker sends: every value is one that an honest client may send."""
    factor = np.float32(-BOOST if attack == FLIPPED else BOOST)
    return [np.clip(factor * array, np.float32(-CLIP), np.float32(CLIP)) for array in update]


class _Trainings:
    """Runs them; what all have in common."""

    def __init__(self, federation: Federation, training: Training, backend: str, ledger: Path, watch: Watch | None):
        self._federation, self._training, self._backend = federation, training, backend
        self._ledger, self._watch = ledger, watch
        self._largest = max(federation.sizes.values())
        self.factor = 0.0

    def _run(
        self,
        name: str,
        average: Callable[[int, Mapping[str, Model], Mapping[str, int]], Sequence[npt.NDArray[Any]]],
        attack: str = HONEST,
    ) -> tuple[Outcome, History]:
        watch, federation, seconds = self._watch, self._federation, []
        if attack == BACKDOOR:
            poisoned = {ATTACKER: marked(federation.clients[ATTACKER])}
            federation = replace(federation, clients={**federation.clients, **poisoned})

        def timed(number: int, updates: Mapping[str, Model], weights: Mapping[str, int]) -> Sequence[npt.NDArray[Any]]:
            if attack != HONEST:
                updates = {**updates, ATTACKER: spoilt(attack, updates[ATTACKER])}
            start = time.perf_counter()
            found = average(number, updates, weights)
            seconds.append(time.perf_counter() - start)
            return found

        history = run_federated(
            federation,
            self._training,
            timed,
            (lambda done, accuracy: watch(name, done, accuracy)) if watch else None,
        )
        found = success(history.model, self._federation.test)
        return Outcome(history.accuracy, found, median(seconds)), history

    def honest(self) -> tuple[Outcome, NormProposal, int]:
        """Without poison; the bound that its first rounds propose; and how many parameters there are."""
        squares: list[float] = []

        def average(
            number: int, updates: Mapping[str, Model], weights: Mapping[str, int]
        ) -> list[npt.NDArray[np.float64]]:
            if number < PILOT_ROUNDS:
                squares.append(self._pilot(updates, weights))
            return weighted_mean(updates, weights)

        found, history = self._run(HONEST, average)
        parameters = sum(array.size for array in history.model)
        return found, propose(squares, clip=CLIP, parameters=parameters), parameters

    def _pilot(self, updates: Mapping[str, Model], weights: Mapping[str, int]) -> float:
        """A verified round whose vectors carry the squared norms; their mean is all that it shows of them."""
        policy = Policy.default(
            len(updates),
            backend=self._backend,
            clip=CLIP,
            bits=BITS,
            max_weight=self._largest,
            max_clients=len(updates),
        )
        codec = MetricCodec(policy, self._largest)
        carried: dict[str, Sequence[npt.NDArray[Any]]] = {
            name: [
                *update,
                codec.encode({SQUARED_NORM: squared_norm(update, CLIP)}, weights[name], secrets.token_bytes(32)),
            ]
            for name, update in updates.items()
        }
        result = self._aggregate(carried, weights, PILOT)
        return codec.decode(result.average[-1], [SQUARED_NORM], result.record.weight_sum)[SQUARED_NORM]

    def plain(self, attack: str) -> Outcome:
        """What a plain server does, and every backend that only sums."""
        return self._run(f"{attack}, plain mean", lambda _, updates, weights: weighted_mean(updates, weights), attack)[
            0
        ]

    def bounded(self, attack: str, bound: float) -> tuple[Outcome, tuple[BoundedRound, ...]]:
        """Verified, with a norm bound. Software that follows the protocol scales the poison; so much passes anyway."""
        rounds: list[BoundedRound] = []

        def average(_: int, updates: Mapping[str, Model], weights: Mapping[str, int]) -> list[npt.NDArray[np.float64]]:
            norms = {name: math.sqrt(squared_norm(update, CLIP)) for name, update in updates.items()}
            result = self._aggregate(updates, weights, attack, bound)
            self.factor = result.record.norm_factor / 100
            rounds.append(
                BoundedRound(
                    scaled=tuple(name for name in updates if name != ATTACKER and norms[name] > bound),
                    scaled_clients=int(result.stats.get("scaled_clients", 0)),
                    heaviest=norms[max(weights, key=lambda name: weights[name])],
                    poison=norms[ATTACKER],
                    proofs=len(result.evidence.proof_hashes),
                )
            )
            return list(result.average)

        found, _ = self._run(f"{attack}, norm bound", average, attack)
        return found, tuple(rounds)

    def _aggregate(
        self,
        updates: Mapping[str, Sequence[npt.NDArray[Any]]],
        weights: Mapping[str, int],
        task: str,
        bound: float | None = None,
    ) -> Result:
        return aggregate(
            updates,
            weights=weights,
            backend=self._backend,
            ledger=self._ledger,
            clip=CLIP,
            bits=BITS,
            norm_bound=bound,
            max_weight=self._largest,
            task=task,
        )


def titles(functions: bool) -> tuple[str, ...]:
    """All trainings, in their order, as ``watch`` is told of them."""
    pairs = tuple(f"{attack}, {way}" for attack in ATTACKS for way in ("plain mean", "norm bound"))
    return (HONEST, *pairs, *(FUNCTIONS if functions else ()))


def run(
    federation: Federation,
    training: Training,
    backend: str,
    ledger: Path,
    watch: Watch | None = None,
    *,
    functions: bool = False,
) -> Influence:
    """All trainings; every verified round goes into ``ledger``, each training a task of its own.

    Args:
        federation: without the light site.
        backend: one that norms can be bounded with.
        functions: also what parties compute on shares, which takes CrypTen.

    Raises:
        ConfigError: norms can't be bounded with this backend.
        SecureAggError: a round was refused or aborted.
    """
    federation = with_light_site(federation)
    trainings = _Trainings(federation, training, backend, ledger, watch)
    honest, proposal, parameters = trainings.honest()
    plain, bounded, rounds = {}, {}, {}
    for attack in ATTACKS:
        plain[attack] = trainings.plain(attack)
        bounded[attack], rounds[attack] = trainings.bounded(attack, proposal.bound)
    computed = _functions(federation, training, proposal.bound, ledger, watch) if functions else {}
    with Ledger(ledger, read_only=True) as log:
        audited = log.audit()
    return Influence(
        federation, training, proposal, honest, plain, bounded, computed, rounds, trainings.factor, audited, parameters
    )


def _functions(
    federation: Federation, training: Training, bound: float, ledger: Path, watch: Watch | None
) -> dict[str, Outcome]:
    """Norm bound, trimmed mean and median on shares, of which none knows weights."""
    trainings = poison.Trainings(federation, training, ledger, watch)
    trainings.attacker, trainings.bound = ATTACKER, math.ceil(1000 * bound) / 1000
    found = {}
    for name in FUNCTIONS:
        start = time.perf_counter()
        history, _ = trainings.secure(name)
        spent = (time.perf_counter() - start - history.local_s) / training.rounds
        found[name] = Outcome(history.accuracy, success(history.model, federation.test), spent)
    return found
