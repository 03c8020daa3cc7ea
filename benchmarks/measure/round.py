"""One whole verified round of real roles in this process, with a meter at each of them: the one way to measure a round.

Every party's work runs for itself, one after another, but for operators who have to compute together. ``measure`` is
called with a federation and gives every call of every party; what a suite shows is chosen from these.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from benchmarks.federation import OPERATOR, Federation
from benchmarks.measure import memory as resident
from benchmarks.measure.cells import AGGREGATOR, CLIENT
from benchmarks.measure.meter import Beside, Call, Meter, MeteredAggregator, MeteredClient, MeteredOperator
from secure_agg import backends
from secure_agg.executing import IN_PROCESS, Executor
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import RESULT
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import Verified
from secure_agg.roles.client.client import Client
from secure_agg.roles.operators import OperatorRole

_LEADER: Final = OPERATOR


@dataclass(frozen=True)
class Measured:
    """A round as its meters have it.

    Attributes:
        wall: seconds from the first request to the checked evidence, without what was run beside it.
        calls: of all parties, in the order in which they ended.
        traffic: bytes sent, by role, party and phase of the message.
        timings: what each role says of itself, in seconds, by party and step.
        phases: of the backend, in order.
        parties: ids of those who took part until the end, by role.
        evidence: of the round.
        verified: by the first client that got the result: the means of all would fill the memory.
    """

    wall: float
    calls: tuple[Call, ...]
    traffic: Mapping[tuple[str, str, str], int]
    timings: Mapping[str, Mapping[str, float]]
    phases: tuple[str, ...]
    parties: Mapping[str, tuple[str, ...]]
    evidence: Evidence
    verified: Verified

    @property
    def operators(self) -> str:
        """The role of the operators beside the aggregator; empty where there are none."""
        return next((role for role in self.parties if role not in (CLIENT, AGGREGATOR)), "")

    def of(self, role: str, phase: str | None = None) -> tuple[Call, ...]:
        """The calls of one role, in one phase or in all."""
        return tuple(call for call in self.calls if call.role == role and phase in (None, call.phase))

    def seconds(self, role: str, phase: str, *, processor: bool = False) -> float | None:
        """Of one party: the mean over those that were called; None where none was."""
        found = self.of(role, phase)
        spent = sum(call.processor if processor else call.wall for call in found)
        return spent / len({call.party for call in found}) if found else None

    def total(self, role: str) -> float:
        """Seconds of one party in all phases until the result is there, mean over all of the role."""
        spent = sum(call.wall for call in self.of(role) if call.phase != RESULT)
        return spent / len(self.parties[role]) if role in self.parties else 0.0

    def sent(self, role: str, phase: str | None = None) -> float:
        """Bytes that one party sends in one phase or in all, mean over those that sent any in it."""
        return _means(
            (at, party, size) for (of, party, at), size in self.traffic.items() if of == role and phase in (None, at)
        )

    def received(self, role: str, phase: str | None = None) -> float:
        """Bytes that one party receives in one phase or in all, mean over those that received any in it."""
        return _means((call.phase, call.party, call.received) for call in self.of(role, phase))

    def memory(self, role: str) -> dict[str, float]:
        """Bytes that one party held at most in each phase: what it held before a call, and what that grew by.

        The median over the parties of the role that took part until the end.
        """
        peaks: dict[str, list[float]] = {}
        for party in self.parties[role]:
            held, own = 0, dict[str, float]()
            for call in self.calls:
                if call.party == party and call.role == role:
                    own[call.phase] = max(own.get(call.phase, 0.0), held + call.grown)
                    held = max(0, held + call.kept)
            for phase, most in own.items():
                peaks.setdefault(phase, []).append(most)
        return {phase: statistics.median(found) for phase, found in peaks.items()}


def _means(amounts: Iterable[tuple[str, str, int]]) -> float:
    """By phase and party: the phases' means together."""
    phases: dict[str, dict[str, int]] = {}
    for phase, party, amount in amounts:
        parties = phases.setdefault(phase, {})
        parties[party] = parties.get(party, 0) + amount
    return sum(statistics.fmean(parties.values()) for parties in phases.values())


def drawn(clients: int, params: int) -> npt.NDArray[np.float32]:
    """Different updates, one a row, as trained ones usually look."""
    return np.random.default_rng(1).standard_normal((clients, params), dtype=np.float32)


def measure(
    federation: Federation,
    updates: Iterable[npt.NDArray[np.floating]],
    *,
    silent: Mapping[str, str] | None = None,
    operators: Mapping[str, OperatorRole] | None = None,
    beside: Beside | None = None,
    memory: bool = False,
    executor: Executor = IN_PROCESS,
) -> Measured:
    """One whole round; the first client that still speaks gets the result and checks it.

    Args:
        federation: fresh where it has key holders, who open one round.
        updates: one for each client, in the order of the names.
        silent: client id to the phase from which on it says nothing.
        operators: who hold keys or shares; by default the federation's.
        beside: see ``meter.Beside``.
        memory: read the memory too. The seconds are then of no use, and from now on this process gives back what it
            frees, which takes time.
        executor: does the aggregator's work on long vectors. What its workers use of the processor does not count.
    """
    holding = operators or federation.holders or federation.share_holders()
    policy = federation.config.policy
    together = backends.load(policy.backend).seats(policy).together
    meter = Meter(memory, len(holding) if together else 1, beside)
    if memory:
        resident.give_back()
    meter.start()
    aggregator = cast(Aggregator, MeteredAggregator(meter, AGGREGATOR, _LEADER, federation.aggregator(executor)))
    clients = {
        name: cast(Client, MeteredClient(meter, CLIENT, name, client)) for name, client in federation.clients().items()
    }
    watched = {
        name: cast(OperatorRole, MeteredOperator(meter, operator.role, name, operator))
        for name, operator in holding.items()
    }
    given = {name: [update] for name, update in zip(federation.names, updates, strict=True)}
    local = LocalRound(aggregator, clients, given, silent=silent, holders=watched)
    start = time.perf_counter()
    evidence = local.run()
    wall = time.perf_counter() - start - meter.aside
    verified = None
    for envelope in aggregator.results():
        if verified is None and envelope.recipient not in local.silent:
            verified = clients[envelope.recipient].finish(envelope.data)
    if verified is None:
        raise ValueError("no client is left to check the result")
    roles: dict[str, Client | Aggregator | OperatorRole] = {**clients, _LEADER: aggregator, **watched}
    role = next((operator.role for operator in holding.values()), "")
    return Measured(
        wall=wall,
        calls=tuple(meter.calls),
        traffic=dict(meter.sent),
        timings={name: dict(one.timings.seconds) for name, one in roles.items()},
        phases=tuple(phase.name for phase in aggregator.phases),
        parties={
            CLIENT: tuple(name for name in federation.names if name not in local.silent),
            AGGREGATOR: (_LEADER,),
        }
        | ({role: tuple(holding)} if role else {}),
        evidence=evidence,
        verified=verified,
    )
