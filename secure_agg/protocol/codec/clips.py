"""Clips that follow from round to round: what one client says of its own. See ``groups.next_step``."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg.protocol.config import Group

_COARSE: Final = 4
"""Up to so many bits a clip that is met by the largest value wastes most of the grid."""
_TAILS: Final = ((2, 1.0), (3, 1.5), (4, 2.5), (6, 3.0), (8, 4.0), (24, 8.0))
"""Of rotated values, which are nearly Gaussian: by bits, how many deviations the clip is best at."""


def tail(bits: int) -> float:
    """t: the clip of a rotated group of so many bits is t · ‖v‖ / √d."""
    low = max(item for item in _TAILS if item[0] <= bits)
    high = min(item for item in _TAILS if item[0] >= bits)
    if low == high:
        return low[1]
    return low[1] + (high[1] - low[1]) * (bits - low[0]) / (high[0] - low[0])


def range_of(values: npt.NDArray[Any], group: Group) -> float:
    """The clip that would be right for one client's values of an array, or of a rotated group.

    Args:
        values: what is sent of them, float32 or float64, one dimension.

    Returns:
        The largest in size, with up to four bits at most b + 2 times the root of the mean square; where they are
        rotated t times that.
    """
    exact = np.abs(values.astype(np.float64))
    rms = float(np.sqrt(np.mean(exact * exact)))
    if group.rotated:
        return tail(group.bits) * rms
    largest = float(exact.max())
    return min(largest, (group.bits + 2) * rms) if group.bits <= _COARSE else largest


def is_unclipped(values: npt.NDArray[Any], clip: float, group: Group) -> bool:
    """What a client says of an adaptive clip: whether it is no smaller than would be right. Nobody checks it but by
    the range of the sum.
    """
    return range_of(values, group) <= clip
