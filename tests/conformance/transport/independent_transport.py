"""A second implementation of what a client of `masking` sends, written from docs/specification.md alone.

Slow, and by Python's integers: a vector is lists of coordinates, a mask is a key and a sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conformance.independent_verifier import P, digits, mask_bits, option, prg, words

WORD = 1 << 64


def transport(policy: dict[str, Any]) -> int:
    """The option, or what holds where it is missing."""
    return option(policy, "transport", 0 if option(policy, "screening", 0) else 1)


def as_digits(values: Sequence[int], base: int, count: int) -> list[int]:
    """Section 3."""
    parts = [values[start : start + count] for start in range(0, len(values), count)]
    return [sum(value * base**i for i, value in enumerate(part)) for part in parts]


def most_digits(base: int) -> int:
    """K: the greatest integer with B^K ≤ 2^64."""
    return max(k for k in range(1, 65) if base**k <= WORD)


def packed(
    policy: dict[str, Any], ranges: Sequence[tuple[int, int]], x: Sequence[int], s: Sequence[int], side: Sequence[int]
) -> tuple[list[int], int]:
    """What is masked, and the modulus: of x, of s, and of s', which may be empty.

    Args:
        ranges: of x: how many coordinates, and the most that each is. One where there are no groups.
    """
    clients, start, runs = int(policy["max_clients"]), 0, []
    for length, top in ranges:
        runs.append((x[start : start + length], top))
        start += length
    if transport(policy) == 0:
        elements = [e for part, top in runs for e in as_digits(part, *digits(policy, top))]
        return [*(element % P for element in elements), *s, *side], P
    if all(most_digits(clients * top + 1) < 3 for _, top in runs):
        return [*x, *s, *side], P
    runs += [(s, 2 ** mask_bits(policy) - 1), (side, 3)]
    bases = [(part, clients * top + 1) for part, top in runs]
    return [element for part, base in bases for element in as_digits(part, base, most_digits(base))], WORD


def mask(key: bytes, length: int, modulus: int) -> list[int]:
    """PRG, in either ring."""
    if modulus == P:
        return [int(element) for element in prg(key, length)]
    found: list[int] = []
    for stream in range(-(-length // 32768)):
        halves = words(key, stream, 2 * min(32768, length - 32768 * stream)).tolist()
        found += [low + (high << 32) for low, high in zip(halves[::2], halves[1::2], strict=True)]
    return found


def sent(
    policy: dict[str, Any],
    ranges: Sequence[tuple[int, int]],
    x: Sequence[int],
    s: Sequence[int],
    side: Sequence[int],
    masks: Sequence[tuple[bytes, int]],
) -> bytes:
    """The masked vector."""
    total, modulus = packed(policy, ranges, x, s, side)
    for key, sign in masks:
        found = mask(key, len(total), modulus)
        total = [(element + sign * more) % modulus for element, more in zip(total, found, strict=True)]
    return b"".join(element.to_bytes(4 if modulus == P else 8, "little") for element in total)
