"""What a phase is for, and so who handles it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class PhaseKind(enum.Enum):
    """What a phase is for: see ``secure_agg.backends.contract``."""

    ADVERTISE = "advertise"
    EXCHANGE = "exchange"
    INPUT = "input"
    AGREE = "agree"
    RELEASE = "release"
    EXCISE = "excise"
    BEGIN = "begin"
    OPERATE = "operate"
    CONSENT = "consent"
    OPEN = "open"

    @property
    def of_operators(self) -> bool:
        """Whether operators are asked, and the clients have no part in it."""
        return self in (PhaseKind.BEGIN, PhaseKind.OPERATE, PhaseKind.CONSENT, PhaseKind.OPEN)


@dataclass(frozen=True)
class Phase:
    """One request and response between the aggregator and each party it asks.

    Attributes:
        optional: there are rounds without it: those in which the aggregator's side has nothing to ask in it.
    """

    name: str
    kind: PhaseKind
    optional: bool = False
