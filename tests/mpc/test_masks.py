"""Masks: what is added is the sum of the streams, whatever the number of threads, and it cancels."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mpc import masks
from mpc.keystream import CHUNK, KeyStream
from mpc.masks import Mask
from mpc.ring import P, Vector
from mpc.words import expand_words

LENGTHS = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 6 * CHUNK + 3]


def key(*parts: int) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def data(length: int, seed: int = 1) -> Vector:
    return np.random.default_rng(seed).integers(0, P, length, dtype=np.uint32)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_masked_vector_is_the_sum_of_data_and_streams(cores: int, length: int) -> None:
    chosen = [Mask(key(1), 1), Mask(key(2), -1), Mask(key(3), 1), Mask(key(4), -1), Mask(key(5), -1)]
    expected = data(length).astype(np.int64)
    for mask in chosen:
        expected += mask.sign * KeyStream(mask.key).residue_vector(length).astype(np.int64)
    masked = data(length)
    masks.apply(masked, chosen)
    assert np.array_equal(masked, expected % P)


@pytest.mark.parametrize("length", [0, 1, CHUNK // 2 - 1, CHUNK // 2, CHUNK // 2 + 1, 6 * CHUNK + 3])
def test_masked_words_are_the_sum_of_data_and_streams_modulo_two_to_the_64(cores: int, length: int) -> None:
    chosen = [Mask(key(1), 1), Mask(key(2), -1), Mask(key(3), -1)]
    words = np.random.default_rng(1).integers(0, 1 << 64, length, dtype=np.uint64)
    expected = words.copy()
    for mask in chosen:
        expected += expand_words(mask.key, length) * np.uint64(mask.sign & 0xFFFFFFFFFFFFFFFF)
    masked = words.copy()
    masks.apply(masked, chosen)
    assert np.array_equal(masked, expected)
    masks.apply(masked, [mask.inverse() for mask in chosen])
    assert np.array_equal(masked, words)


def test_other_numbers_are_masked_in_no_ring() -> None:
    with pytest.raises(ValueError, match="float64 is masked in neither ring"):
        masks.apply(np.zeros(3), [])


@pytest.mark.parametrize("length", LENGTHS)
def test_inverse_masks_restore_the_data(length: int) -> None:
    chosen = [Mask(key(1), 1), Mask(key(2), -1)]
    vector = data(length)
    masks.apply(vector, chosen)
    masks.apply(vector, [mask.inverse() for mask in chosen])
    assert np.array_equal(vector, data(length))


def test_the_order_of_masks_does_not_matter() -> None:
    chosen = [Mask(key(i), 1 if i % 2 else -1) for i in range(6)]
    one, other = data(1000), data(1000)
    masks.apply(one, chosen)
    masks.apply(other, chosen[::-1])
    assert np.array_equal(one, other)


def test_no_masks_change_nothing() -> None:
    vector = data(100)
    masks.apply(vector, [])
    assert np.array_equal(vector, data(100))


@pytest.mark.parametrize("parties", [2, 3, 7])
def test_pairwise_masks_cancel_in_the_sum(parties: int) -> None:
    length = CHUNK + 10
    total = np.zeros(length, dtype=np.int64)
    for i in range(parties):
        vector = data(length, seed=i)
        masks.apply(vector, [Mask(key(min(i, j), max(i, j)), 1 if i < j else -1) for j in range(parties) if j != i])
        total += vector
    expected = sum(data(length, seed=i).astype(np.int64) for i in range(parties))
    assert np.array_equal(total % P, expected % P)


@pytest.mark.parametrize("sign", [0, 2, -2])
def test_a_sign_other_than_plus_or_minus_one_is_refused(sign: int) -> None:
    with pytest.raises(ValueError, match=f"not {sign}"):
        Mask(key(1), sign)


def test_repr_hides_the_key() -> None:
    assert repr(Mask(key(1), 1)) == "Mask(sign=1)"
