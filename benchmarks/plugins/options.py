"""What the suite ``plugins`` is run with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.federation import FEWEST_CLIENTS
from secure_agg.protocol.config import Policy
from zk import parameters

BITS: Final = 16


@dataclass(frozen=True)
class PluginOptions:
    """What the suite is run with.

    Attributes:
        params: model parameters.
        clients: in a round.
        train_s: seconds that a client is taken to train, where the whole round is compared with a plain one.
        repeat: repetitions.

    Raises:
        ValueError: one is out of range, or together they would not be secure.
    """

    params: int
    clients: int
    train_s: float
    repeat: int

    def __post_init__(self) -> None:
        if min(self.params, self.repeat) < 1 or self.train_s < 0:
            raise ValueError(
                f"--params {self.params} and --repeat {self.repeat} must be 1 or more, and --train-s {self.train_s} "
                "not below 0"
            )
        if self.clients < FEWEST_CLIENTS:
            raise ValueError(f"--clients {self.clients} is below {FEWEST_CLIENTS}, the fewest whose sum is opened")
        Policy.default(self.clients, bits=BITS)
        parameters.choose(BITS, self.clients, self.params)
