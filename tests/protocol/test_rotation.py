"""The random Hadamard rotation: by its definition, in two forms with the same bits, and back exactly."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.keystream import KeyStream
from secure_agg.errors import LocalProtocolError
from secure_agg.protocol.codec import rotation
from secure_agg.protocol.codec.rotation import restore, rotate, rotation_key
from secure_agg.protocol.config.blocks import blocks, least_block, padded

KEY = rotation_key(bytes(range(32)), "values")


def hadamard(size: int) -> npt.NDArray[np.int64]:
    """By its definition: entry (i, j) is −1 to the number of ones that i and j share."""
    index = np.arange(size)
    return 1 - 2 * (np.bitwise_count(index[:, None] & index[None, :]).astype(np.int64) & 1)


def signs(size: int) -> npt.NDArray[np.int64]:
    """From the stream, bit by bit."""
    words = np.empty(-(-size // 32), dtype=np.uint32)
    KeyStream(KEY).words(0, words)
    return np.array([1 - 2 * ((int(words[i // 32]) >> (i % 32)) & 1) for i in range(size)])


def test_a_vector_is_cut_into_the_largest_blocks_and_only_the_last_is_filled_up() -> None:
    assert blocks(1) == ((64, 1),)
    assert blocks(4096) == ((4096, 1),)
    assert blocks(10_000) == ((4096, 2), (1024, 1), (256, 3), (64, 1))
    assert (padded(10_000), least_block(10_000)) == (10_048, 64)
    with pytest.raises(LocalProtocolError, match="a vector of 0 values"):
        blocks(0)


@given(st.integers(1, 1 << 32))
def test_no_vector_grows_by_more_than_63(size: int) -> None:
    assert 0 <= padded(size) - size < 64
    sizes = [block for block, _ in blocks(size)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("size", [1, 64, 70, 256, 1400, 4096, 5450])
def test_the_transform_is_the_one_that_is_written_down(size: int) -> None:
    values = np.random.default_rng(size).integers(-(2**20), 2**20, size).astype(np.float64)
    filled = np.zeros(padded(size))
    filled[:size] = values
    filled *= signs(padded(size))
    expected, start = [], 0
    for block, count in blocks(size):
        for _ in range(count):
            expected.append(hadamard(block) @ filled[start : start + block] / np.sqrt(block))
            start += block
    assert np.array_equal(rotate(values, KEY), np.concatenate(expected))  # of integers both are exact


@pytest.mark.parametrize("size", [1, 63, 4096, 9001])
def test_sums_of_rotated_integers_are_turned_back_exactly(size: int) -> None:
    """What ``restore`` sees are integers that were rounded after the rotation: it undoes the rotation of those."""
    sums = np.random.default_rng(size).integers(-(2**27), 2**27, padded(size))
    back = restore(sums, KEY, size, 1.0)
    rotated = rotate(back, KEY)
    full = [0.0] * (padded(size) - size)
    if not full:
        assert np.array_equal(rotated, sums.astype(np.float64))
    whole = restore(sums, KEY, size, 3.0)
    assert np.allclose(whole, 3.0 * back, rtol=1e-15)
    assert back.shape == (size,)


def test_norms_are_kept_and_a_spike_is_spread() -> None:
    values = np.zeros(4096)
    values[17] = 64.0
    rotated = rotate(values, KEY)
    assert np.array_equal(np.abs(rotated), np.ones(4096))
    values = np.random.default_rng(5).standard_t(3, 5000)
    assert np.linalg.norm(rotate(values, KEY)) == pytest.approx(np.linalg.norm(values), rel=1e-12)


@pytest.mark.parametrize("size", [1, 100, 4096, 3 * 4096 + 1100])
def test_both_forms_have_the_same_bits(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(size)
    values, sums = random.standard_normal(size), random.integers(-(2**30), 2**30, padded(size))
    rotated, back = rotate(values, KEY), restore(sums, KEY, size, 0.37)
    for kernel in (rotation._transform, rotation._signs):
        monkeypatch.setattr(rotation, kernel.loop.__name__, kernel.or_else)
    assert np.array_equal(rotate(values, KEY).view(np.uint64), rotated.view(np.uint64))
    assert np.array_equal(restore(sums, KEY, size, 0.37).view(np.uint64), back.view(np.uint64))


def test_the_signs_of_long_vectors_go_on_in_the_next_stream() -> None:
    size = rotation._SIGNS + 4096
    values = np.zeros(size)
    values[-4096] = 64.0  # of H the first column: all ones, so that what is left is one sign
    words = np.empty(1, dtype=np.uint32)
    KeyStream(KEY).words(1, words)
    assert np.array_equal(rotate(values, KEY)[-4096:], np.full(4096, 1.0 - 2.0 * (int(words[0]) & 1)))


def test_another_round_and_another_group_turn_otherwise() -> None:
    values = np.arange(1.0, 65.0)
    others = [rotation_key(bytes(range(32)), "other"), rotation_key(bytes(32), "values")]
    for key in others:
        assert not np.array_equal(rotate(values, key), rotate(values, KEY))


def test_known_answer() -> None:
    values = np.arange(100.0)
    found = hashlib.sha256(rotate(values, KEY).astype("<f8").tobytes()).hexdigest()
    assert KEY.hex() == "7edd646fb8dbc7bde4a68637bcec6ce0d41f9a5038a89939d4231571ae430fed"
    assert found == "68e19433f0b1b2806553c530dda1a821a2a61755f54093535ad6a103111662f8"


def test_what_is_no_vector_of_float64_and_what_can_not_be_exact_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="no vector of float64"):
        rotate(np.zeros(4, dtype=np.float32), KEY)  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match="no sum of 64 rotated values"):
        restore(np.zeros(63, dtype=np.int64), KEY, 64, 1.0)
    with pytest.raises(LocalProtocolError, match="can't be turned back exactly"):
        restore(np.full(64, 1 << 47, dtype=np.int64), KEY, 64, 1.0)
