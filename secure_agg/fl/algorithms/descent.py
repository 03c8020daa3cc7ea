"""Local gradient descent, and how much of it a client has done.

The local problem of FedProx (Li et al. 2020, arXiv:1812.06127, equation 2) is min f_i(y) + μ/2·‖y − x‖²; with μ = 0 it
is FedAvg's. A control variate (SCAFFOLD) is a constant that is added to every gradient. With momentum ρ:

    g ← ∇f_i(y) + μ·(y − x) + correction,   v ← ρ·v + g,   y ← y − η·v
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.errors import ConfigError, UpdateError

Array = npt.NDArray[Any]
Floats = Sequence[npt.NDArray[Any]]

Gradient = Callable[[list[Array]], Floats]
"""A client's (stochastic) gradient at these parameters: arrays of their shapes. Called once for each step."""

MOST_STEPS: Final = 1 << 24


@dataclass(frozen=True)
class Descent:
    """How every client descends.

    Attributes:
        rate: η, above 0.
        momentum: ρ, in [0, 1).
        mu: μ of FedProx, at least 0; η·μ below 1, or the pull towards x would overshoot it.
    """

    rate: float
    momentum: float = 0.0
    mu: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings that descend nowhere.

        Raises:
            ConfigError: names the setting, its value and what it may be.
        """
        for setting, value, fits, said in (
            ("rate", self.rate, 0 < self.rate < math.inf, "a positive number"),
            ("momentum", self.momentum, 0 <= self.momentum < 1, "in [0, 1)"),
            ("mu", self.mu, 0 <= self.mu < math.inf and self.rate * self.mu < 1, "at least 0 and below 1/rate"),
        ):
            if not fits:
                raise ConfigError(f"{setting} of local training is {value!r}, not {said}")

    def run(self, start: Floats, gradient: Gradient, steps: int, correction: Floats | None = None) -> list[Array]:
        """Descend from ``start``.

        Args:
            start: the model x, float32 or float64.
            gradient: of this client, at parameters of the types of ``start``.
            steps: how many.
            correction: added to every gradient; None for 0.

        Returns:
            New arrays in the types and shapes of ``start``.

        Raises:
            UpdateError: not one step, or a gradient has other shapes.
        """
        check_steps(steps)
        at = [array.copy() for array in start]
        velocity = [np.zeros_like(array) for array in start]
        for _ in range(steps):
            found = list(gradient(at))
            if [array.shape for array in found] != [array.shape for array in start]:
                raise UpdateError("the gradient has other shapes than the model")
            for place, (y, x, v, g) in enumerate(zip(at, start, velocity, found, strict=True)):
                total = g + self.mu * (y - x) if self.mu else g
                if correction is not None:
                    total = total + correction[place]
                v *= self.momentum
                v += total
                y -= self.rate * v
        return at

    def weight_of_gradients(self, steps: int) -> float:
        """‖a‖₁, how much all gradients of ``steps`` steps count together: y − x = −η·Σ a_k·g_k.

        Wang et al. 2020 (arXiv:2007.07481), section 4: it is τ for plain steps, (τ − ρ(1 − ρ^τ)/(1 − ρ))/(1 − ρ) with
        momentum and (1 − (1 − ημ)^τ)/(ημ) with FedProx's term. Computed as the answer to one impulse, which holds for
        both together too.

        Raises:
            UpdateError: not one step.
        """
        check_steps(steps)
        if not self.momentum and not self.mu:
            return float(steps)
        velocity, place, total = 1.0, 1.0, 0.0
        for _ in range(steps):
            total += abs(place)
            velocity = self.momentum * velocity - self.rate * self.mu * place
            place += velocity
        return total


def check_steps(steps: int) -> None:
    """Refuse a number of local steps that is none.

    Raises:
        UpdateError: it is not in [1, 2^24].
    """
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or not 1 <= steps <= MOST_STEPS:
        raise UpdateError(f"{steps!r} local steps, not a whole number in [1, {MOST_STEPS}]")
