"""Flower's ``ArrayRecord``, a model as a message carries it, to named numpy arrays and back."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord

from secure_agg.errors import MalformedMessage

_NUMPY: Final = "numpy.ndarray"
"""Flower's name for the one serialisation that it makes: numpy's own file format."""
_MAGIC: Final = b"\x93NUMPY"
_HEADER: Final = re.compile(
    rb"\{'descr': (?P<descr>.+), "
    rb"'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>|-?[0-9]{1,19},|-?[0-9]{1,19}(?:, -?[0-9]{1,19})+)\), \} *\n"
)
"""What numpy writes."""
_DESCR: Final = re.compile(rb"'(\|b1|\|[iu]1|[<>][iu][248]|[<>]f[248]|[<>]c(?:8|16))'")
"""Booleans, integers, floating-point and complex numbers: what a model is of."""
_MAX_SHOWN: Final = 40
_MAX_HEADER: Final = 10000
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


def without(record: ArrayRecord, names: Iterable[str]) -> ArrayRecord | None:
    """A record that says of these arrays what they are and not what is in them; None where ``filled`` would not come to
    the same bytes again.
    """
    left = dict(record)
    for name in names:
        array = record[name]
        found = _read(name, array)
        # As homes keep it: in C order, and in this machine's byte order.
        own = np.ascontiguousarray(found, dtype=found.dtype.newbyteorder("=")).reshape(found.shape)
        if Array(own).data != array.data:
            return None
        left[name] = Array(array.dtype, tuple(array.shape), array.stype, b"")
    return ArrayRecord(left)


def is_without(record: ArrayRecord) -> bool:
    """Whether arrays are left out, as ``without`` does: a file of numpy's is never empty."""
    return bool(left_out(record))


def left_out(record: ArrayRecord) -> tuple[str, ...]:
    """Names of the arrays that are left out, in their order."""
    return tuple(name for name, array in record.items() if not array.data)


def filled(record: ArrayRecord, arrays: Sequence[npt.NDArray[Any]]) -> ArrayRecord:
    """The record from which ``without`` has left out these arrays, in its order.

    Raises:
        MalformedMessage: they are others.
    """
    whole, rest = dict(record), list(arrays)
    for name, array in record.items():
        if not array.data:
            if not rest or (str(rest[0].dtype), rest[0].shape) != (array.dtype, tuple(array.shape)):
                raise MalformedMessage(f"array {name!r} of the model that is left out is none of this node's")
            whole[name] = Array(rest.pop(0))
    if rest:
        raise MalformedMessage(f"{len(rest)} arrays of this node's model are not among those that are left out")
    return ArrayRecord(whole)


def _read(name: str, array: Array) -> npt.NDArray[Any]:
    """As ``np.load`` does, but without a copy, without room for what the header only claims, and without evaluating it:
    numpy takes it for a literal of Python, whose parser raises this and that.
    """
    if array.stype != _NUMPY:
        raise MalformedMessage(f"array {name!r} is serialised as {array.stype!r}, not {_NUMPY!r}")
    kind, fortran, shape, start = _header(name, array.dtype, array.data)
    if (str(kind), shape) != (array.dtype, tuple(array.shape)):
        raise MalformedMessage(
            f"array {name!r} holds {kind} of shape {shape}, and claims {array.dtype} of shape {tuple(array.shape)}"
        )
    size = len(array.data) - start
    fits = len(shape) <= _MAX_DIMENSIONS and all(0 <= length <= sys.maxsize for length in shape)
    if not fits or kind.itemsize * math.prod(shape) != size:
        raise MalformedMessage(f"array {name!r} of {kind} and shape {shape} can't be {size} bytes")
    flat = np.frombuffer(array.data, dtype=kind, offset=start) if size else np.empty(0, kind)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _header(name: str, claimed: str, data: bytes) -> tuple[np.dtype[Any], bool, tuple[int, ...], int]:
    """Type, order and shape from a file of numpy's format 1.0 or 2.0, and where its elements begin."""
    width = {b"\x01\x00": 2, b"\x02\x00": 4}.get(data[6:8])
    if data[:6] != _MAGIC or width is None:
        raise MalformedMessage(
            f"array {name!r} is not in numpy's format, or in another format version than 1.0 and 2.0"
        )
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    found = _HEADER.fullmatch(data[8 + width : start]) if start <= min(len(data), _MAX_HEADER) else None
    if found is None:
        raise MalformedMessage(f"array {name!r} is not in numpy's format: its header is not what numpy writes")
    descr = _DESCR.fullmatch(found["descr"])
    if descr is None:
        raise MalformedMessage(f"array {name!r} is of {claimed[:_MAX_SHOWN]}, which no model is of")
    shape = tuple(int(length) for length in found["shape"].replace(b",", b" ").split())
    return np.dtype(descr[1].decode()), found["fortran"] == b"True", shape, start
