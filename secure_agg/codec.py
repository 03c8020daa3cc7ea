"""FixedPoint: float tensors to small non-negative integers and back.

Encoding, in float64:  u = floor((clip(v, ±c) · weight / max_weight + c) · (2^q − 1) / 2c + r), limited to
    [0, 2^q − 1], with r = 1/2 (nearest) or
uniform in [0, 1) (stochastic; r = word / 2^32). Decoding a sum X of n encodings with summed weights W:

    mean = (2X − n · (2^q − 1)) · (c · max_weight / ((2^q − 1) · W))

The integer on the left is exact in float64, so every implementation gets the same bits. The mean is off by
at most step · n · max_weight / W, step = 2c / (2^q − 1).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc.compiled import compiled
from mpc.framing import integer
from mpc.keystream import CHUNK, KeyStream
from mpc.ring import Vector
from secure_agg.config import Policy
from secure_agg.errors import ConfigError, LocalProtocolError, UpdateError, VerificationError
from zk.transcript import digest

Arrays = list[npt.NDArray[np.float64]]

_HALF: Final = np.zeros(0, dtype=np.uint32)


def _plain_encode(
    values: npt.NDArray[Any], clip: float, scale: float, units: float, top: float, noise: Vector, out: Vector
) -> int:
    finite = np.isfinite(values)
    if not finite.all():
        return -1 - int(finite.argmin())
    exact = values.astype(np.float64)
    limited = np.clip(exact, -clip, clip)
    r = noise * 2.0**-32 if noise.size else 0.5
    out[:] = np.clip(np.floor((limited * scale + clip) * units + r), 0.0, top)
    return int(np.count_nonzero(limited != exact))


@compiled(or_else=_plain_encode)
def _encode(
    values: npt.NDArray[Any], clip: float, scale: float, units: float, top: float, noise: Vector, out: Vector
) -> int:
    """Encode into ``out``. Returns how many values were clipped, or −1 − index of the first that is not
    finite.
    """
    stochastic = noise.size > 0
    clipped = 0
    bad = 0  # their number: the place of the first would keep the loop from being vector instructions
    for i in range(values.size):
        v = values[i] * 1.0
        bad += 0 if abs(v) < np.inf else 1
        limited = min(max(v, -clip), clip)
        clipped += 1 if limited != v else 0
        r = 0.5
        if stochastic:
            r = noise[i] * 2.0**-32
        u = np.floor((limited * scale + clip) * units + r)
        out[i] = np.uint32(min(max(u, 0.0), top))
    if bad:
        for i in range(values.size):
            if not abs(values[i]) < np.inf:
                return -1 - i
    return clipped


def check_arrays(arrays: Any) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of an update that can be encoded.

    Raises:
        UpdateError: no arrays, something that is no numpy array, another dtype than float32 or float64, an
            array without a dimension or without elements.
    """
    if isinstance(arrays, np.ndarray) or not isinstance(arrays, Sequence):
        raise UpdateError(f"an update is a list of numpy arrays, not a {type(arrays).__name__}")
    if not len(arrays):
        raise UpdateError("the update holds no arrays")
    for i, array in enumerate(arrays):
        if not isinstance(array, np.ndarray):
            raise UpdateError(f"array {i} is a {type(array).__name__}, not a numpy array")
        if array.dtype.newbyteorder("=") not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise UpdateError(
                f"array {i} is {array.dtype}: only float32 and float64 are encoded; convert it with astype"
            )
        if array.ndim == 0:
            raise UpdateError(f"array {i} has no dimension: reshape a scalar to (1,)")
        if array.size == 0:
            raise UpdateError(f"array {i} has shape {array.shape}, no elements")
    return tuple(array.shape for array in arrays)


