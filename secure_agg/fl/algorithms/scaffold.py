"""SCAFFOLD (Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1, option II).

    client  y ← y − η·(g_i(y) − c_i + c), K times;   c_i⁺ = c_i − c + (x − y)/(K·η);   sends y − x and c_i⁺ − c_i
    all     x ← x + η_g·mean over S of (y − x);      c ← c + |S|/N·mean over S of (c_i⁺ − c_i)

Both means are unweighted, and one round carries them: everybody joins with weight 1. Where weights are given to
``aggregate`` both become weighted, which is right too as long as all take part: c then is Σ p_i·c_i, which is 0 where
the weighted objective has its minimum. One weighted and the other not has no such point, so it is not offered.

c and c_i ride and are kept as s·c and s·c_i: the codec has one range for all arrays, and a control variate is as large
as a gradient, not as an update. With s = K·η both are of one size. ``limit`` is the codec's clip, where there is one to
care for: what it would cut off is not kept either, so that c stays the mean of the c_i but for rounding, which is
without bias: after T rounds off by a random walk of T steps of the round's error at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from secure_agg.errors import ConfigError
from secure_agg.fl.algorithms.algorithm import Algorithm, Contribution, State, as_kept
from secure_agg.fl.algorithms.descent import Array, Descent, Floats, check_steps
from secure_agg.fl.layers import difference
from secure_agg.fl.server_optimizers import CONTROLLED, SCAFFOLD, ServerOptimizer


@dataclass(frozen=True)
class Scaffold(Algorithm):
    """See the module.

    Attributes:
        descent: plain: c_i⁺ is a mean gradient for steps without momentum and without FedProx's term only.
        server: SCAFFOLD with its global rate η_g.
        scale: s, above 0.
        limit: largest size of an element of the control variate's update in ride units, s·(c_i⁺ − c_i).
        weighted: False, as in the paper; True where every client takes part in every round.

    Raises:
        ConfigError: a setting is not as said.
    """

    descent: Descent
    server: ServerOptimizer = CONTROLLED
    scale: float = 1.0
    limit: float = math.inf
    weighted: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that are not SCAFFOLD's."""
        if self.server.name != SCAFFOLD:
            raise ConfigError(f"SCAFFOLD's server optimizer is {SCAFFOLD}, not {self.server.name}")
        if self.descent.momentum or self.descent.mu:
            raise ConfigError("SCAFFOLD takes plain steps: momentum and mu have to be 0")
        if not 0 < self.scale < math.inf or not self.limit > 0:
            raise ConfigError(f"scale {self.scale!r} and limit {self.limit!r} have to be above 0, the first finite")

    def begin(self, model: Floats) -> State:
        """The model and c = 0."""
        return State([*model, *(np.zeros_like(array) for array in model)])

    def model(self, shared: Floats) -> list[Array]:
        """The first half."""
        self.server.check(shared)
        return list(shared[: len(shared) // 2])

    def variate(self, shared: Floats) -> list[Array]:
        """c, in the gradients' units."""
        self.server.check(shared)
        return [array / self.scale for array in shared[len(shared) // 2 :]]

    def correction(self, shared: Floats, own: Floats = ()) -> list[Array]:
        """c − c_i."""
        model = self.model(shared)
        kept = as_kept(model, own)
        return [(c - mine) / self.scale for c, mine in zip(shared[len(model) :], kept, strict=True)]

    def finish(self, shared: Floats, own: Floats, trained: Floats, steps: int) -> Contribution:
        """y − x, and s·(c_i⁺ − c_i) = s·((x − y)/(K·η) − c); keeps s·c_i⁺."""
        check_steps(steps)
        model = self.model(shared)
        kept = as_kept(model, own)
        moved = difference(trained, model)
        factor = self.scale / (steps * self.descent.rate)
        changes = [
            np.clip(-factor * step - c, -self.limit, self.limit).astype(step.dtype)
            for step, c in zip(moved, shared[len(model) :], strict=True)
        ]
        own = [mine + change for mine, change in zip(kept, changes, strict=True)]
        return self._contribution(shared, [*moved, *changes], own)
