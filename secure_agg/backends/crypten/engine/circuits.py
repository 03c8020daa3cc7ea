"""Boolean circuits on bit planes, with CrypTen's exclusive-or shares and its AND (Beaver's protocol).

A *plane* here is a CrypTen ``BinarySharedTensor`` of packed words (see ``kernels``). Only AND takes communication, one
round each; what can be done in one round is stacked. Everything is exact, whatever the shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mpc.optional import Optional
from secure_agg.backends.crypten.engine.randomness import Words

torch: Any = Optional("torch", "mpc")
Plane = Any
"""A ``BinarySharedTensor``; CrypTen has no types."""


def public(words: Words) -> Any:
    """Public words, as what CrypTen takes for public."""
    return torch.from_numpy(words.view(np.int64))


def majority(a: Plane, b: Plane, c: Plane) -> Plane:
    """Of three bits, with one AND."""
    return ((a ^ c) & (b ^ c)) ^ c


def subtract(minuend: Words, subtrahend: Sequence[Plane]) -> tuple[list[Plane], Plane]:
    """Public minus shared numbers, bit by bit from the least significant.

    Args:
        minuend: public planes (bits, rows, words).
        subtrahend: ``bits`` planes (rows, words).

    Returns:
        The planes of the difference modulo 2^bits, and the plane of the borrow: 1 where minuend < subtrahend.
    """
    difference = [subtrahend[0] ^ public(minuend[0])]
    borrow = subtrahend[0] & public(~minuend[0])
    for bit in range(1, len(subtrahend)):
        difference.append(subtrahend[bit] ^ public(minuend[bit]) ^ borrow)
        # majority(not m, s, b) for public m: one AND, of shared bits
        turned = public(~minuend[bit])
        borrow = ((subtrahend[bit] ^ turned) & (borrow ^ turned)) ^ turned
    return difference, borrow


def greater(left: Sequence[Plane], right: Sequence[Plane]) -> Plane:
    """1 where left > right, for shared numbers of the same number of bits: the borrow of right − left."""
    borrow = left[0] & ~right[0]
    for a, b in zip(left[1:], right[1:], strict=True):
        borrow = majority(a, ~b, borrow)
    return borrow


def count_ones(bits: Plane) -> list[Plane]:
    """How many of the bits (terms, …) are 1, as planes (…), least significant first; full adders in a tree."""
    digits = []
    column = bits
    while True:
        carries = []
        while column.size(0) > 1:
            if column.size(0) == 2:
                carries.append(column[0:1] & column[1:2])
                column = column[0:1] ^ column[1:2]
                continue
            groups = column.size(0) // 3
            a, b, c = (column[i * groups : (i + 1) * groups] for i in range(3))
            rest = column[3 * groups :]
            carries.append(majority(a, b, c))
            column = _join([a ^ b ^ c, rest])
        digits.append(column[0])
        if not carries:
            return digits
        column = _join(carries)


def _join(pieces: Sequence[Plane]) -> Plane:
    result = pieces[0].clone()
    result.share = torch.cat([piece.share for piece in pieces])
    return result


def at_least(digits: Sequence[Plane], threshold: int) -> Plane:
    """1 where the number with these planes is ≥ threshold; threshold in [1, 2^planes)."""
    below: Plane = None  # the borrow of number − threshold; 0 as long as the threshold's bits are
    for bit, digit in enumerate(digits):
        if threshold >> bit & 1:
            below = ~digit if below is None else ~(digit & ~below)
        elif below is not None:
            below = ~digit & below
    return ~below


def none_is_set(words: Plane) -> Plane:
    """1, in bit 0, where all bits of all words of a row (rows, words) are 0."""
    clear = ~words
    while clear.size(1) > 1:
        half = clear.size(1) // 2
        both = clear[:, :half] & clear[:, half : 2 * half]
        rest = clear[:, 2 * half :]
        both.share = torch.cat([both.share, rest.share], dim=1)
        clear = both
    for shift in (32, 16, 8, 4, 2, 1):
        clear = clear & (clear << shift)
    return top_bit(clear[:, 0])


def top_bit(words: Plane) -> Plane:
    """The most significant bit of each word, in bit 0."""
    return (words >> 63) & 1
