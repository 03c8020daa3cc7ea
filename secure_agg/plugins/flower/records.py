"""Flower's ``ArrayRecord``, a model as a message carries it, to named numpy arrays and back."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord

from secure_agg.errors import MalformedMessage
from secure_agg.refusal import LIBRARY_ERRORS

_NUMPY: Final = "numpy.ndarray"
"""Flower's name for the one serialisation that it makes: numpy's own file format."""
_KINDS: Final = "biufc"
"""Booleans, integers, floating-point and complex numbers: what a model is of."""
_MAX_DIMENSIONS: Final = 64
"""numpy's own limit."""


def to_arrays(record: ArrayRecord) -> dict[str, npt.NDArray[Any]]:
    """A record's arrays by its keys, in its order: read-only views of its bytes, so that a model is there once.

    Raises:
        MalformedMessage: an array is not serialised by numpy, its bytes are not what they and the record say, or it
            would have to be unpickled; names it.
    """
    return {name: _read(name, array) for name, array in record.items()}


def to_record(named: Mapping[str, npt.NDArray[Any]]) -> ArrayRecord:
    """A record with these keys in this order; dtypes, byte orders and shapes stay what they are."""
    record = ArrayRecord()
    for name, array in named.items():
        record[name] = Array(array)
    return record


def _read(name: str, array: Array) -> npt.NDArray[Any]:
    """As ``np.load`` does, but without a copy, and without room for what the header only claims."""
    if array.stype != _NUMPY:
        raise MalformedMessage(f"array {name!r} is serialised as {array.stype!r}, not {_NUMPY!r}")
    file = BytesIO(array.data)  # shares the bytes
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"format version {version}")
    except (SyntaxError, *LIBRARY_ERRORS) as error:  # numpy evaluates the header as a literal of Python
        raise MalformedMessage(f"array {name!r} is not in numpy's format: {type(error).__name__}") from error
    if (str(dtype), shape) != (array.dtype, tuple(array.shape)):
        raise MalformedMessage(
            f"array {name!r} holds {dtype} of shape {shape}, and claims {array.dtype} of shape {tuple(array.shape)}"
        )
    size = len(array.data) - file.tell()
    fits = len(shape) <= _MAX_DIMENSIONS and all(0 <= length <= sys.maxsize for length in shape)
    if dtype.kind not in _KINDS or not fits or dtype.itemsize * math.prod(shape) != size:
        raise MalformedMessage(f"array {name!r} of {dtype} and shape {shape} can't be {size} bytes")
    flat = np.frombuffer(array.data, dtype=dtype, offset=file.tell()) if size else np.empty(0, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
