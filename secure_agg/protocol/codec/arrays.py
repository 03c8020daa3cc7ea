"""What an update is, and the digest of a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mpc.framing import integer
from mpc.keystream import CHUNK
from secure_agg.errors import UpdateError
from zk.transcript import digest

Arrays = list[npt.NDArray[np.float64]]


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


def clipped_share(arrays: Sequence[npt.NDArray[Any]], clip: float) -> float:
    """Which part of an update's values would be clipped."""
    beyond = sum(int(np.count_nonzero(np.abs(array) > clip)) for array in arrays)
    return beyond / max(1, sum(array.size for array in arrays))


def model_digest(arrays: Sequence[npt.NDArray[Any]]) -> bytes:
    """The digest of a model or result: shapes, then the elements as little-endian float64, in C order."""
    shapes = b"".join(integer(array.ndim) + b"".join(map(integer, array.shape)) for array in arrays)
    data = hashlib.sha256()
    for array in arrays:
        flat = np.ascontiguousarray(array).reshape(-1)
        step = flat.size if flat.dtype == "<f8" else CHUNK  # what is converted stays in a core's cache
        for start in range(0, flat.size, max(1, step)):
            data.update(flat[start : start + step].astype("<f8", copy=False).data)
    return digest("model", integer(len(arrays)), shapes, data.digest())
