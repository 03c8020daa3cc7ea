"""Any algorithm by its name."""

from __future__ import annotations

import math
from typing import Final

from secure_agg.errors import ConfigError
from secure_agg.fl.algorithms.algorithm import Algorithm
from secure_agg.fl.algorithms.averaging import Averaging
from secure_agg.fl.algorithms.descent import Descent
from secure_agg.fl.algorithms.fednova import FedNova
from secure_agg.fl.algorithms.scaffold import Scaffold
from secure_agg.fl.server_optimizers import FEDNOVA, SCAFFOLD, ServerOptimizer
from secure_agg.fl.server_optimizers import NAMES as OPTIMIZERS

FEDPROX: Final = "FedProx"
NAMES: Final = (OPTIMIZERS[0], FEDPROX, *OPTIMIZERS[1:])


def create(
    name: str,
    *,
    rate: float,
    momentum: float = 0.0,
    mu: float = 0.0,
    scale: float = 1.0,
    limit: float = math.inf,
    usual_steps: float = 1.0,
    server_learning_rate: float | None = None,
    server_momentum: float | None = None,
    server_second: float | None = None,
    server_tau: float | None = None,
) -> Algorithm:
    """An algorithm, one of ``NAMES`` in whatever case.

    Args:
        name: of it.
        rate, momentum, mu: of local descent, see ``Descent``. Without ``mu`` FedProx is FedAvg, and so refused; others
            take it too, but for SCAFFOLD.
        scale, limit: of SCAFFOLD, see there.
        usual_steps: of FedNova, see there.
        server_learning_rate, server_momentum, server_second, server_tau: see ``ServerOptimizer.create``. None for what
            is usual.

    Raises:
        ConfigError: there is no such algorithm, or a setting is out of range or not of this algorithm.
    """
    known = {each.lower(): each for each in NAMES}
    if name.lower() not in known:
        raise ConfigError(f"algorithm {name!r} is none of {', '.join(NAMES)}")
    kind = known[name.lower()]
    for setting, value, stock, owner in (
        ("scale", scale, 1.0, SCAFFOLD),
        ("limit", limit, math.inf, SCAFFOLD),
        ("usual_steps", usual_steps, 1.0, FEDNOVA),
    ):
        if value != stock and kind != owner:
            raise ConfigError(f"{setting} is a setting of {owner}, not of {kind}")
    if kind == FEDPROX and not mu:
        raise ConfigError("FedProx without mu is FedAvg")
    descent = Descent(rate, momentum, mu)
    server = ServerOptimizer.create(
        kind, learning_rate=server_learning_rate, momentum=server_momentum, second=server_second, tau=server_tau
    )
    if kind == SCAFFOLD:
        return Scaffold(descent, server, scale, limit)
    if kind == FEDNOVA:
        return FedNova(descent, server, usual_steps)
    return Averaging(descent, server)
