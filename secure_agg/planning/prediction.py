"""Amounts, coefficients and a network together: seconds and bytes for each role and phase, and memory for each role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from secure_agg.planning.coefficients import MEMORY, RECEIVED, SECONDS, SENT, Coefficients, Fitted, Term
from secure_agg.planning.setting import Setting
from secure_agg.protocol.messages import ADVERTISE, SHARE

CLIENT: Final = "client"
AGGREGATOR: Final = "aggregator"
_BEFORE: Final = ("encode", "commit")
_AFTER: Final = ("verify", "result")
_BITS: Final = 8
_MEGA: Final = 1e6


@dataclass(frozen=True)
class Share:
    """What one party of a role does in one phase.

    Attributes:
        role: ``client``, ``aggregator``, ``shareholder`` or ``keyholder``.
        phase: its name; ``encode`` and ``commit`` are before the first, ``verify`` and ``result`` after the last.
        seconds: of processor time. Work that is spread over cores is done sooner.
        sent, received: bytes.
    """

    role: str
    phase: str
    seconds: float
    sent: float
    received: float


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

    def seconds(self, shares: Mapping[str, Share], clients: int) -> float:
        """Until all requests and responses of a phase have arrived.

        Args:
            shares: of the phase, by role.
            clients: who take part in it.
        """
        server = _MEGA * 1000 * self.server_gbit / _BITS
        found, client = self.rtt_ms / 1000, shares.get(CLIENT)
        if client is None:
            return found + sum(one.sent + one.received for role, one in shares.items() if role == AGGREGATOR) / server
        found += max(client.received / (_MEGA * self.down_mbit / _BITS), clients * client.received / server)
        return found + max(client.sent / (_MEGA * self.up_mbit / _BITS), clients * client.sent / server)


@dataclass(frozen=True)
class Prediction:
    """A round.

    Attributes:
        setting: it is for.
        shares: by phase, then role.
        network: seconds by phase, on the network alone.
        memory: bytes of each role at most, above a process that does nothing and the update itself.
        fitted: what it was made from.
        unknown: phases that no measured round had.
    """

    setting: Setting
    shares: tuple[Share, ...]
    network: dict[str, float]
    memory: dict[str, float]
    fitted: Fitted
    unknown: tuple[str, ...]

    def processor(self, role: str) -> float:
        """Processor seconds of one party of a role in the whole round."""
        return sum(share.seconds for share in self.shares if share.role == role)

    def sent(self, role: str) -> float:
        """Bytes that one party of a role sends."""
        return sum(share.sent for share in self.shares if share.role == role)

    def received(self, role: str) -> float:
        """Bytes that one party of a role receives."""
        return sum(share.received for share in self.shares if share.role == role)

    @property
    def bytes_per_parameter(self) -> float:
        """Bytes that one client sends of each parameter, all messages of the round."""
        return self.sent(CLIENT) / self.setting.parameters

    @property
    def roles(self) -> tuple[str, ...]:
        """Those that the backend has."""
        return tuple(dict.fromkeys(share.role for share in self.shares))

    @property
    def seconds(self) -> float:
        """From the first request to the last client's verified result: phases and roles one after the other, the
        parties of one role side by side.
        """
        return sum(share.seconds for share in self.shares) + sum(self.network.values())


def predict(setting: Setting, coefficients: Coefficients, network: Network | None = None) -> Prediction:
    """What a round costs.

    Raises:
        ConfigError: no round of this backend was measured.
    """
    fitted, link = coefficients.fitted(setting.backend), network or Network()
    known: dict[tuple[str, str], dict[str, Term]] = {}
    for term in fitted.terms:
        known.setdefault((term.phase, term.role), {})[term.figure] = term
    roles = tuple(dict.fromkeys(role for phase, role in known if phase))
    amounts = {role: setting.amounts(role) for role in roles}

    def figure(terms: Mapping[str, Term], role: str, name: str) -> float:
        return terms[name].of(amounts[role]) if name in terms else 0.0

    own = [name for phase in setting.phases for name in ((phase, SHARE) if phase == ADVERTISE else (phase,))]
    shares = []
    for phase in (*_BEFORE, *own, *_AFTER):
        for role in roles:
            if (terms := known.get((phase, role))) is not None:
                shares.append(Share(role, phase, *(figure(terms, role, name) for name in (SECONDS, SENT, RECEIVED))))
    seen = {share.phase for share in shares}
    linked = {
        phase: link.seconds({one.role: one for one in shares if one.phase == phase}, setting.survivors)
        for phase in (*setting.phases, "verify")
        if phase in seen
    }
    memory = {role: figure(terms, role, MEMORY) for (phase, role), terms in known.items() if not phase}
    unknown = tuple(phase for phase in setting.phases if phase not in seen)
    return Prediction(setting, tuple(shares), linked, memory, fitted, unknown)
