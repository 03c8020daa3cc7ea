"""What a round in one process has cost: seconds and bytes by role and phase."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from secure_agg.local.hosting import HostedClient
from secure_agg.protocol.clipping import Clipping
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.client.client import Client
from secure_agg.roles.operators import OperatorRole


@dataclass
class Traffic:
    """Bytes that each client sent and received in each phase, by (client, phase)."""

    upload: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    download: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    result: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def stats(self, phases: Sequence[str]) -> dict[str, float]:
        """Means over the clients that took part in a phase, and of each client's total."""
        stats = {}
        for kind, amounts in (("upload", self.upload), ("download", self.download), ("result", self.result)):
            clients = {name for name, _ in amounts}
            stats[f"client.{kind}_bytes"] = sum(amounts.values()) / len(clients) if clients else 0.0
            for phase in phases:
                here = [amount for (_, at), amount in amounts.items() if at == phase]
                if here:
                    stats[f"client.{phase}_{kind}_bytes"] = sum(here) / len(here)
        return stats


def stats(
    aggregator: Aggregator,
    clients: Iterable[Client | HostedClient],
    operators: Collection[OperatorRole],
    traffic: Traffic,
) -> dict[str, float]:
    """Seconds (``…_s``) and bytes (``…_bytes``) so far, flat: by role and phase, and how many values were clipped.

    Figures of clients and operators are means over those that have done the step.
    """
    clients = [client for client in clients if client.timings.seconds]
    phases = [phase.name for phase in aggregator.phases]
    own = aggregator.timings.seconds
    return (
        _client_seconds([client.timings.seconds for client in clients], phases)
        | traffic.stats(phases)
        | {f"aggregator.{phase}_s": own.get(phase, 0.0) for phase in phases}
        | ({"aggregator.norm_s": own["norm"]} if "norm" in own else {})
        | {"aggregator.total_s": sum(own.get(phase, 0.0) for phase in phases), "verify_s": own.get("verify", 0.0)}
        | _operator_seconds(operators)
        | _clipped(clipping(clients))
    )


def clipping(clients: Iterable[Client | HostedClient]) -> Clipping:
    """What was clipped of all clients' updates together."""
    return Clipping.of(client.encoded for client in clients if client.encoded is not None)


def _client_seconds(spent: Sequence[dict[str, float]], phases: Sequence[str]) -> dict[str, float]:
    steps = {"encode", "commit"}.union(*spent)
    means = {f"client.{step}_s": _mean(seconds[step] for seconds in spent if step in seconds) for step in sorted(steps)}
    protecting = _mean(sum(seconds.get(phase, 0.0) for phase in phases) for seconds in spent)
    return means | {"client.protect_s": protecting}


def _operator_seconds(operators: Collection[OperatorRole]) -> dict[str, float]:
    means = {}
    for role in sorted({operator.role for operator in operators}):
        spent = [dict(operator.timings.seconds) for operator in operators if operator.role == role]
        for phase in sorted(set[str]().union(*spent)):
            means[f"{role}.{phase}_s"] = _mean(seconds.get(phase, 0.0) for seconds in spent)
    return means


def _clipped(clipping: Clipping) -> dict[str, float]:
    counts = {f"clipped_values.array_{i}": float(count) for i, count in enumerate(clipping.clipped) if count}
    return {"clipped_values": float(sum(clipping.clipped))} | counts if counts else {}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return statistics.fmean(found) if found else 0.0
