"""What a round of the computing parties grows with: the shares that each of them computes on."""

from __future__ import annotations

from collections.abc import Mapping

from secure_agg.protocol.config import RoundConfig


def amounts(config: RoundConfig, survivors: int) -> Mapping[str, Mapping[str, float]]:
    """A party's ``shares``, a word for each value of each client."""
    return {"operator": {"shares": float(survivors * config.layout.total)}}
