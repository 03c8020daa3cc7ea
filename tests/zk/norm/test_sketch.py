"""The sketch against its definition, and what its distribution is."""

from __future__ import annotations

import numpy as np
import pytest
from support.norm_case import SID, entries

from mpc.ring import Vector
from zk.norm import sketch as module
from zk.norm.sketch import WIDEST, sketch, sketch_key

KEY = sketch_key(SID)


def values(length: int, below: int) -> Vector:
    return np.random.default_rng(length).integers(0, below, length, dtype=np.uint32)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 2047, 2048, 2049, 5000])
@pytest.mark.parametrize(("below", "centre"), [(2, 0), (3, 1), (1 << 16, (1 << 15) - 1), (WIDEST, WIDEST - 1), (1, 99)])
def test_the_sketch_is_the_product(length: int, below: int, centre: int) -> None:
    u = values(length, below)
    np.testing.assert_array_equal(sketch(KEY, u, centre), entries(SID, length) @ (u.astype(np.int64) - centre))


def test_the_sketch_of_nothing_is_zero() -> None:
    assert not sketch(KEY, np.empty(0, dtype=np.uint32), 0).any()


def test_entries_are_a_quarter_a_half_a_quarter_and_rows_and_columns_are_independent() -> None:
    r = entries(SID, 4096).astype(np.float64)
    counts = [np.count_nonzero(r == value) / r.size for value in (-1, 0, 1)]
    np.testing.assert_allclose(counts, [0.25, 0.5, 0.25], atol=2e-3)
    of_rows = (r @ r.T) / 4096 - np.eye(512) / 2
    of_columns = (r[:, :512].T @ r[:, :512]) / 512 - np.eye(512) / 2
    assert np.abs(of_rows).max() < 0.5 * 6 / 64
    assert np.abs(of_columns).max() < 0.5 * 6 / np.sqrt(512)


def test_sessions_have_sketches_of_their_own() -> None:
    assert sketch_key(SID) != sketch_key(bytes(32))


@pytest.mark.parametrize(("value", "centre"), [(WIDEST, 0), (0, WIDEST), (0, -1)])
def test_what_no_sum_can_be_is_refused(value: int, centre: int) -> None:
    with pytest.raises(ValueError, match="not in"):
        sketch(KEY, np.array([value], dtype=np.uint32), centre)


@pytest.mark.parametrize(("below", "count"), [(1 << 16, 16), (1 << 27, 28), (5, 4)])
@pytest.mark.parametrize("length", [2048, 1999, 1])
def test_both_forms_of_the_kernels_give_the_same_bits(below: int, count: int, length: int) -> None:
    u, centre = values(length, below), np.uint32(below // 2)
    planes = [np.empty((32, count), dtype=np.uint64) for _ in range(2)]
    module._planes(u, centre, planes[0])
    module._planes.or_else(u, centre, planes[1])
    np.testing.assert_array_equal(*planes)
    words = np.random.default_rng(1).integers(0, 1 << 64, (32, 2, 512), dtype=np.uint64)
    totals = [np.arange(512) for _ in range(2)]
    module._add_products(words, planes[0], totals[0])
    module._add_products.or_else(words, planes[0], totals[1])
    np.testing.assert_array_equal(*totals)


@pytest.mark.parametrize("shape", ["one coordinate", "constant", "alternating", "cosine", "cosines on a coset", "few"])
def test_no_shape_of_a_vector_shrinks_its_sketch(shape: str) -> None:
    """Vectors that a structured sketch loses a factor 27 on, or that fill one of its dimensions only: each keeps its
    norm here within what 512 rows scatter, one part in ten.
    """
    d = 8192
    t = np.arange(d)
    e = {
        "one coordinate": np.where(t == 4321, 30000, 0),
        "constant": np.full(d, 100),
        "alternating": np.where(t % 2, 100, -100),
        "cosine": 1000 * np.cos(2 * np.pi * t * 17 / 512),
        "cosines on a coset": np.where(t % 32 == 5, 1000 * np.abs(np.cos(np.pi * (t // 512) / 16)), 0),
        "few": np.where(t % 2048 == 7, 9999, 0),
    }[shape]
    e = np.rint(e).astype(np.int64)
    for session in (SID, bytes(32), bytes([1]) * 32):
        v = sketch(sketch_key(session), (e + 32767).astype(np.uint32), 32767)
        assert 0.85 < np.linalg.norm(v) / (16 * np.linalg.norm(e)) < 1.15