class FixedPoint:
    """The codec of one policy."""

    def __init__(self, policy: Policy) -> None:
        self.clip = policy.clip
        self.bits = policy.bits
        self.max_weight = policy.max_weight
        self.stochastic = policy.rounding == "stochastic"
        self.top = (1 << policy.bits) - 1
        self.limbs = -(-policy.max_weight.bit_length() // policy.bits)
        if not math.isfinite(self.top / (2 * self.clip)):
            raise ConfigError(f"clip {self.clip} is too small for {self.bits} bits")

    @property
    def step(self) -> float:
        """Width of one quantisation step, in the units of the update."""
        return 2 * self.clip / self.top

    def error_bound(self, clients: int, weight_sum: int) -> float:
        """Most that a decoded mean differs from the weighted mean of the clipped updates, per coordinate."""
        return self.step * clients * self.max_weight / weight_sum

    def encode(self, arrays: Sequence[npt.NDArray[Any]], weight: int, rounding_key: bytes, out: Vector) -> int:
        """Write an update and its weight as integers in [0, 2^bits).

        Args:
            arrays: float32 or float64, any shape, byte order or strides.
            weight: of this client, 1 to max_weight.
            rounding_key: 32 secret bytes for stochastic rounding: the same key gives the same integers.
            out: values, then weight limbs; uint32.

        Returns:
            How many values were clipped: for the client's eyes only.

        Raises:
            UpdateError: an unfit array (see ``check_arrays``), NaN or infinity, a weight out of range.
        """
        check_arrays(arrays)
        wanted = sum(array.size for array in arrays) + self.limbs
        if out.dtype != np.uint32 or out.shape != (wanted,):
            raise LocalProtocolError(f"{out.dtype} of shape {out.shape} has no room for {wanted} coordinates")
        if isinstance(weight, bool) or not isinstance(weight, int | np.integer) or not 1 <= weight <= self.max_weight:
            raise UpdateError(f"weight is {weight!r}, not an integer in [1, {self.max_weight}]")
        scale, units = int(weight) / self.max_weight, self.top / (2 * self.clip)
        noise_stream = KeyStream(rounding_key) if self.stochastic else None
        noise, clipped, position, stream = _HALF, 0, 0, 0
        for index, array in enumerate(arrays):
            native = array.dtype.newbyteorder("=")
            flat = np.ascontiguousarray(array, dtype=native).reshape(-1)
            for start in range(0, flat.size, CHUNK):
                part = flat[start : start + CHUNK]
                if noise_stream is not None:
                    noise = np.empty(part.size, dtype=np.uint32)
                    noise_stream.words(stream, noise)
                    stream += 1
                target = out[position : position + part.size]
                result = _encode(part, self.clip, scale, units, float(self.top), noise, target)
                if result < 0:
                    raise UpdateError(f"array {index} holds NaN or infinity at flat index {start - 1 - result}")
                clipped += result
                position += part.size
        for limb in range(self.limbs):
            out[position + limb] = (int(weight) >> (self.bits * limb)) & self.top
        return clipped

    def decode(self, sums: Vector, clients: int, shapes: Sequence[tuple[int, ...]]) -> tuple[Arrays, int]:
        """The weighted mean and the sum of weights, from X = values ‖ limbs summed over ``clients`` clients.

        Raises:
            VerificationError: the sum of weights lies outside [clients, clients · max_weight], or a mean
                outside [−clip, clip] by more than the stated error.
        """
        values, limbs = sums[: sums.size - self.limbs], sums[sums.size - self.limbs :]
        weight_sum = sum(int(limb) << (self.bits * i) for i, limb in enumerate(limbs))
        if not clients <= weight_sum <= clients * self.max_weight:
            raise VerificationError(
                f"the weights of {clients} clients sum to {weight_sum}, "
                f"outside [{clients}, {clients * self.max_weight}]"
            )
        mean = 2.0 * values.astype(np.float64) - float(clients * self.top)
        mean *= (self.clip * self.max_weight) / float(self.top * weight_sum)
        limit = self.clip + self.error_bound(clients, weight_sum)
        worst = float(max(mean.max(), -mean.min()))
        if worst > limit:
            raise VerificationError(f"a mean is {worst:.6g} in size, above clip plus rounding = {limit:.6g}")
        average, position = [], 0
        for shape in shapes:
            size = math.prod(shape)
            average.append(mean[position : position + size].reshape(shape))
            position += size
        return average, weight_sum


def model_digest(arrays: Sequence[npt.NDArray[Any]]) -> bytes:
    """The digest of a model or result: shapes, then the elements as little-endian float64, in C order."""
    shapes = b"".join(integer(array.ndim) + b"".join(map(integer, array.shape)) for array in arrays)
    data = hashlib.sha256()
    for array in arrays:
        data.update(np.ascontiguousarray(array, dtype="<f8").data)
    return digest("model", integer(len(arrays)), shapes, data.digest())
