"""Rotation: a random Hadamard transform in blocks, after which no coordinate of a vector stands out.

A vector of d values is cut into blocks of B = 4^j values: of 4096 as long as there are so many, then of 1024, 256 and
64; the last is filled up with zeros, so that D ≥ d values are rotated. Of a block x

    y = WHT(σ ∘ x) / √B

with WHT the Walsh-Hadamard transform in natural order, H_1 = (1), H_2B = (H_B H_B; H_B −H_B), and σ public random
signs. √B is 2^j, so only additions round. The rotation is orthogonal: it keeps L2 norms. With random signs a coordinate
of y is nearly Gaussian, whatever x was: except with probability 2·D·exp(−t²/2) all are at most t·‖x‖/√B in size, B the
block that a coordinate is in (Hoeffding). Ailon and Chazelle, "The fast Johnson-Lindenstrauss transform" (2009); Suresh
et al., "Distributed mean estimation with limited communication" (2017).

Sums of rotated integers are turned back exactly: WHT is its own inverse but for a factor B, and is done in int64.

The signs are those bits of the key stream that say 1: coordinate i, padding counted, has bit i mod 32 of 32-bit word
⌊i/32⌋, 2^16 words to a numbered stream (``mpc.keystream``).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc.kernels.compiled import compiled
from mpc.keystream import CHUNK, KeyStream
from secure_agg.errors import LocalProtocolError
from secure_agg.protocol.config.blocks import EXACT, blocks, padded
from zk.transcript import digest

_SIGNS: Final = 32 * CHUNK
"""Signs that one numbered stream gives: whole blocks."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def rotation_key(context: bytes, group: str) -> bytes:
    """The key of the signs, D("rotation", ctx, group): public, and fixed only once the configuration is.

    Args:
        context: the configuration's digest.
        group: name of what is rotated.
    """
    return digest("rotation", context, group.encode())


def _plain_transform(values: npt.NDArray[Any], block: int) -> None:
    half = 1
    while half < block:
        pairs = values.reshape(-1, 2, half)
        difference = pairs[:, 0] - pairs[:, 1]
        pairs[:, 0] += pairs[:, 1]
        pairs[:, 1] = difference
        half *= 2


@compiled(or_else=_plain_transform)
def _transform(values: npt.NDArray[Any], block: int) -> None:
    """WHT of every ``block`` values, in place: float64 or int64."""
    for start in range(0, values.size, block):
        part = values[start : start + block]
        half = 1
        while half < block:
            for first in range(0, block, 2 * half):
                low, high = part[first : first + half], part[first + half : first + 2 * half]
                for i in range(half):
                    a, b = low[i], high[i]
                    low[i] = a + b
                    high[i] = a - b
            half *= 2


def _plain_signs(values: npt.NDArray[Any], words: npt.NDArray[np.uint32]) -> None:
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")[: values.size]
    values *= 1 - 2 * bits.astype(values.dtype)


@compiled(or_else=_plain_signs)
def _signs(values: npt.NDArray[Any], words: npt.NDArray[np.uint32]) -> None:
    """σ ∘ values, in place."""
    for i in range(values.size):
        values[i] *= 1 - 2 * np.int64((words[i >> 5] >> np.uint32(i & 31)) & np.uint32(1))


def _turn(values: npt.NDArray[Any], key: bytes) -> None:
    """σ ∘ values of all blocks, in place."""
    stream, words = KeyStream(key), np.empty(min(CHUNK, -(-values.size // 32)), dtype=np.uint32)
    for number, start in enumerate(range(0, values.size, _SIGNS)):
        part = values[start : start + _SIGNS]
        needed = words[: -(-part.size // 32)]
        stream.words(number, needed)
        _signs(part, needed)


def _transform_all(values: npt.NDArray[Any], size: int) -> None:
    start = 0
    for block, count in blocks(size):
        _transform(values[start : start + block * count], block)
        start += block * count


def rotate(values: Floats, key: bytes) -> Floats:
    """y of a vector.

    Args:
        values: float64 of shape (d,), finite; it is not changed.
        key: from ``rotation_key``.

    Returns:
        float64 of shape (``padded(d)``,); the same bits wherever it is computed.

    Raises:
        LocalProtocolError: another dtype or shape, or no values.
    """
    if values.dtype != np.float64 or values.ndim != 1:
        raise LocalProtocolError(f"{values.dtype} of shape {values.shape} is no vector of float64")
    out = np.zeros(padded(values.size), dtype=np.float64)
    out[: values.size] = values
    _turn(out, key)
    _transform_all(out, values.size)
    _scale(out, values.size, 1.0)
    return out


def restore(sums: Integers, key: bytes, size: int, unit: float) -> Floats:
    """x · unit of what was rotated to ``sums``, integers: exact but for one product, and so the same everywhere.

    Args:
        sums: int64 of shape (``padded(size)``,); it is not changed.
        key: of the rotation.
        size: d.
        unit: what a step of the sums is worth.

    Returns:
        float64 of shape (``size``,): σ ∘ WHT(sums), which is an exact integer, times (unit / 2^j).

    Raises:
        LocalProtocolError: another dtype or shape, or sums whose transform could reach 2^53.
    """
    if sums.dtype != np.int64 or sums.shape != (padded(size),):
        raise LocalProtocolError(f"{sums.dtype} of shape {sums.shape} is no sum of {size} rotated values")
    largest = max(int(sums.max()), -int(sums.min()))
    if largest * blocks(size)[0][0] >= EXACT:
        raise LocalProtocolError(f"a sum of {largest} can't be turned back exactly in blocks of {blocks(size)[0][0]}")
    turned = sums.copy()
    _transform_all(turned, size)
    _turn(turned, key)
    out = turned.astype(np.float64)
    _scale(out, size, unit)
    return out[:size]


def _scale(values: Floats, size: int, unit: float) -> None:
    """Times unit/√B, each block by its own: √B is a power of two."""
    start = 0
    for block, count in blocks(size):
        root = float(1 << (block.bit_length() // 2))
        values[start : start + block * count] *= unit / root
        start += block * count
