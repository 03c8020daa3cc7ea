"""The tree over a proof's 4,096 columns, and the opening of many of its leaves at once.

A leaf is the column's elements, 4 bytes each, and 16 random bytes, so that its hash tells nothing of a column that
stays closed. Hashes are those of RFC 9162 (``zk.merkle``); the size is a power of two. An opening holds, level by level
from the leaves up and from left to right, the hashes that the opened leaves do not lead to: one encoding, no choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from zk.merkle import HASH_BYTES, node_hash
from zk.norm.code import LENGTH
from zk.norm.hashing import Bytes, hash_rows

SALT_BYTES: Final = 16
LEVELS: Final = LENGTH.bit_length() - 1
_LEAF, _NODE = 0, 1


def leaf_hashes(columns: npt.NDArray[np.uint32], salts: Bytes) -> Bytes:
    """The hashes of columns, each a row of ``columns``, with their salts, shape (n, 16): shape (n, 32)."""
    return hash_rows(_LEAF, np.ascontiguousarray(columns).astype("<u4", copy=False).view(np.uint8), salts)


def tree(leaves: Bytes) -> list[Bytes]:
    """All levels, leaves first, the root alone in the last. The number of leaves is a power of two."""
    levels = [leaves]
    while levels[-1].shape[0] > 1:
        levels.append(hash_rows(_NODE, levels[-1].reshape(-1, 2 * HASH_BYTES)))
    return levels


def path_positions(indices: Sequence[int]) -> list[list[int]]:
    """Which nodes of each level, leaves first, the opening of these leaves holds; the indices increase."""
    known, levels = list(indices), []
    for _ in range(LEVELS):
        there = set(known)
        levels.append([i ^ 1 for i in known if i ^ 1 not in there])
        known = sorted({i >> 1 for i in known})
    return levels


def open_columns(levels: list[Bytes], indices: Sequence[int]) -> bytes:
    """The hashes of an opening, one after the other."""
    return b"".join(levels[h][level].tobytes() for h, level in enumerate(path_positions(indices)))


def opened_root(leaves: Bytes, indices: Sequence[int], hashes: bytes | memoryview) -> bytes:
    """The root that opened leaves and the hashes of the opening lead to.

    Raises:
        ValueError: more or fewer hashes than these leaves take.
    """
    positions = path_positions(indices)
    wanted = sum(map(len, positions)) * HASH_BYTES
    if len(hashes) != wanted:
        raise ValueError(f"the opening of these columns has {wanted} bytes, not {len(hashes)}")
    data, at = bytes(hashes), 0
    known = dict(zip(indices, map(bytes, leaves), strict=True))
    for level in positions:
        for i in level:
            known[i] = data[at : at + HASH_BYTES]
            at += HASH_BYTES
        known = {i >> 1: node_hash(known[i], known[i | 1]) for i in known if not i & 1}
    return known[0]
