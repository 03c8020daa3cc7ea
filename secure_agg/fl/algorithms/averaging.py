"""FedAvg and what differs from it by the local objective or by the server's step alone.

* FedAvg (McMahan et al. 2017, arXiv:1602.05629, algorithm 1): x ← x + Σ p_i·(y_i − x), p_i = n_i / Σ n_j over S.
* FedProx (Li et al. 2020, arXiv:1812.06127, algorithm 2): clients add μ/2·‖y − x‖² to what they minimise, and may
  take different numbers of steps.
* FedAvgM, FedAdam, FedYogi, FedAdagrad: the mean is a gradient to a server optimizer, see ``ServerOptimizer.step``.
"""

from __future__ import annotations

from dataclasses import dataclass

from secure_agg.errors import ConfigError
from secure_agg.fl.algorithms.algorithm import Algorithm, Contribution, State
from secure_agg.fl.algorithms.descent import Array, Descent, Floats, check_steps
from secure_agg.fl.layers import difference
from secure_agg.fl.server_optimizers import PLAIN, ServerOptimizer


@dataclass(frozen=True)
class Averaging(Algorithm):
    """See the module. Attributes: see ``Algorithm``.

    Raises:
        ConfigError: the server optimizer is one that needs more beside the model.
    """

    descent: Descent
    server: ServerOptimizer = PLAIN
    weighted: bool = True

    def __post_init__(self) -> None:
        """Refuse what is an algorithm of its own."""
        if self.server.beside:
            raise ConfigError(f"{self.server.name} is an algorithm of its own, and no averaging")

    def begin(self, model: Floats) -> State:
        """The model alone."""
        return State(list(model))

    def model(self, shared: Floats) -> list[Array]:
        """All of the shared arrays."""
        return list(shared)

    def finish(self, shared: Floats, own: Floats, trained: Floats, steps: int) -> Contribution:
        """y − x."""
        check_steps(steps)
        return self._contribution(shared, difference(trained, shared))
