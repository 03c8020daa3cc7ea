"""Drives the roles in one process: ``aggregate`` is a whole verified round in one call.

Every role is the real one and every message is encoded, signed, decoded and checked; only the network is
missing. One process that runs all roles pins nothing against its own operator: for protection from each
other, run each role where its owner is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.errors import (
    LocalProtocolError,
    SecureAggError,
)
from secure_agg.local.report import Traffic
from secure_agg.protocol.clipping import Clipping
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import ADVERTISE, RESULT, Envelope
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import Verified
from secure_agg.roles.client.client import Client
from secure_agg.roles.operators import OperatorRole, ask_operator, ask_operators

PHASES: Final = ("advertise", "choose-peers", "share-keys", "masked-input", "consistency", "unmask")
"""All phases that a client can fall silent at, in order; a backend without one goes on to the next that it has."""

Update = Sequence[npt.NDArray[Any]]


class LocalRound:
    """One attempt at one round with all roles in this process, one message at a time.

    The adversary tests, the benchmarks and ``aggregate`` drive rounds with it.

    Attributes:
        traffic: bytes that each client sent and received.
        refusals: what operators have answered with whom the round went on without, by id.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        clients: Mapping[str, Client],
        updates: Mapping[str, Update],
        weights: Mapping[str, int] | None = None,
        silent: Mapping[str, str] | None = None,
        holders: Mapping[str, OperatorRole] | None = None,
    ) -> None:
        """
        Args:
            aggregator: not started yet.
            clients: by id; members of the cohort without a client never answer.
            updates: by id.
            weights: by id, default 1.
            silent: client id to the phase from which on it answers nothing.
            holders: key holders and share holders by id, for backends that have them. One without a role never answers.
        """
        self.aggregator, self.clients, self.updates = aggregator, clients, updates
        self.weights, self.silent, self.holders = weights or {}, silent or {}, holders or {}
        self.traffic = Traffic()
        self.refusals: dict[str, SecureAggError] = {}

    def speaks(self, name: str, phase: str) -> bool:
        """Whether a client answers in a phase of the backend.

        A client that falls silent at a phase which the backend does not have does so at the next that it has.
        """
        if name not in self.clients:
            return False
        own = [item.name for item in self.aggregator.phases]
        first = self.silent.get(name)
        if first is not None and first not in own:
            first = next((item for item in PHASES[PHASES.index(first) :] if item in own), None)
        return first is None or (phase in own and own.index(phase) < own.index(first))

    def answer(self, request: Envelope, phase: str) -> bytes | None:
        """Hand one request to its client."""
        client = self.clients[request.recipient]
        self.traffic.download[request.recipient, phase] += len(request.data)
        if phase == ADVERTISE:
            update, weight = self.updates[request.recipient], self.weights.get(request.recipient, 1)
            config = self.aggregator.config  # one process: the operator trained the clients from its models
            response = client.join(
                request.data,
                update,
                weight,
                start_model=config.start_model,
                base_model=_shown(config.base_model),
                instructions=_shown(config.instructions),
            )
            for letter in client.outbox:
                self.traffic.upload[client.identity.name, phase] += len(letter.data)
                receipt = ask_operator(self.holders, letter)
                if isinstance(receipt, bytes):  # a refusal is the operator's to report
                    client.receive(receipt)
            return response
        return client.receive(request.data)

    def exchange(self, requests: Sequence[Envelope]) -> None:
        """One phase: every client that still speaks answers its request; receipts are delivered at once."""
        phase = self.aggregator.state
        if self.aggregator.asks_operators:
            self.refusals |= ask_operators(self.aggregator, requests, self.holders)
            return
        for request in requests:
            if not self.speaks(request.recipient, phase):
                continue
            response = self.answer(request, phase)
            if response is None:
                continue
            self.traffic.upload[request.recipient, phase] += len(response)
            for receipt in self.aggregator.receive(response):
                self.answer(receipt, phase)

    def run(self) -> Evidence:
        """All phases.

        Returns:
            The evidence, checked by the aggregator.

        Raises:
            SecureAggError: whatever a role refuses; see ``secure_agg.errors``.
        """
        requests = self.aggregator.start()
        while requests:
            self.exchange(requests)
            requests = self.aggregator.advance()
        if self.aggregator.evidence is None:
            raise LocalProtocolError("the round ended without a result", phase=self.aggregator.state)
        return self.aggregator.evidence

    def deliver(self) -> dict[str, Verified]:
        """Hand the result to every client that still speaks; each checks it against its own pins."""
        verified = {}
        for envelope in self.aggregator.results():
            name = envelope.recipient
            if name in self.clients and name not in self.silent:
                self.traffic.result[name, RESULT] += len(envelope.data)
                verified[name] = self.clients[name].finish(envelope.data)
        return verified

    def stats(self) -> dict[str, float]:
        """Seconds and bytes so far, flat."""

        def mean(values: Sequence[float]) -> float:
            return float(np.mean(values)) if values else 0.0

        joined = [client for client in self.clients.values() if client.timings.seconds]
        phases = [phase.name for phase in self.aggregator.phases]
        names = {name for client in joined for name in client.timings.seconds}
        stats = {
            f"client.{name}_s": mean([c.timings.seconds[name] for c in joined if name in c.timings.seconds])
            for name in sorted(names | {"encode", "commit"})
        }
        stats["client.protect_s"] = mean([sum(c.timings.seconds.get(p, 0.0) for p in phases) for c in joined])
        stats |= self.traffic.stats(phases)
        own = self.aggregator.timings.seconds
        stats |= {f"aggregator.{phase}_s": own.get(phase, 0.0) for phase in phases}
        stats["aggregator.total_s"] = sum(own.get(phase, 0.0) for phase in phases)
        stats["verify_s"] = own.get("verify", 0.0)
        for role in {holder.role for holder in self.holders.values()}:
            timed = [dict(holder.timings.seconds) for holder in self.holders.values() if holder.role == role]
            for phase in sorted({phase for seconds in timed for phase in seconds}):
                stats[f"{role}.{phase}_s"] = mean([seconds.get(phase, 0.0) for seconds in timed])
        clipped = self.clipping().clipped
        if any(clipped):
            stats["clipped_values"] = float(sum(clipped))
        stats |= {f"clipped_values.array_{i}": float(count) for i, count in enumerate(clipped) if count}
        return stats

    def clipping(self) -> Clipping:
        """What was clipped of all clients' updates together."""
        return Clipping.of(client.encoded for client in self.clients.values() if client.encoded is not None)


def _shown(digest: bytes) -> bytes | None:
    """What a client says of a digest in the configuration, where the operator has given it what it was made of."""
    return None if digest == NO_DIGEST else digest
