"""The sketch against its definition, and what its distribution is."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from support.norms.norm_case import SID, entries

from mpc.ring import Vector
from zk.norm import sketch as module
from zk.norm.sketch import WIDEST, sketch, sketch_key

KEY = sketch_key(SID)


@cache
def wide() -> npt.NDArray[np.int64]:
    """R's columns for more blocks than one stream is for."""
    return entries(SID, 5 * module.BLOCK)


def values(length: int, below: int) -> Vector:
    return np.random.default_rng(length).integers(0, below, length, dtype=np.uint32)


@pytest.mark.parametrize("length", [1, 511, 16_384, 16_385, 66_000])
@pytest.mark.parametrize(("below", "centre"), [(2, 0), (3, 1), (1 << 16, (1 << 15) - 1), (WIDEST, WIDEST - 1), (1, 99)])
def test_the_sketch_is_the_product(length: int, below: int, centre: int) -> None:
    u = values(length, below)
    np.testing.assert_array_equal(sketch(KEY, u, centre), wide()[:, :length] @ (u.astype(np.int64) - centre))


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


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_both_forms_of_the_kernels_give_the_same_bits(kind: type[np.signedinteger]) -> None:
    rng = np.random.default_rng(1)
    most = (1 << 20) if kind is np.int32 else (1 << 40)
    blocks = np.zeros((4, module.BLOCK + 512), dtype=kind)
    blocks[:, : module.BLOCK] = rng.integers(-most, most, (4, module.BLOCK))
    blocks[:, module.BLOCK :] = blocks[:, :512]
    words = rng.integers(0, 1 << 32, 131072, dtype=np.uint32)
    copies = [np.full((16, module.BLOCK), 7, dtype=kind) for _ in range(2)]
    module._fold(blocks, words[: 32768 + 64], copies[0])
    module._fold.or_else(blocks, words[: 32768 + 64], copies[1])
    np.testing.assert_array_equal(*copies)
    rows = [np.empty((16, 8), dtype=np.int64) for _ in range(2)]
    module._project(copies[0], words, rows[0])
    module._project.or_else(copies[0], words, rows[1])
    np.testing.assert_array_equal(*rows)


def test_what_32_bits_do_not_hold_is_summed_in_64() -> None:
    """All values as large as they can be, and of one sign: sums of 32 · 5 blocks · 2^27 are no int32."""
    u = np.full(5 * module.BLOCK, WIDEST - 1, dtype=np.uint32)
    np.testing.assert_array_equal(sketch(KEY, u, 0), wide() @ u.astype(np.int64))


@pytest.mark.parametrize("distance", [1, 16_384, 16_385, 3 * 16_384, 100_000])
def test_two_values_at_any_distance_do_not_cancel(distance: int) -> None:
    """Values a block apart meet in one copy of 16,384, with another sign in half of those."""
    for session in (SID, bytes(32), bytes([1]) * 32, bytes([2]) * 32):
        for sign in (1, -1):
            u = np.full(200_000, 1000, dtype=np.uint32)
            u[77] += 1000
            u[77 + distance] = 1000 + sign * 1000
            v = sketch(sketch_key(session), u, 1000)
            assert 0.85 < np.linalg.norm(v) / (16 * np.sqrt(2) * 1000) < 1.15


@pytest.mark.parametrize(
    "shape", ["one coordinate", "constant", "alternating", "cosine", "cosines on a coset", "equal blocks", "few"]
)
@pytest.mark.parametrize("blocks", [1, 16])
def test_no_shape_of_a_vector_shrinks_its_sketch(shape: str, blocks: int) -> None:
    """Vectors that a structured sketch loses a factor 27 on, or that fill one of its dimensions only: each keeps its
    norm here within what 512 rows scatter, one part in ten.
    """
    d = 8192 * blocks
    t = np.arange(d)
    e = {
        "one coordinate": np.where(t == 4321, 30000, 0),
        "constant": np.full(d, 100),
        "alternating": np.where(t % 2, 100, -100),
        "cosine": 1000 * np.cos(2 * np.pi * t * 17 / 512),
        "cosines on a coset": np.where(t % 32 == 5, 1000 * np.abs(np.cos(np.pi * (t // 512) / 16)), 0),
        "equal blocks": np.where(t % 16_384 % 4096 == 3, 1000 + t % 16_384, 0),
        "few": np.where(t % (2048 * blocks) == 7, 9999, 0),
    }[shape]
    e = np.rint(e).astype(np.int64)
    for session in (SID, bytes(32), bytes([1]) * 32):
        v = sketch(sketch_key(session), (e + 32767).astype(np.uint32), 32767)
        assert 0.85 < np.linalg.norm(v) / (16 * np.linalg.norm(e)) < 1.15
