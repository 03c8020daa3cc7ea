"""What a client keeps of its update because a round did not take it, and adds to the next one.

Of a group with a support only a part of the values is sent; the others, and what was clipped of those that were sent,
are the *residual*. It stays on the client, and takes the place of the one before only once a result contains the
client: of a round that came to nothing the update is still in the last one's. What a rounding adds or takes is no part
of it: fed back, that grows from round to round, since clips follow what is sent and the noise is of their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from secure_agg.errors import UpdateError
from secure_agg.protocol.codec.support import support, support_key
from secure_agg.protocol.config import Part, RoundConfig


def _sparse(config: RoundConfig) -> list[Part]:
    return [part for part in config.layout.parts if part.sent < part.elements]


def keeps_residual(config: RoundConfig) -> bool:
    """Whether a round leaves anything: some group has a support."""
    return bool(_sparse(config))


def with_residual(
    config: RoundConfig, update: Sequence[npt.NDArray[Any]], residual: Sequence[npt.NDArray[Any]]
) -> list[npt.NDArray[Any]]:
    """An update with what earlier rounds have left, array by array: float64 where something is added.

    Args:
        update: of the configured shapes.
        residual: from ``residual_of``, of the last round whose result contains this client; empty before there is one.

    Raises:
        UpdateError: the residual has other shapes: it is of another model.
    """
    found = list(update)
    if not residual:
        return found
    shapes = [np.shape(array) for array in residual]
    if shapes != [np.shape(array) for array in update]:
        raise UpdateError(f"the residual has arrays of shapes {shapes}, and the update others: it is of another model")
    for part in _sparse(config):
        for index in part.arrays:
            found[index] = update[index].astype(np.float64) + residual[index]
    return found


def residual_of(config: RoundConfig, update: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[np.float64]]:
    """What a round does not take of an update that was given to it.

    Args:
        update: what was given, earlier residuals in it.

    Returns:
        Arrays of its shapes: 0 where a group has no support. Of rotated groups what was clipped is no part of it.
    """
    left = [np.zeros(np.shape(array)) for array in update]
    for part in _sparse(config):
        flat = np.concatenate([np.asarray(update[i], dtype=np.float64).reshape(-1) for i in part.arrays])
        chosen = support(support_key(config.context, part.group.name), part.elements, part.sent)
        sent = flat[chosen]
        if not part.group.rotated:
            clips = np.repeat(part.clips, part.sizes)[chosen]
            sent = np.clip(sent, -clips, clips)
        flat[chosen] -= sent
        if part.group.rotated:
            flat[chosen] = 0.0
        start = 0
        for index, size in zip(part.arrays, part.sizes, strict=True):
            left[index] = flat[start : start + size].reshape(np.shape(update[index]))
            start += size
    return left
