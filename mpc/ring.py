"""The ring Z_p of integers modulo the prime p = 2147473409 = 2^31 − 10239.

Elements are ``uint32`` in [0, p), and on the wire 4 bytes, little endian. p = 1 modulo 1024, which is what a negacyclic
transform of length 512 needs, and so close below 2^31 that a random 31-bit word is an element but for 5 in a million.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from mpc.kernels.compiled import compiled

P: Final = 2147473409
ELEMENT_BYTES: Final = 4

Vector = npt.NDArray[np.uint32]

_P32: Final = np.uint32(P)


def _plain_add(total: Vector, values: Vector) -> None:
    total += values
    np.minimum(total, total - _P32, out=total)  # below p, the difference wraps to something huge


def _plain_subtract(total: Vector, values: Vector) -> None:
    total -= values
    np.minimum(total, total + _P32, out=total)


@compiled(or_else=_plain_add)
def _add(total: Vector, values: Vector) -> None:
    for i in range(total.size):
        s = np.uint32(total[i] + values[i])  # below 2p < 2^32
        total[i] = min(s, np.uint32(s - _P32))  # without a branch: all of a vector register at once


@compiled(or_else=_plain_subtract)
def _subtract(total: Vector, values: Vector) -> None:
    for i in range(total.size):
        s = np.uint32(total[i] - values[i])  # below zero it wraps to above 2^31, and p more is the smaller one
        total[i] = min(s, np.uint32(s + _P32))


def is_canonical(values: Vector) -> bool:
    """Whether every entry is below p (entries of a ``uint32`` vector need not be)."""
    return int(values.max(initial=0)) < P


def add_into(total: Vector, values: Vector) -> None:
    """``total += values`` modulo p, in place. Both are canonical and of one length."""
    if total.shape != values.shape:
        raise ValueError(f"vectors of {total.size} and {values.size} elements cannot be added")
    _add(total, values)


def subtract_from(total: Vector, values: Vector) -> None:
    """``total -= values`` modulo p, in place. Both are canonical and of one length."""
    if total.shape != values.shape:
        raise ValueError(f"vectors of {total.size} and {values.size} elements cannot be subtracted")
    _subtract(total, values)


def byte_view(values: Vector) -> memoryview:
    """The elements' bytes, little endian, without copying; writable if the vector is contiguous and writable."""
    return values.astype("<u4", copy=False).data.cast("B")


def to_bytes(values: Vector) -> bytes:
    """The elements, 4 bytes each, little endian."""
    return values.astype("<u4", copy=False).tobytes()


def from_bytes(data: bytes | memoryview) -> Vector:
    """A read-only view of ``data`` as elements.

    Raises:
        ValueError: a length that is no multiple of 4, or an entry that is not below p.
    """
    if len(data) % ELEMENT_BYTES:
        raise ValueError(f"{len(data)} bytes are no whole number of {ELEMENT_BYTES}-byte elements")
    values = np.frombuffer(data, dtype="<u4").astype(np.uint32, copy=False)
    if not is_canonical(values):
        raise ValueError(f"an element is not below p = {P}")
    return values
