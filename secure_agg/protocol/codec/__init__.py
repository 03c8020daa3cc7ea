"""Between float arrays and the small integers that are committed to, hidden and summed.

* ``arrays``: what an update is, and the digest of a model;
* ``fixed_point``: an update group by group, weights as limbs. ``grid``: values on a grid around zero;
* ``support``: which values of a group are sent; ``rotation``: a random Hadamard transform, after which none stands out;
* ``clips``: clips that follow from round to round; ``residuals``: what a client keeps because a round did not take it.
"""

from secure_agg.protocol.codec.arrays import Arrays, check_arrays, clipped_share, model_digest
from secure_agg.protocol.codec.fixed_point import Encoded, FixedPoint, GroupError
from secure_agg.protocol.codec.grid import MARK
from secure_agg.protocol.codec.residuals import keeps_residual, residual_of, with_residual

__all__ = [
    "MARK",
    "Arrays",
    "Encoded",
    "FixedPoint",
    "GroupError",
    "check_arrays",
    "clipped_share",
    "keeps_residual",
    "model_digest",
    "residual_of",
    "with_residual",
]
