"""Bit planes, and the sums behind the zero test.

A *plane* holds one bit of many numbers, 64 to a word: bit i of word w belongs to number 64·w + i. Planes of the
same numbers are stacked along the first axis, least significant first: (bits, rows, words).

Kernels are compiled on import, with fixed signatures: in the middle of a job it would look as if a party hung.
"""

from __future__ import annotations

import numpy as np

from mpc.kernels.compiled import compiled
from secure_agg import extras
from secure_agg.backends.crypten.engine.randomness import Words

WORD = 64


def words_for(count: int) -> int:
    """Words of a plane of ``count`` numbers."""
    return -(-count // WORD)


@compiled(signature="void(uint64[:, ::1], uint64[:, :, ::1])")
def _to_planes(values: Words, planes: Words) -> None:
    bits, rows, words = planes.shape
    count = values.shape[1]
    one = np.uint64(1)
    for row in range(rows):
        for word in range(words):
            start = word * 64
            stop = min(count, start + 64)
            for bit in range(bits):
                packed = np.uint64(0)
                for i in range(start, stop):
                    packed |= ((values[row, i] >> np.uint64(bit)) & one) << np.uint64(i - start)
                planes[bit, row, word] = packed


@compiled(signature="void(uint64[:, :, ::1], uint64[:, ::1])")
def _from_planes(planes: Words, values: Words) -> None:
    bits, rows, words = planes.shape
    count = values.shape[1]
    one = np.uint64(1)
    for row in range(rows):
        for word in range(words):
            start = word * 64
            stop = min(count, start + 64)
            for i in range(start, stop):
                value = np.uint64(0)
                for bit in range(bits):
                    value |= ((planes[bit, row, word] >> np.uint64(i - start)) & one) << np.uint64(bit)
                values[row, i] = value


@compiled(signature="void(uint64[:, ::1], uint64[::1], uint64[:, ::1])")
def _add_subset_sums(values: Words, coins: Words, sums: Words) -> None:
    rows, count = values.shape
    one, zero = np.uint64(1), np.uint64(0)
    for row in range(rows):
        for j in range(count):
            value, coin = values[row, j], coins[j]
            for i in range(64):
                sums[row, i] += value & (zero - ((coin >> np.uint64(i)) & one))


extras.require("mpc")
for _kernel in (_to_planes, _from_planes, _add_subset_sums):
    _kernel.prepare()


def to_planes(values: Words, bits: int) -> Words:
    """The low ``bits`` bits of values (rows, count) as planes (bits, rows, words); padding is zero."""
    planes = np.empty((bits, values.shape[0], words_for(values.shape[1])), dtype=np.uint64)
    _to_planes(np.ascontiguousarray(values), planes)
    return planes


def from_planes(planes: Words, count: int) -> Words:
    """Numbers (rows, count) from their planes (bits, rows, words)."""
    values = np.empty((planes.shape[1], count), dtype=np.uint64)
    _from_planes(np.ascontiguousarray(planes), values)
    return values


def add_subset_sums(values: Words, coins: Words, sums: Words) -> None:
    """Add to ``sums`` (rows, 64) the sums modulo 2^64 of those values (rows, count) that the coins (count) choose.

    Bit i of coin j decides whether value j is in sum i.
    """
    _add_subset_sums(np.ascontiguousarray(values), coins, sums)
