"""Between float arrays and the small integers that are committed to, hidden and summed.

* ``fixed_point``: values on a grid around zero, weights as limbs;
* ``rotation``: a random Hadamard transform, after which no value stands out.
"""

from secure_agg.protocol.codec.fixed_point import (
    MARK,
    Arrays,
    Encoded,
    FixedPoint,
    check_arrays,
    clipped_share,
    model_digest,
)

__all__ = ["MARK", "Arrays", "Encoded", "FixedPoint", "check_arrays", "clipped_share", "model_digest"]
