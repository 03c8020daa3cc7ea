"""FixedPoint: float tensors to small non-negative integers and back.

A grid of 2H + 1 values around zero, H = 2^(bits − 1) − 1, Q = 2H. With clip c and the round's weight limit M, in
float64 and in the order written:

    y = (min(max(v, −c), c) · ((w / M) · g)) · (H / c)
    k = ⌊y⌋;  q = k + 1 if (t + 1/2) · 2^−32 < y − k, else k;  limited to [−H, H];  u = H + q

t are 32-bit words of a secret stream of the attempt, so rounding is unbiased up to 2^−33 of a step and errors of one
round have nothing to do with those of another; 0 is encoded as H, always. g is 1 but where a norm is bounded and the
clipped update is longer: there it is what makes it short enough, for the arrays that are bounded. Decoding a sum X of
n encodings with summed weights W, S = X − n · H:

    mean = S · ((c · M) / (H · W))

S is an exact integer, so every implementation gets the same bits. The mean is off by less than
step · n · M / W, with step = c / H.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc.framing import integer
from mpc.kernels.compiled import compiled
from mpc.keystream import CHUNK, KeyStream
from mpc.ring import Vector
from secure_agg.errors import LocalProtocolError, UpdateError, VerificationError
from secure_agg.executing import IN_PROCESS, Executor, Shard
from secure_agg.executing.vectors import DECODING, shared, split
from secure_agg.protocol.config import Policy, RoundConfig
from zk.transcript import digest

Arrays = list[npt.NDArray[np.float64]]

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


def check_arrays(arrays: Any) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of an update that can be encoded.

    Raises:
        UpdateError: no arrays, something that is no numpy array, a masked array, another dtype than float32 or
            float64, an array without elements.
    """
    if isinstance(arrays, np.ndarray) or not isinstance(arrays, Sequence):
        raise UpdateError(f"an update is a list of numpy arrays, not a {type(arrays).__name__}")
    if not len(arrays):
        raise UpdateError("the update holds no arrays")
    for i, array in enumerate(arrays):
        if not isinstance(array, np.ndarray | np.floating):  # numpy makes a scalar of the difference of two 0-d arrays
            raise UpdateError(f"array {i} is a {type(array).__name__}, not a numpy array")
        if isinstance(array, np.ma.MaskedArray):
            raise UpdateError(
                f"array {i} is a masked array: what is under a mask can't be left out of a sum of whole vectors; "
                "fill it with .filled(0.0)"
            )
        if array.dtype.newbyteorder("=") not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise UpdateError(
                f"array {i} is {array.dtype}: only float32 and float64 are encoded; convert it with astype"
            )
        if array.size == 0:
            raise UpdateError(f"array {i} has shape {array.shape}, no elements")
    return tuple(array.shape for array in arrays)


@dataclass(frozen=True)
class Encoded:
    """What encoding has done to one client's update and weight: for that client's eyes only.

    Attributes:
        clipped: values that were clipped, by array.
        largest: the largest value in size of the arrays in which something was clipped; 0 where nothing was.
        given: the client's weight.
        weight: the one that the vector carries.
        scale: what the bounded values were multiplied with so that their norm is within the bound; 1 where it was.
    """

    clipped: tuple[int, ...]
    largest: float
    given: int
    weight: int
    scale: float = 1.0


