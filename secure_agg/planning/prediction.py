"""Steps, constants and a network together: seconds and bytes for each role and phase, and memory for each role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from secure_agg.planning import additive, direct, homomorphic, masking
from secure_agg.planning.constants import Constants
from secure_agg.planning.direct import Step
from secure_agg.planning.memory import peaks
from secure_agg.planning.setting import Setting

CLIENT: Final = "client"
AGGREGATOR: Final = "aggregator"
_OPERATORS: Final = {"additive": "shareholder", "bfv": "keyholder", "ckks": "keyholder", "paillier": "keyholder"}
_STEPS: Final = {
    "plain": direct.steps,
    "masking": masking.steps,
    "additive": additive.steps,
    "bfv": homomorphic.steps,
    "ckks": homomorphic.steps,
    "paillier": homomorphic.steps,
}
_BITS: Final = 8
_MEGA: Final = 1e6


@dataclass(frozen=True)
class Network:
    """What lies between the roles.

    Attributes:
        up_mbit, down_mbit: of each client, megabits a second.
        server_gbit: of each operator in either direction, gigabits a second.
        rtt_ms: of one request and its response, milliseconds.
    """

    up_mbit: float = 20.0
    down_mbit: float = 100.0
    server_gbit: float = 1.0
    rtt_ms: float = 50.0

    def seconds(self, step: Step) -> float:
        """Until all requests and responses of a step have arrived."""
        server = _MEGA * 1000 * self.server_gbit / _BITS
        found = self.rtt_ms / 1000
        if step.clients:
            found += max(step.request / (_MEGA * self.down_mbit / _BITS), step.clients * step.request / server)
            found += max(step.response / (_MEGA * self.up_mbit / _BITS), step.clients * step.response / server)
        if step.operators and not step.clients:
            found += step.operators * (step.operator_request + step.operator_response) / server
        return found


@dataclass(frozen=True)
class Share:
    """What one party of a role does in one phase.

    Attributes:
        role: ``client``, ``aggregator``, ``shareholder`` or ``keyholder``.
        phase: its name.
        processor: seconds of processor time.
        elapsed: seconds until it is done, on the constants' number of cores.
        sent, received: bytes.
    """

    role: str
    phase: str
    processor: float
    elapsed: float
    sent: float
    received: float


@dataclass(frozen=True)
class Prediction:
    """A round.

    Attributes:
        setting: it is for.
        shares: by phase, then role.
        network: seconds by phase, on the network alone.
        memory: bytes of each role at most, above a process that does nothing and the update itself.
    """

    setting: Setting
    shares: tuple[Share, ...]
    network: dict[str, float]
    memory: dict[str, float]

    def processor(self, role: str) -> float:
        """Processor seconds of one party of a role in the whole round."""
        return sum(share.processor for share in self.shares if share.role == role)

    def elapsed(self, role: str) -> float:
        """Seconds that one party of a role computes in the whole round."""
        return sum(share.elapsed for share in self.shares if share.role == role)

    def sent(self, role: str) -> float:
        """Bytes that one party of a role sends."""
        return sum(share.sent for share in self.shares if share.role == role)

    def received(self, role: str) -> float:
        """Bytes that one party of a role receives."""
        return sum(share.received for share in self.shares if share.role == role)

    @property
    def roles(self) -> tuple[str, ...]:
        """Those that the backend has."""
        return tuple(dict.fromkeys(share.role for share in self.shares))

    @property
    def seconds(self) -> float:
        """From the first request to the last client's verified result: phases and roles one after the other, the
        parties of one role side by side.
        """
        return sum(share.elapsed for share in self.shares) + sum(self.network.values())


def predict(setting: Setting, constants: Constants, network: Network | None = None) -> Prediction:
    """What a round costs.

    Raises:
        ConfigError: such a round would be refused.
    """
    link = network or Network()
    steps = _STEPS[setting.backend](setting)
    shares = tuple(share for step in steps for share in _shares(setting, step, constants))
    return Prediction(setting, shares, {step.phase: link.seconds(step) for step in steps}, peaks(setting, steps))


def _shares(setting: Setting, step: Step, constants: Constants) -> list[Share]:
    def share(role: str, sent: float, received: float) -> Share:
        work = {CLIENT: step.client, AGGREGATOR: step.aggregator}.get(role, step.operator)
        return Share(role, step.phase, constants.processor(work), constants.elapsed(work), sent, received)

    found = []
    letters = step.operators * step.operator_request / step.clients if step.clients else 0.0
    sent, received = step.clients * step.request, step.clients * (step.response - letters)
    if step.clients:
        found.append(share(CLIENT, step.response, step.request))
    else:
        sent, received = step.operators * step.operator_request, step.operators * step.operator_response
    found.append(share(AGGREGATOR, sent, received))
    if step.operators:
        found.append(share(_OPERATORS[setting.backend], step.operator_response, step.operator_request))
    return found
