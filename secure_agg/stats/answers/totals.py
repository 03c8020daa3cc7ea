"""The sums of all sites' answers, and what proves them."""

from __future__ import annotations

from dataclasses import dataclass

from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.tlog.receipt import Receipt


@dataclass(frozen=True)
class Round:
    """What proves one sum.

    Attributes:
        evidence: for ``secure_agg.verify``. record: of the ledger. receipt: of the ledger, None where there is none.
    """

    evidence: Evidence
    record: RoundRecord
    receipt: Receipt | None


@dataclass(frozen=True)
class Total:
    """The sums of all sites' answers to one question.

    Attributes:
        values: of the question's fields, in order: exact integers; or with noise floats, see ``noisy.Shares.total``.
        participants: ids of the sites whose answers are in.
        rounds: what proves it.
        noise: standard deviation of the noise in each value, in records, times their largest weight; 0 where sums are
            exact.
    """

    values: tuple[int | float, ...]
    participants: tuple[str, ...]
    rounds: tuple[Round, ...]
    noise: float = 0.0