class FixedPoint:
    """The codec of one policy and weight limit."""

    def __init__(self, policy: Policy, weight_limit: int | None = None) -> None:
        """
        Args:
            weight_limit: M, of the round; by default the policy's ``max_weight``.
        """
        self.policy = policy
        self.clip = policy.clip
        self.half = policy.top // 2
        self.weight_limit = policy.max_weight if weight_limit is None else weight_limit
        self.least_weight = policy.least_weight(self.weight_limit)
        self.limbs, self.counts = policy.limbs, policy.counts
        self.halves, self._low = policy.halves, policy.coordinate_bits

    @staticmethod
    def of(config: RoundConfig) -> FixedPoint:
        """The codec of a round."""
        return FixedPoint(config.policy, config.weight_limit)

    @property
    def step(self) -> float:
        """Width of one quantisation step at the weight limit, in the units of the update."""
        return self.policy.step

    def error_bound(self, clients: int, weight_sum: int) -> float:
        """More than a decoded mean can differ from the weighted mean of the clipped updates, per coordinate.

        Errors of a round are independent between coordinates and clients, have mean 0 and a deviation of at most
        half of this divided by √clients; over T rounds they grow as √T, not as T.
        """
        return (self.clip * float(clients * self.weight_limit)) / float(self.half * weight_sum)

    def check_weight(self, weight: object) -> int:
        """The weight that a client's vector carries: its own, or for a policy with a weight scale the nearest that
        the round allows.

        Raises:
            UpdateError: no integer, or above what the round or policy allows.
        """
        most = self.policy.max_weight if self.policy.weight_scale else self.weight_limit
        if isinstance(weight, bool) or not isinstance(weight, int | np.integer) or not 1 <= weight <= most:
            raise UpdateError(f"weight is {weight!r}, not an integer in [1, {most}], the bound of this round's weights")
        return min(max(int(weight), self.least_weight), self.weight_limit)

    def encode(
        self,
        arrays: Sequence[npt.NDArray[Any]],
        weight: int,
        rounding_key: bytes,
        out: Vector,
        *,
        scale: float = 1.0,
        outside: int = 0,
    ) -> Encoded:
        """Write an update and its weight as integers in [0, Q].

        Args:
            arrays: float32 or float64, any shape, byte order or strides.
            weight: of this client, 1 to the weight limit; to the policy's ``max_weight`` where it has a weight scale.
            rounding_key: 32 secret bytes: the same key gives the same integers.
            out: values, then weight limbs, then counts; uint32. Where values go as halves all lower ones come first.
            scale: g, that clipped values are multiplied with, but for those of the last ``outside`` arrays.

        Returns:
            What was clipped: for the client's eyes only.

        Raises:
            UpdateError: an unfit array (see ``check_arrays``), NaN or infinity, a weight out of range.
        """
        check_arrays(arrays)
        values = sum(array.size for array in arrays)
        wanted = values * self.halves + self.limbs + self.counts
        if out.dtype != np.uint32 or out.shape != (wanted,):
            raise LocalProtocolError(f"{out.dtype} of shape {out.shape} has no room for {wanted} coordinates")
        carried = self.check_weight(weight)
        share, units = carried / self.weight_limit, self.half / self.clip
        random, words = KeyStream(rounding_key), np.empty(CHUNK, dtype=np.uint32)
        clipped, largest, position, stream = [], 0.0, 0, 0
        for index, array in enumerate(arrays):
            native = array.dtype.newbyteorder("=")
            flat = np.ascontiguousarray(array, dtype=native).reshape(-1)
            found = 0
            factor = share * scale if index < len(arrays) - outside else share
            for start in range(0, flat.size, CHUNK):
                part = flat[start : start + CHUNK]
                random.words(stream, words[: part.size])
                stream += 1
                target = out[position : position + part.size]
                result = _encode(part, self.clip, factor, units, float(self.half), words, target)
                if result < 0:
                    raise UpdateError(f"array {index} holds NaN or infinity at flat index {start - 1 - result}")
                found += result
                position += part.size
            if found:
                largest = max(largest, float(flat.max()), -float(flat.min()))
            clipped.append(found)
        if self.halves > 1:
            np.right_shift(out[:values], self._low, out=out[values : 2 * values])
            out[:values] &= np.uint32((1 << self._low) - 1)
            position += values
        for limb in range(self.limbs):
            out[position + limb] = (carried >> (self.policy.limb_bits * limb)) & ((1 << self.policy.limb_bits) - 1)
        if self.counts:
            out[position + self.limbs :] = (weight > carried, weight < carried)
        return Encoded(tuple(clipped), largest, int(weight), carried, scale)

    def decode(
        self,
        sums: Vector,
        clients: int,
        shapes: Sequence[tuple[int, ...]],
        executor: Executor = IN_PROCESS,
        context: bytes = b"",
    ) -> tuple[Arrays, int]:
        """The weighted mean and the sum of weights, from X = values ‖ limbs ‖ counts summed over ``clients`` clients.

        Args:
            executor: does it, shard by shard; ``context`` is the configuration's.

        Raises:
            VerificationError: the sum of weights lies outside [clients · least weight, clients · weight limit], or a
                mean outside [−clip, clip] by more than the stated error.
        """
        values, limbs, counts = np.split(sums, [-self.limbs - self.counts, sums.size - self.counts])
        weight_sum = sum(int(limb) << (self.policy.limb_bits * i) for i, limb in enumerate(limbs))
        least, most = clients * self.least_weight, clients * self.weight_limit
        if not least <= weight_sum <= most:
            raise VerificationError(f"the weights of {clients} clients sum to {weight_sum}, outside [{least}, {most}]")
        if counts.size and int(counts.max()) > clients:
            raise VerificationError(f"{int(counts.max())} weights were limited, of {clients} clients")
        if self.halves > 1:  # 24 bits of each of 2^17 clients, and carries, are too wide for 32
            lower, upper = np.split(values, self.halves)
            values = lower + (upper.astype(np.int64) << self._low)
        unit = (self.clip * float(self.weight_limit)) / float(self.half * weight_sum)
        parts = split(values.size, 1, DECODING, executor)
        shards = [Shard(context, *part, (values[slice(*part)], clients * self.half, unit)) for part in parts]
        found = shared(executor, _decode, shards)
        worst = max(each for each, _ in found)
        if self.weight_limit * (worst - clients) > self.half * weight_sum:
            limit = self.clip + self.error_bound(clients, weight_sum)
            reached = worst * self.clip * self.weight_limit / (self.half * weight_sum)
            raise VerificationError(f"a mean is {reached:.6g} in size, above clip plus rounding = {limit:.6g}")
        mean = np.concatenate([part for _, part in found]) if len(found) > 1 else found[0][1]
        average, position = [], 0
        for shape in shapes:
            size = math.prod(shape)
            average.append(mean[position : position + size].reshape(shape))
            position += size
        return average, weight_sum

    def limited(self, sums: Vector) -> tuple[int, int]:
        """How many clients' weights were lowered to the limit, and raised to the least: from X, see ``decode``. Nobody
        can tell whose.
        """
        if not self.counts:
            return 0, 0
        lowered, raised = sums[sums.size - self.counts :]
        return int(lowered), int(raised)


def _decode(
    start: int, stop: int, sums: npt.NDArray[Any], centre: int, unit: float
) -> tuple[int, npt.NDArray[np.float64]]:
    """Of the values [start, stop) of X the largest S in size, and the means."""
    centred = sums.astype(np.int64) - centre
    worst = max(int(centred.max()), -int(centred.min()))
    mean = centred.astype(np.float64)
    mean *= unit
    return worst, mean


def clipped_share(arrays: Sequence[npt.NDArray[Any]], clip: float) -> float:
    """Which part of an update's values would be clipped."""
    beyond = sum(int(np.count_nonzero(np.abs(array) > clip)) for array in arrays)
    return beyond / max(1, sum(array.size for array in arrays))


def model_digest(arrays: Sequence[npt.NDArray[Any]]) -> bytes:
    """The digest of a model or result: shapes, then the elements as little-endian float64, in C order."""
    shapes = b"".join(integer(array.ndim) + b"".join(map(integer, array.shape)) for array in arrays)
    data = hashlib.sha256()
    for array in arrays:
        data.update(np.ascontiguousarray(array, dtype="<f8").data)
    return digest("model", integer(len(arrays)), shapes, data.digest())
