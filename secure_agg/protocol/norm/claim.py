"""What a round with a norm bound claims of its participants' norms, as numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.norm import factor
from secure_agg.protocol.evidence import RoundRecord


@dataclass(frozen=True)
class NormClaim:
    """What a round says of norms.

    Attributes:
        bound: B in the units of the update: every participant's update has at most B · weight / weight limit, before
            it counts by its weight.
        factor: how many times that the corrupt participants together can have per head, whatever they do, in
            hundredths; 0 where no such number is known.
    """

    bound: float
    factor: int

    @staticmethod
    def of(config: RoundConfig) -> NormClaim | None:
        """Of a round; None where no norm is bounded."""
        bound = config.norm_bound
        if bound is None:
            return None
        return NormClaim(config.policy.norm_limit, factor(bound, config.policy.max_corrupt))

    @staticmethod
    def of_record(record: RoundRecord) -> NormClaim | None:
        """Of a round's record; None where no norm is bounded."""
        return NormClaim(record.norm_bound, record.norm_factor) if record.norm_bound else None

    @property
    def text(self) -> str:
        """For people."""
        most = "how far corrupt ones can exceed it is not known for so many of them"
        if self.factor:
            most = f"corrupt ones together reach at most {self.factor / 100:.2f} times that each"
        return f"every update has an L2 norm of at most {self.bound:.6g} times its share of the largest weight; {most}"
