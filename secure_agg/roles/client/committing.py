"""From a trained update to the vector that is hidden, and the commitment to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mpc.keystream import KeyStream
from mpc.ring import Vector
from secure_agg.errors import UpdateError
from secure_agg.protocol.codec import Encoded, FixedPoint, check_arrays
from secure_agg.protocol.config import RoundConfig
from secure_agg.roles.stopwatch import Stopwatch
from zk import commitment, parameters
from zk.commitment import Commitment


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Committed:
    """A client's vector x ‖ s, uint32 of ``config.layout``, and h of it.

    Attributes:
        vector: values, weight and the commitment's randomness.
        commitment: C_i.
        encoded: what encoding has done to update and weight.
    """

    vector: Vector = field(repr=False)
    commitment: Commitment
    encoded: Encoded


def commit_update(
    config: RoundConfig,
    update: Sequence[npt.NDArray[Any]],
    weight: int,
    derive: Callable[[str], bytes],
    timings: Stopwatch,
) -> Committed:
    """Encode an update and commit to it: the same again from the same secrets.

    Args:
        update: float32 or float64 arrays of the configured shapes.
        weight: 1 to the round's limit, see ``FixedPoint.check_weight``.
        derive: the attempt's secrets.
        timings: given the seconds of ``encode`` and ``commit``.

    Raises:
        UpdateError: the update or weight is unfit.
    """
    shapes = check_arrays(update)
    if shapes != config.shapes:
        raise UpdateError(f"the update has arrays of shapes {shapes}, the round {config.shapes}")
    layout = config.layout
    vector = np.empty(layout.total, dtype=np.uint32)
    values, randomness = vector[: layout.committed], vector[layout.committed :]
    with timings("encode"):
        encoded = FixedPoint.of(config).encode(update, weight, derive("rounding"), values)
    with timings("commit"):
        setting = config.commitment
        noise = parameters.noise_bits(setting.bits, setting.clients)
        KeyStream(derive("commitment-randomness")).bounded(0, noise, randomness)
        committed = commitment.commit(setting.pack(values), randomness, setting.rank)
    return Committed(vector, committed, encoded)
