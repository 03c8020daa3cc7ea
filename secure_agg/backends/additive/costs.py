"""What a round of additive or Shamir shares grows with: how many are long, and how many aggregators there are."""

from __future__ import annotations

from collections.abc import Mapping

from mpc.ntt import N
from mpc.ring import ELEMENT_BYTES
from secure_agg.backends.additive import rules
from secure_agg.protocol.config import RoundConfig


def amounts(config: RoundConfig, survivors: int) -> Mapping[str, Mapping[str, float]]:
    """By role: bytes of ``long`` shares, of those that are made of a ``key``, of a partial ``sum`` or all ``sums``, and
    of all shares' commitments (``openings``, ``relayed`` to all parties, and with all ``results``); how many
    ``parties`` there are.

    Raises:
        ConfigError: a share can't be sealed at once.
    """
    rules.check_size(config)
    scheme = rules.scheme(config.policy)
    share = float(ELEMENT_BYTES * config.layout.hashed)
    free = scheme.threshold - 1
    long = scheme.parties - free
    openings = float(survivors * scheme.parties * config.commitment.rank * N * ELEMENT_BYTES)
    parties = float(scheme.parties)
    return {
        "client": {"long": long * share, "key": free * share, "parties": parties, "openings": openings},
        "aggregator": {
            "sums": parties * share,
            "parties": parties,
            "openings": openings,
            "relayed": parties * openings,
            "results": config.cohort_size * openings,
        },
        "operator": {
            "long": survivors * long / parties * share,
            "key": survivors * free / parties * share,
            "openings": openings,
            "sum": share,
            "parties": parties,
        },
    }
