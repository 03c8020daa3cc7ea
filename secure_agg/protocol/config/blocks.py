"""In which blocks a vector is rotated: what a configuration has to know of it."""

from __future__ import annotations

from typing import Final

from secure_agg.errors import LocalProtocolError

BLOCKS: Final = (4096, 1024, 256, 64)
"""Sizes of blocks, the largest first."""
EXACT: Final = 1 << 53
"""Sums whose transform stays below this are turned back without an error."""


def blocks(size: int) -> tuple[tuple[int, int], ...]:
    """How a vector of ``size`` values is cut: (B, how many blocks of it), the largest first.

    Raises:
        LocalProtocolError: there is nothing to rotate.
    """
    if size < 1:
        raise LocalProtocolError(f"a vector of {size} values can't be rotated")
    found, rest = [], size
    for block in BLOCKS:
        count = rest // block if block != BLOCKS[-1] else -(-rest // block)
        rest -= count * block
        if count:
            found.append((block, count))
    return tuple(found)


def padded(size: int) -> int:
    """D: coordinates of a rotated vector of ``size`` values, at most 63 more."""
    return sum(block * count for block, count in blocks(size))


def least_block(size: int) -> int:
    """The smallest B of a vector of ``size`` values."""
    return blocks(size)[-1][0]
