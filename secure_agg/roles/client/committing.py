"""From a trained update to the vector that is hidden, and the commitment to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc.kernels.compiled import compiled
from mpc.keystream import CHUNK, KeyStream
from mpc.ring import Vector
from secure_agg.errors import NormRefused, UpdateError
from secure_agg.protocol.codec import Encoded, FixedPoint, PrivateCodec, check_arrays
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.norm import REFUSE
from secure_agg.roles.stopwatch import Stopwatch
from zk import commitment, parameters
from zk.commitment import Commitment
from zk.norm.commitment import draw_randomness
from zk.parameters import sketch_rank

_MOST_TRIES: Final = 100
"""Scales that are tried before an update counts as nothing. Each brings its norm to the bound but for its rounding."""
_LESS: Final = 1e-4


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Committed:
    """A client's vector x ‖ s ‖ s', uint32 of ``config.layout``, and h of it.

    Attributes:
        vector: values, weight and the commitments' randomness.
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
        NormRefused: the update is longer than the round allows, and the policy says that it is then not taken.
    """
    shapes = check_arrays(update)
    if shapes != config.shapes:
        raise UpdateError(f"the update has arrays of shapes {shapes}, the round {config.shapes}")
    layout = config.layout
    vector = np.empty(layout.total, dtype=np.uint32)
    values, randomness, sketched = np.split(vector, [layout.committed, layout.committed + layout.randomness])
    with timings("encode"):
        if config.policy.privacy is not None:
            encoded = PrivateCodec(config).encode(update, derive, values)
        else:
            encoded = _encode(config, update, weight, derive("rounding"), values)
    with timings("commit"):
        setting = config.commitment
        noise = parameters.noise_bits(setting.bits, setting.clients)
        KeyStream(derive("commitment-randomness")).bounded(0, noise, randomness)
        committed = commitment.commit(setting.pack(values), randomness, setting.rank)
        if layout.sketch:
            # It is sent with this very vector: a client is in one session of an attempt only, so under one R.
            sketched[:] = draw_randomness(derive("sketch-randomness"), sketch_rank(config.policy.max_clients))
    return Committed(vector, committed, encoded)


def _encode(
    config: RoundConfig, update: Sequence[npt.NDArray[Any]], weight: int, key: bytes, values: Vector
) -> Encoded:
    """Encode; where a norm is bounded, scaled so that the integers' norm is at most B · w / M."""
    codec, bound, rule = FixedPoint.of(config), config.norm_bound, config.policy.norm
    encoded = codec.encode(update, weight, key, values)
    if bound is None or rule is None:
        return encoded
    limit = bound.norm * encoded.weight / bound.most_weight
    scale, covered = 1.0, values[: config.layout.bounded]
    for tries in range(1, _MOST_TRIES + 1):
        squared = _squared_norm(covered, codec.half)
        if squared * bound.most_weight**2 <= (bound.norm * encoded.weight) ** 2:
            return encoded
        if rule.excess == REFUSE:
            raise NormRefused(
                f"the update's norm is {squared**0.5 * codec.step * bound.most_weight / encoded.weight:.6g} after "
                f"clipping and rounding, above norm_bound = {config.policy.norm_limit:.6g}"
            )
        # Where nearly all values are less than a step, rounding makes most of the norm, and less scale goes further.
        scale *= (1 - _LESS * tries) * limit / squared**0.5
        encoded = codec.encode(update, weight, key, values, scale=scale, outside=rule.outside)
    return codec.encode(update, weight, key, values, scale=0.0, outside=rule.outside)


def _plain_part_of_norm(values: Vector, half: int) -> int:
    part = values.astype(np.int64) - half
    return int(part @ part)


@compiled(or_else=_plain_part_of_norm)
def _part_of_norm(values: Vector, half: int) -> int:
    total = np.int64(0)
    for i in range(values.size):
        e = np.int64(values[i]) - half
        total += e * e
    return int(total)


def _squared_norm(values: Vector, half: int) -> int:
    """‖e‖², exactly: 2^16 squares of 23 bits fit 64 bits."""
    return sum(int(_part_of_norm(values[start : start + CHUNK], half)) for start in range(0, values.size, CHUNK))
