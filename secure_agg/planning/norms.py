"""Which norm bound to ask for: what verified sums of earlier rounds say of how long updates are, and of nobody's own.

Clients report the square of their update's norm as a metric, which rides in the hidden vector: what a round shows is
its mean by weight, with the proof that any sum has, and no client's own. The bound is a margin times the root of that.
By Markov's inequality the clients whose updates are longer than k such roots have at most 1/k² of the weight together.

A metric is said and not proved. One dishonest client moves a round's mean as far as it likes, up by a large number or
down to nothing. What is proposed therefore follows the median of several rounds, never exceeds the bound that was in
force, and goes down by half of that at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.errors import ConfigError

SQUARED_NORM: Final = "squared-norm"
"""The metric's name, for those who report it."""
MARGIN: Final = 2.0
FALL: Final = 2.0
"""A proposal is at least the previous bound over this."""


def squared_norm(update: Sequence[npt.NDArray[Any]], clip: float) -> float:
    """The square of an update's L2 norm after clipping: what a client reports.

    Args:
        update: float arrays of any shapes.
        clip: values count as they are summed, within [−clip, clip].
    """
    return sum(float(np.square(np.clip(array, -clip, clip), dtype=np.float64).sum()) for array in update)


@dataclass(frozen=True)
class NormProposal:
    """A norm bound, and why.

    Attributes:
        bound: what is proposed for B.
        typical: root of the median round's mean of squares.
        margin: what that was multiplied with.
        rounds: how many had a mean of squares.
        left_out: rounds whose number was none: below 0, or not finite. Somebody reported nonsense.
        previous: bound that was in force in these rounds; None where none was.
        highest: the most that the bound may be: ``previous``, else the norm of a vector that is clipped everywhere
            (infinite where the caller has not said how long vectors are).
        lowest: the least.
    """

    bound: float
    typical: float
    margin: float
    rounds: int
    left_out: int
    previous: float | None
    highest: float
    lowest: float

    @property
    def reasons(self) -> tuple[str, ...]:
        """What the number comes from, and what it can't know, for people."""
        said = [
            f"{self.margin:g} times {self.typical:.6g}, the root of the mean squared norm by weight, of the median of "
            f"{self.rounds} round{'s' * (self.rounds != 1)}: honest clients with at most 1/{self.margin**2:.3g} of the "
            "weight have longer updates, and these are scaled to the bound"
        ]
        wanted = self.margin * self.typical
        if wanted > self.highest:
            what = "the bound that was in force" if self.previous else "what clipping allows"
            said.append(f"that is {wanted:.6g}, held to {self.highest:.6g}, {what}")
        if wanted < self.lowest:
            said.append(f"that is {wanted:.6g}, held to {self.lowest:.6g}: half of the bound that was in force")
        if self.left_out:
            said.append(f"{self.left_out} more had no mean of squares: somebody reported nonsense")
        said.append(
            "a squared norm is said and not proved: one dishonest client can move a round's mean as far as it likes. "
            + (
                "Whatever it says, the proposal is within the previous bound and half of it."
                if self.previous
                else "There was no bound before: take several rounds of clients that you know, and only honest ones "
                "in more than half of them."
            )
        )
        return tuple(said)


def propose(
    squares: Sequence[float],
    *,
    margin: float = MARGIN,
    previous: float | None = None,
    clip: float | None = None,
    parameters: int | None = None,
) -> NormProposal:
    """The norm bound to ask for next.

    Args:
        squares: of each earlier round, the verified mean, by weight, of its clients' squared norms.
        margin: 1 or more.
        previous: the bound that was in force in these rounds.
        clip: of the policy, and
        parameters: values of an update: no update is longer than clip · √parameters.

    Raises:
        ConfigError: no round has a mean of squares, all are 0, or a number is out of range.
    """
    if not 1 <= margin < math.inf:
        raise ConfigError(f"the margin is {margin:g}, not 1 or more")
    if previous is not None and not 0 < previous < math.inf:
        raise ConfigError(f"the previous norm bound is {previous:g}, not above 0")
    if (clip is not None and not 0 < clip < math.inf) or (parameters is not None and parameters < 1):
        raise ConfigError(f"clip is {clip} and there are {parameters} parameters: both are above 0")
    usable = [square for square in squares if math.isfinite(square) and square >= 0]
    # Of an even number the lower middle: as many must be moved to raise the bound as are honest.
    typical = math.sqrt(median_low(usable)) if usable else 0.0
    if typical == 0:
        raise ConfigError(
            f"none of {len(squares)} rounds says how long updates are: their mean squared norms are 0, or none"
        )
    longest = math.inf if clip is None or parameters is None else clip * math.sqrt(parameters)
    highest = longest if previous is None else min(longest, previous)
    lowest = 0.0 if previous is None else min(highest, previous / FALL)
    return NormProposal(
        bound=min(highest, max(lowest, margin * typical)),
        typical=typical,
        margin=margin,
        rounds=len(usable),
        left_out=len(squares) - len(usable),
        previous=previous,
        highest=highest,
        lowest=lowest,
    )
