"""FedNova (Wang et al. 2020, arXiv:2007.07481, equation 6): clients that take different numbers of steps.

    client  sends d_i = (y_i − x)/‖a_i‖₁, and how many steps t_i it counts for
    all     x ← x + η·(Σ p_i·t_i)·(Σ p_i·d_i),   p_i = n_i / Σ n_j over S

FedAvg weighs a client by p_i·τ_i without saying so, and so settles where another objective has its minimum. ‖a_i‖₁ is
``Descent.weight_of_gradients``. t_i is ‖a_i‖₁ too, and τ_i where there is FedProx's term, as in the authors' code.

Both means are by the weights p_i, so one round carries them, and the second is one coordinate. The codec has one range
for all arrays, so they ride beside a number of steps t₀ that all name: d_i·t₀, which is t₀/t_i times an update, and
t_i/t₀, which has to be within the codec's clip. The product is the same whatever t₀ is. Where rounding may move a value
of a mean by e (``RoundRecord.error_bound``), it moves a parameter by no more than e·(|t̄| + |d̄| + e) in these units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from secure_agg.errors import ConfigError
from secure_agg.fl.algorithms.algorithm import Algorithm, Contribution, State
from secure_agg.fl.algorithms.descent import Array, Descent, Floats
from secure_agg.fl.layers import difference
from secure_agg.fl.server_optimizers import FEDNOVA, NORMALISED, ServerOptimizer


@dataclass(frozen=True)
class FedNova(Algorithm):
    """See the module.

    Attributes:
        descent: with momentum or FedProx's term, if wanted.
        server: FedNova with its rate η.
        usual_steps: t₀, above 0: about the largest number of steps of a client, so that t_i/t₀ is about 1 at most.
        weighted: True.

    Raises:
        ConfigError: a setting is not as said.
    """

    descent: Descent
    server: ServerOptimizer = NORMALISED
    usual_steps: float = 1.0
    weighted: bool = True

    def __post_init__(self) -> None:
        """Refuse settings that are not FedNova's."""
        if self.server.name != FEDNOVA:
            raise ConfigError(f"FedNova's server optimizer is {FEDNOVA}, not {self.server.name}")
        if not 0 < self.usual_steps < math.inf:
            raise ConfigError(f"usual_steps is {self.usual_steps!r}, not a positive number")

    def begin(self, model: Floats) -> State:
        """The model, and an array that stays 0, where the numbers of steps ride."""
        return State([*model, np.zeros(1, np.float64)])

    def model(self, shared: Floats) -> list[Array]:
        """All but the last array."""
        self.server.check(shared)
        return list(shared[:-1])

    def finish(self, shared: Floats, own: Floats, trained: Floats, steps: int) -> Contribution:
        """t₀·(y − x)/‖a‖₁ and t/t₀."""
        counted = self.descent.weight_of_gradients(steps)
        factor = self.usual_steps / counted
        updates = [(factor * step).astype(step.dtype) for step in difference(trained, self.model(shared))]
        counted = float(steps) if self.descent.mu else counted
        return self._contribution(shared, [*updates, np.array([counted / self.usual_steps])])
