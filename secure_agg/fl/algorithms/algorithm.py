"""What every algorithm is: a client's half and everybody's half.

A client's half is ``correction`` (what is added to its gradients) and ``finish`` (what it sends, and what it keeps for
itself), with a training loop of the caller's in between, or ``local``, which descends by itself. Everybody's half is
``advance``: a pinned ``ServerOptimizer`` on the verified mean, in float64 and rounded once by ``layers.apply``, so all
who compute it have the same bits.

A client that is not in the result keeps what it had: its ``Contribution.own`` counts only where it is a participant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from secure_agg.arguments import checked_class
from secure_agg.errors import UpdateError
from secure_agg.fl.algorithms.descent import Array, Descent, Floats, Gradient
from secure_agg.fl.layers import apply, sign_slots, signs
from secure_agg.fl.server_optimizers import BEGUN, Moments, ServerOptimizer
from secure_agg.protocol.codec import model_digest

BESIDE: Final = "secure-agg."
"""Begins the name of an array that rides beside a model's own."""


@checked_class
@dataclass(frozen=True, eq=False)  # arrays have no truth value
class State:
    """Where a training has come to: the same bits for everybody.

    Attributes:
        shared: the model's arrays, and what rides beside them; float16, float32 or float64.
        moments: of the server optimizer.
        rounds: results that it has come from.
    """

    shared: Floats
    moments: Moments = BEGUN
    rounds: int = 0

    @property
    def digest(self) -> bytes:
        """Of the shared arrays: the ``base_model`` of the next round's call of ``aggregate``."""
        return model_digest(self.shared)


@checked_class
@dataclass(frozen=True, eq=False)
class Contribution:
    """What a client's training has come to.

    Attributes:
        steps: how the shared arrays should move, float32 or float64, of their shapes.
        marks: which of them became negative, see ``layers.signs``, (number of arrays,) float32.
        own: what the client keeps for its next round if the result of this one contains it; empty for most.
    """

    steps: Floats
    marks: npt.NDArray[np.float32]
    own: Floats = ()

    @property
    def update(self) -> list[Array]:
        """What is given to ``secure_agg.aggregate``: the steps, and the marks as a last array."""
        return [*self.steps, self.marks]

    def moved(self, shared: Floats) -> list[Array]:
        """The shared arrays as this client would have them, in their types: what a framework's app replies with."""
        return [(array + step).astype(array.dtype) for array, step in zip(shared, self.steps, strict=True)]


class Algorithm(ABC):
    """An algorithm and its settings, the same at all clients.

    Attributes:
        descent: how clients descend.
        server: what everybody makes of the mean; in a framework what homes pin as ``--server-optimizer``.
        weighted: whether clients count by their number of examples; else everybody's weight has to be 1.
    """

    descent: Descent
    server: ServerOptimizer
    weighted: bool

    @abstractmethod
    def begin(self, model: Floats) -> State:
        """Before the first round.

        Args:
            model: float32 or float64 arrays.
        """

    @abstractmethod
    def model(self, shared: Floats) -> list[Array]:
        """The model among the shared arrays.

        Raises:
            UpdateError: they are not this algorithm's.
        """

    def correction(self, shared: Floats, own: Floats = ()) -> list[Array] | None:
        """What this client adds to each gradient, but for FedProx's term, which follows from ``descent.mu``; None for
        nothing.

        Args:
            shared: of the round.
            own: what the client has kept, empty before its first counted round.
        """
        return None

    @abstractmethod
    def finish(self, shared: Floats, own: Floats, trained: Floats, steps: int) -> Contribution:
        """What a client sends of a training that is over.

        Args:
            shared: that it has trained from.
            own: with which it has corrected.
            trained: its model now, of the shapes and types of the model among ``shared``.
            steps: local steps that it has taken.

        Raises:
            UpdateError: shapes differ, or not one step was taken.
        """

    def local(self, shared: Floats, own: Floats, gradient: Gradient, steps: int) -> Contribution:
        """Descend, and finish: see ``Descent.run`` and ``finish``."""
        model = self.model(shared)
        return self.finish(shared, own, self.descent.run(model, gradient, steps, self.correction(shared, own)), steps)

    def advance(self, state: State, mean: Sequence[npt.NDArray[np.float64]], share: float = 1.0) -> State:
        """Everybody's half: the state that a verified mean leads to.

        Args:
            state: that the clients have trained from.
            mean: of their ``Contribution.update``, float64, the marks' mean last: ``Result.average``. With differential
                privacy of their ``Contribution.steps``: marks would be summed without noise, and there are none.
            share: participants over clients of the federation, in (0, 1].

        Raises:
            UpdateError: the mean has other shapes, or leads to no finite model; ``share`` is out of range.
        """
        if not 0 < share <= 1:
            raise UpdateError(f"a share of {share!r} of the clients, not in (0, 1]")
        count = len(state.shared)
        if len(mean) not in (count, count + 1) or (len(mean) > count and mean[-1].shape != (count,)):
            raise UpdateError(f"a mean of {len(mean)} arrays, not of {count} and their marks")
        steps, marks = list(mean[:count]), mean[count] if len(mean) > count else None
        moves, moments = self.server.step(steps, state.moments, state.rounds, share)
        return State(apply(state.shared, moves, marks), moments, state.rounds + 1)

    def named(self, names: Sequence[str], shared: Floats) -> dict[str, Array]:
        """The shared arrays by name and in their order, as frameworks hand out models.

        Args:
            names: of the model's arrays.
            shared: see ``begin``.

        Raises:
            UpdateError: another number of names, or one begins with ``BESIDE``.
        """
        if any(name.startswith(BESIDE) for name in names) or len(names) != len(self.model(shared)):
            raise UpdateError(
                f"{len(names)} names for {len(self.model(shared))} arrays, none beginning with {BESIDE!r}"
            )
        beside = (f"{BESIDE}{place}" for place in range(len(shared) - len(names)))
        return dict(zip((*names, *beside), shared, strict=True))

    @staticmethod
    def unnamed(named: Mapping[str, Array]) -> tuple[tuple[str, ...], list[Array]]:
        """The names of the model's arrays, and the shared arrays, of what ``named`` has made."""
        return tuple(name for name in named if not name.startswith(BESIDE)), list(named.values())

    def _contribution(self, shared: Floats, steps: Sequence[Array], own: Floats = ()) -> Contribution:
        """With marks of what ``moved`` would have below 0."""
        made = Contribution(steps, np.zeros(len(shared), np.float32), own)
        return Contribution(steps, signs(made.moved(shared), sign_slots(shared, len(shared)), len(shared)), own)


def as_kept(shared: Floats, own: Floats) -> Floats:
    """What a client has kept, zeros before its first counted round.

    Raises:
        UpdateError: it is of another model.
    """
    if not own:
        return [np.zeros_like(array) for array in shared]
    if [array.shape for array in own] != [array.shape for array in shared]:
        raise UpdateError("what this client has kept is of another model")
    return own
