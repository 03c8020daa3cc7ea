"""What a round in one process has cost: seconds and bytes by role and phase."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field


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
