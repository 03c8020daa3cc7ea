"""Many hashes at once are the same hashes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from zk import merkle
from zk.norm import hashing
from zk.norm.columns import leaf_hashes, tree
from zk.norm.hashing import hash_rows


@pytest.mark.parametrize("size", [0, 1, 31, 54, 55, 62, 63, 64, 118, 119, 203, 300])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
def test_each_row_s_hash_is_its_own(size: int, count: int) -> None:
    rows = np.random.default_rng(size).integers(0, 256, (count, size), dtype=np.uint8)
    other = np.full((count, 3), 7, dtype=np.uint8)
    found = hash_rows(1, rows, other)
    assert [bytes(row) for row in found] == [hashlib.sha256(b"\1" + row.tobytes() + b"\7\7\7").digest() for row in rows]


def test_both_forms_of_the_kernel_give_the_same_bits() -> None:
    padded = np.random.default_rng(1).integers(0, 1 << 32, (37, 32), dtype=np.uint32)
    size = 29 * 4 - 1
    padded.view(np.uint8)[:, size:] = 0
    padded.view(np.uint8)[:, size] = 0x80
    padded.view(np.uint8)[:, -2:] = divmod(8 * size, 256)
    results = [np.zeros((37, 8), dtype=np.uint32) for _ in range(2)]
    hashing._hash(padded, size, results[0])
    hashing._hash.or_else(padded, size, results[1])
    np.testing.assert_array_equal(*results)


def test_the_tree_is_that_of_rfc_9162() -> None:
    columns = np.random.default_rng(2).integers(0, 1 << 31, (64, 9), dtype=np.uint32)
    salts = np.random.default_rng(3).integers(0, 256, (64, 16), dtype=np.uint8)
    leaves = [row.astype("<u4").tobytes() + salt.tobytes() for row, salt in zip(columns, salts, strict=True)]
    assert tree(leaf_hashes(columns, salts))[-1].tobytes() == merkle.root(leaves)
