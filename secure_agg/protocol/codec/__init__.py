"""Between float arrays and the small integers that are committed to, hidden and summed.

* ``fixed_point``: values on a grid around zero, weights as limbs;
* ``private``: rotated, with noise of each client's own, for differential privacy;
* ``rotation``: a random Hadamard transform, after which no value stands out.
"""

from __future__ import annotations

from secure_agg.protocol.codec.fixed_point import (
    MARK,
    Arrays,
    Encoded,
    FixedPoint,
    check_arrays,
    clipped_share,
    model_digest,
)
from secure_agg.protocol.codec.private import PrivateCodec
from secure_agg.protocol.config import RoundConfig

__all__ = [
    "MARK",
    "Arrays",
    "Encoded",
    "FixedPoint",
    "PrivateCodec",
    "check_arrays",
    "clipped_share",
    "codec_of",
    "model_digest",
]


def codec_of(config: RoundConfig) -> FixedPoint | PrivateCodec:
    """What a round's sums are decoded by, as its policy says."""
    return FixedPoint.of(config) if config.policy.privacy is None else PrivateCodec(config)
