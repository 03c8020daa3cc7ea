"""PrivateCodec: float tensors to rotated integers with Skellam noise, and sums of them back.

The codec of rounds with differential privacy; ``privacy.mechanism`` says which numbers it goes by. With s = L/c,

    x ← v · min(1, c/‖v‖);  y = L/c · rotate(x);  q = y rounded without bias, until ‖q‖² ≤ Δ2², at most 64 times, else 0
    q limited to ±A_q;  z ~ Skellam(V_i), limited to ±A_z;  u = H + q + z

What a client's data decides is q alone, and ‖q‖² is compared as an exact integer: no rounding of floats can make it
longer. The noise is drawn by a key that q goes into, so the same noise never meets other data: whoever could make a
client encode two updates in one attempt would see their difference otherwise.

A sum X of n encodings decodes to S = X − n·H, turned back exactly, times c/(L·n): the unweighted mean, with its noise.
The one limb of a weight carries 1 of every client, which tells their number.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc.keystream import CHUNK, KeyStream, derive_key
from mpc.ring import Vector
from secure_agg.errors import ConfigError, LocalProtocolError, UpdateError, VerificationError
from secure_agg.executing import IN_PROCESS, Executor
from secure_agg.privacy import skellam
from secure_agg.protocol.codec.arrays import Arrays, check_arrays
from secure_agg.protocol.codec.fixed_point import Encoded, GroupError
from secure_agg.protocol.codec.grid import MARK
from secure_agg.protocol.codec.rotation import Floats, Integers, restore, rotate, rotation_key
from secure_agg.protocol.config import RoundConfig

GROUP: Final = "values"
"""Name of what is rotated: all of a model's values together."""
MOST_TRIES: Final = 64
"""Roundings; each is taken with a probability of 0.39 or more."""
_TRY: Final = 1 << 32
"""Numbered streams of one of them."""


class PrivateCodec:
    """The codec of one round with privacy."""

    def __init__(self, config: RoundConfig) -> None:
        """
        Raises:
            ConfigError: the round has none.
        """
        made = config.mechanism
        if made is None:
            raise ConfigError("the policy says nothing of privacy")
        self._config, self.mechanism = config, made
        self.clip, self.half = config.policy.clip, config.policy.top // 2
        self.limbs = config.policy.limbs  # one, whatever the bits: a weight is 1
        self._key = rotation_key(config.context, GROUP)

    def error_bound(self, clients: int, weight_sum: int) -> float:
        """More than a value of the mean can be off by rounding from the mean of the clipped updates, noise apart and
        but with a probability of 2^−40: a step in each coordinate of a block.
        """
        return math.sqrt(min(4096, self.mechanism.padded)) * self.clip / self.mechanism.length

    def deviation(self, clients: int) -> float:
        """The standard deviation of the noise in each value of the mean of so many clients, all honest."""
        return self.mechanism.deviation * self.clip / (self.mechanism.length * math.sqrt(clients))

    def encode(self, arrays: Sequence[npt.NDArray[Any]], derive: Callable[[str], bytes], out: Vector) -> Encoded:
        """Write an update as integers in [0, Q], with noise.

        Args:
            arrays: float32 or float64 of the configured shapes.
            derive: the attempt's secrets.
            out: D values, then the weight's limb; uint32.

        Returns:
            What was done: ``scale`` below 1 if the update was longer than c. For the client's eyes only.

        Raises:
            UpdateError: an unfit array (see ``check_arrays``), NaN or infinity, or a mark: what is no quantity would
                be the longest by far, and take the whole norm.
        """
        made = self.mechanism
        if out.dtype != np.uint32 or out.shape != (made.padded + self.limbs,):
            raise LocalProtocolError(f"{out.dtype} of shape {out.shape} has no room for {made.padded} coordinates")
        values, scale = _clipped(arrays, self.clip)
        rounded = _rounded(rotate(values, self._key) * (made.length / self.clip), made.squared, derive("rounding"))
        np.clip(rounded, -made.value_limit, made.value_limit, out=rounded)
        noise = skellam.draw(made.variance, noise_key(derive("noise"), rounded), rounded.size)
        np.clip(noise, -made.noise_limit, made.noise_limit, out=noise)
        rounded += noise
        rounded += self.half
        out[: made.padded] = rounded
        out[made.padded] = 1
        return Encoded((0,) * len(arrays), 0.0, 1, 1, scale)

    def decode(
        self,
        sums: Vector,
        clients: int,
        shapes: Sequence[tuple[int, ...]],
        executor: Executor = IN_PROCESS,
        context: bytes = b"",
    ) -> tuple[Arrays, int]:
        """The mean with its noise, and the number of clients, from X = values ‖ limb summed over ``clients`` clients.

        Args:
            executor: of other codecs; a rotation is turned back in this process.

        Raises:
            VerificationError: the weights are not 1 each.
        """
        made = self.mechanism
        total = int(sums[made.padded])
        if total != clients:
            raise VerificationError(f"the weights of {clients} clients sum to {total}, where each is 1")
        centred = sums[: made.padded].astype(np.int64) - clients * self.half
        size = sum(math.prod(shape) for shape in shapes)
        unit = self.clip / float(made.length * clients)
        mean = restore(centred, self._key, size, unit)
        average, position = [], 0
        for shape in shapes:
            average.append(mean[position : position + math.prod(shape)].reshape(shape))
            position += math.prod(shape)
        return average, total

    def limited(self, sums: Vector) -> tuple[int, int]:
        """Weights that were limited: none, there are no weights."""
        return 0, 0

    def errors(self, clients: int, weight_sum: int) -> tuple[GroupError, ...]:
        """What rounding has cost each group: there are none."""
        return ()

    def next_clips(self, sums: Vector, clients: int) -> tuple[tuple[int, ...], ...]:
        """Adaptive clips of each group: likewise."""
        return ()


