"""Values on a grid around zero and back, array by array: the codec's arithmetic.

With clip c, H = 2^(bits − 1) − 1 and a factor f, in float64 and in the order written:

    y = (min(max(v, −c), c) · f) · (H / c)
    k = ⌊y⌋;  q = k + 1 if (t + 1/2) · 2^−32 < y − k, else k;  limited to [−H, H];  u = H + q

t are 32-bit words of a secret stream, so rounding is unbiased up to 2^−33 of a step; 0 is encoded as H, always. A count
is an integer in [0, Q] and is encoded as it is.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc.kernels.compiled import compiled
from mpc.keystream import CHUNK, KeyStream
from mpc.ring import Vector
from secure_agg.executing import Executor, Shard
from secure_agg.executing.vectors import DECODING, shared, split

MARK: Final = -(2.0**100 + 2.0**77)
"""A coordinate that is no quantity but a yes: encoded as one step below zero, whatever clip and weight, where a no is
0. So the sum tells how many said yes, and zero that nobody did. A float32 holds it, and no clip reaches it.
"""


def _plain_encode(
    values: npt.NDArray[Any], clip: float, scale: float, units: float, half: float, words: Vector, out: Vector
) -> int:
    finite = np.isfinite(values)
    if not finite.all():
        return -1 - int(finite.argmin())
    exact = values.astype(np.float64)
    limited = np.clip(exact, -clip, clip)
    y = (limited * scale) * units
    q = np.floor(y)
    q += (words[: values.size] + 0.5) * 2.0**-32 < y - q
    marks = exact == MARK
    out[:] = half + np.where(marks, -1.0, np.clip(q, -half, half))
    return int(np.count_nonzero((limited != exact) & ~marks))


@compiled(or_else=_plain_encode)
def _encode(
    values: npt.NDArray[Any], clip: float, scale: float, units: float, half: float, words: Vector, out: Vector
) -> int:
    """Encode into ``out``. Returns how many values were clipped, or −1 − index of the first that is not finite."""
    clipped = 0
    bad = 0  # their number: the place of the first would keep the loop from being vector instructions
    for i in range(values.size):
        v = values[i] * 1.0
        bad += 0 if abs(v) < np.inf else 1
        limited = min(max(v, -clip), clip)
        y = (limited * scale) * units
        q = np.floor(y)
        q += 1.0 if (words[i] + 0.5) * 2.0**-32 < y - q else 0.0
        q = min(max(q, -half), half)
        is_mark = v == MARK
        clipped += 1 if limited != v and not is_mark else 0
        out[i] = np.uint32(half + (-1.0 if is_mark else q))
    if bad:
        for i in range(values.size):
            if not abs(values[i]) < np.inf:
                return -1 - i
    return clipped


class Rounding:
    """The words by which values of one attempt are rounded: each chunk of an array has a stream of its own."""

    def __init__(self, key: bytes) -> None:
        """``key``: 32 secret bytes."""
        self._random, self._stream, self._words = KeyStream(key), 0, np.empty(CHUNK, dtype=np.uint32)

    def next(self, length: int) -> Vector:
        """Words for the next chunk, at most 65,536: valid until the next call."""
        words: Vector = self._words[:length]
        self._random.words(self._stream, words)
        self._stream += 1
        return words


def encode(values: npt.NDArray[Any], clip: float, factor: float, half: int, rounding: Rounding, out: Vector) -> int:
    """Write values as integers around H.

    Args:
        values: float32 or float64, one dimension, C order.
        factor: f.
        out: of the same length.

    Returns:
        How many were clipped; or −1 − the index of the first value that is not finite.
    """
    found = 0
    for start in range(0, values.size, CHUNK):
        part = values[start : start + CHUNK]
        words = rounding.next(part.size)
        result = _encode(part, clip, factor, half / clip, float(half), words, out[start : start + part.size])
        if result < 0:
            return result - start
        found += result
    return found


def count(values: npt.NDArray[Any], top: int, out: Vector) -> int:
    """Write integers as they are, those outside [0, Q] as the nearest that is not.

    Returns:
        How many were outside; or −1 − the index of the first value that is no integer.
    """
    exact = values.astype(np.float64)
    unfit = ~np.isfinite(exact) | (exact != np.rint(exact))
    if unfit.any():
        return -1 - int(unfit.argmax())
    limited = np.clip(exact, 0.0, float(top))
    out[:] = limited
    return int(np.count_nonzero(limited != exact))


def means(
    sums: npt.NDArray[Any], centre: int, unit: float, executor: Executor, context: bytes
) -> tuple[int, npt.NDArray[np.float64]]:
    """Of S = X − n · H the largest in size, and S · unit.

    Args:
        sums: X.
        centre: n · H.
        unit: what a step of the sum is worth in the mean.
    """
    parts = split(sums.size, 1, DECODING, executor)
    found = shared(executor, _means, [Shard(context, *part, (sums[slice(*part)], centre, unit)) for part in parts])
    worst = max(each for each, _ in found)
    return worst, np.concatenate([part for _, part in found]) if len(found) > 1 else found[0][1]


def _means(
    start: int, stop: int, sums: npt.NDArray[Any], centre: int, unit: float
) -> tuple[int, npt.NDArray[np.float64]]:
    """The same of the values [start, stop) of X."""
    worst, mean = 0, np.empty(sums.size)
    for place in range(0, sums.size, CHUNK):  # what stays in a core's cache is gone through once
        centred = sums[place : place + CHUNK].astype(np.int64)
        centred -= centre
        worst = max(worst, int(centred.max()), -int(centred.min()))
        np.multiply(centred, unit, out=mean[place : place + CHUNK])
    return worst, mean
