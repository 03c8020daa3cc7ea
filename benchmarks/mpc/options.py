"""What the suite ``mpc`` is run with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.federation import FEWEST_CLIENTS
from secure_agg.backends.crypten.rules import MAX_CLIENTS, MAX_PARTIES
from secure_agg.protocol.config import Option, Policy
from zk import parameters

MIN_AGGREGATORS: Final = 2


@dataclass(frozen=True)
class MpcOptions:
    """What the suite is run with.

    Attributes:
        params: model parameters of the sums.
        clients: in a round.
        aggregators: k, who share every update.
        bits: per value.
        function_params: model parameters of norm check, trimmed mean and median.
        repeat: repetitions of everything that is repeated.

    Raises:
        ValueError: one is out of range, or together they would not be secure.
    """

    params: int
    clients: int
    aggregators: int
    bits: int
    function_params: int
    repeat: int

    def __post_init__(self) -> None:
        if min(self.params, self.function_params, self.repeat) < 1:
            raise ValueError(
                f"--params {self.params}, --function-params {self.function_params} and --repeat {self.repeat} must be "
                "1 or more"
            )
        if not FEWEST_CLIENTS <= self.clients <= MAX_CLIENTS:
            raise ValueError(f"--clients {self.clients} is outside [{FEWEST_CLIENTS}, {MAX_CLIENTS}]")
        if not MIN_AGGREGATORS <= self.aggregators <= MAX_PARTIES:
            raise ValueError(f"--aggregators {self.aggregators} is outside [{MIN_AGGREGATORS}, {MAX_PARTIES}]")
        Policy.default(self.clients, bits=self.bits, options=(Option("aggregators", self.aggregators),))
        parameters.choose(self.bits, self.clients, self.params)