def noise_key(secret: bytes, rounded: Integers) -> bytes:
    """The key of one client's noise: of this attempt, and of what it is added to.

    Args:
        secret: of the attempt, for noise alone.
        rounded: q, int64.
    """
    hashed = hashlib.sha256(rounded.astype("<i8").tobytes()).digest()
    return derive_key(secret, "client/noise", hashed)


def _clipped(arrays: Sequence[npt.NDArray[Any]], clip: float) -> tuple[Floats, float]:
    """All values as one vector of norm at most c, and what they were multiplied with."""
    check_arrays(arrays)
    flat = np.concatenate([np.asarray(array, dtype=np.float64).reshape(-1) for array in arrays])
    if not np.isfinite(flat).all():
        place = int(np.isfinite(flat).argmin())
        for index, array in enumerate(arrays):
            if place < array.size:
                raise UpdateError(f"array {index} holds NaN or infinity at flat index {place}")
            place -= array.size
    largest = float(np.abs(flat).max())
    if largest >= -MARK and (flat == MARK).any():
        raise UpdateError("an update holds marks, which privacy has no place for: only quantities have noise")
    if not largest:
        return flat, 1.0
    norm = float(np.sqrt(np.square(flat / largest).sum()))  # times the largest, which a square may not bear
    if norm * (largest / clip) <= 1:
        return flat, 1.0
    return flat * (1 / largest) * (clip / norm), (clip / largest) / norm


def _rounded(scaled: Floats, squared: int, key: bytes) -> Integers:
    """q: rounded to a neighbour each, without bias but for the condition that ‖q‖² ≤ Δ2²; zero if none of 64 tries has
    come to that.

    Args:
        scaled: y.
        squared: Δ2².
        key: 32 secret bytes.
    """
    stream, words = KeyStream(key), np.empty(min(CHUNK, scaled.size), dtype=np.uint32)
    below = np.floor(scaled)
    rest = scaled - below
    whole = below.astype(np.int64)
    for tries in range(MOST_TRIES):
        rounded = whole.copy()
        for number, start in enumerate(range(0, scaled.size, CHUNK)):
            part = words[: min(CHUNK, scaled.size - start)]
            stream.words(tries * _TRY + number, part)
            rounded[start : start + CHUNK] += (part + 0.5) * 2.0**-32 < rest[start : start + CHUNK]
        if int(rounded @ rounded) <= squared:
            return rounded
    return np.zeros_like(whole)
