"""A whole training in one process: clients descend, a round makes the mean, everybody goes on.

The averaging is an argument, so that plain and secure training share every line but that one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import secure_agg.local.aggregate as local
from secure_agg.errors import ConfigError
from secure_agg.fl.algorithms.algorithm import Algorithm, Contribution, State
from secure_agg.fl.algorithms.descent import Array, Floats, Gradient
from secure_agg.fl.fedavg import weighted_mean


@dataclass(frozen=True)
class Client:
    """One client's work in every round.

    Attributes:
        gradient: of its own objective, see ``Gradient``.
        steps: local steps by number of the round.
        weight: number of examples.
    """

    gradient: Gradient
    steps: Callable[[int], int]
    weight: int = 1


@dataclass(frozen=True)
class Mean:
    """What a round lets out.

    Attributes:
        average: of the updates, float64.
        participants: whose updates are in it.
        error_bound: more than a value of it can be off; 0 for a plain mean.
    """

    average: Sequence[npt.NDArray[np.float64]]
    participants: tuple[str, ...]
    error_bound: float = 0.0


Averager = Callable[[int, Mapping[str, list[Array]], Mapping[str, int], State], Mean]
"""``(round, updates by client, weights by client, the state that they are relative to)``."""


def plain_mean(
    _: int, updates: Mapping[str, list[Array]], weights: Mapping[str, int], state: State | None = None
) -> Mean:
    """The weighted mean in float64, without any protection; its marks are 0 where nobody has marked."""
    return Mean(weighted_mean(updates, weights), tuple(sorted(updates)))


def secure_mean(**settings: Any) -> Averager:
    """An averager by ``secure_agg.aggregate`` with these arguments; with ``privacy`` no marks are sent."""
    private = settings.get("privacy") is not None

    def average(_: int, updates: Mapping[str, list[Array]], weights: Mapping[str, int], state: State) -> Mean:
        if private:
            updates = {name: update[: len(state.shared)] for name, update in updates.items()}
        own = None if private else {name: weights[name] for name in updates}
        result = local.aggregate(updates, weights=own, base_model=state.digest, **settings)
        return Mean(result.average, result.participants, result.record.error_bound)

    return average


class Compared:
    """An averager that makes every round's mean both ways, of the very same updates, and goes on with the first.

    Attributes:
        gaps: of each round, by how much a value differs at most.
        shares: the same as a share of the round's ``error_bound``: at most 1, or the round was wrong.
    """

    def __init__(self, secure: Averager) -> None:
        """``secure``: from ``secure_mean``."""
        self._secure = secure
        self.gaps: list[float] = []
        self.shares: list[float] = []

    def __call__(
        self, number: int, updates: Mapping[str, list[Array]], weights: Mapping[str, int], state: State
    ) -> Mean:
        """See ``Averager``. The marks, which are no quantities, are not compared."""
        found = self._secure(number, updates, weights, state)
        exact = plain_mean(number, {name: updates[name] for name in found.participants}, weights)
        pairs = list(zip(found.average, exact.average, strict=True))[:-1]
        self.gaps.append(max(float(np.abs(one - other).max()) for one, other in pairs))
        self.shares.append(self.gaps[-1] / found.error_bound)
        return found


def train(
    algorithm: Algorithm,
    model: Floats,
    clients: Mapping[str, Client],
    rounds: int,
    average: Averager = plain_mean,
    *,
    take_part: Callable[[int], Sequence[str]] | None = None,
    watch: Callable[[State, Mean], None] | None = None,
) -> State:
    """Train.

    Args:
        algorithm: with its settings.
        model: to start from, float32 or float64.
        clients: by id, all N of the federation.
        rounds: how many.
        average: makes the mean of those who take part.
        take_part: ids of a round's clients; everybody's by default.
        watch: called after each round with the new state and the mean it comes from.

    Raises:
        ConfigError: a round without clients, or with unknown ones.
    """
    state = algorithm.begin(model)
    own: dict[str, Floats] = dict.fromkeys(clients, ())
    for number in range(rounds):
        names = list(clients if take_part is None else take_part(number))
        unknown = sorted(set(names) - set(clients))
        if unknown or not names:
            raise ConfigError(f"round {number} is of {names}, with {unknown} unknown")
        done: dict[str, Contribution] = {
            name: algorithm.local(state.shared, own[name], clients[name].gradient, clients[name].steps(number))
            for name in names
        }
        weights = {name: clients[name].weight if algorithm.weighted else 1 for name in names}
        mean = average(number, {name: each.update for name, each in done.items()}, weights, state)
        state = algorithm.advance(state, mean.average, len(mean.participants) / len(clients))
        own |= {name: done[name].own for name in mean.participants}
        if watch is not None:
            watch(state, mean)
    return state
