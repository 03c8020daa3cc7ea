"""Additive shares modulo 2^64: known answers, an independent expansion, and sums that come out whatever the shares."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from mpc.keystream import CHUNK
from mpc.ring import P, Vector
from mpc.words import Words, expand_words, last_share, words_from_bytes, words_to_bytes

KEY = bytes(range(32))
KEYS = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=4)
VECTORS = st.lists(st.integers(0, P - 1), min_size=1, max_size=40).map(lambda items: np.array(items, np.uint32))


def stream(key: bytes, number: int, count: int) -> bytes:
    """The first bytes of a stream: AES in counter mode from the block (number, 0)."""
    start = number.to_bytes(8, "big") + bytes(8)
    return Cipher(algorithms.AES(key), modes.CTR(start)).encryptor().update(bytes(count))


def reference(key: bytes, length: int) -> Words:
    """Word by word as the specification has it: 65,536 words of 32 bits of each stream in turn, low halves first."""
    needed, data = 8 * length, b""
    for number in range(-(-needed // (4 * CHUNK))):
        data += stream(key, number, 4 * CHUNK)
    return np.array([int.from_bytes(data[i : i + 8], "little") for i in range(0, needed, 8)], np.uint64)


def test_the_first_words_of_a_known_key() -> None:
    """From ``openssl enc -aes-256-ctr`` over zeros with this key and a counter of zero."""
    words = expand_words(KEY, 4)
    assert words_to_bytes(words).hex() == "f29000b62a499fd0a9f39a6add2e7780f05d76ae4ab99fe5a6f69b3148c2363d"
    assert [hex(word) for word in words.tolist()][:2] == ["0xd09f492ab60090f2", "0x80772edd6a9af3a9"]


@pytest.mark.parametrize("length", [1, 2, 3, CHUNK // 2 - 1, CHUNK // 2, CHUNK // 2 + 1, CHUNK + 3])
def test_an_expansion_takes_each_stream_in_turn(length: int, cores: int) -> None:
    assert np.array_equal(expand_words(KEY, length), reference(KEY, length))


def test_a_longer_expansion_begins_with_a_shorter_one() -> None:
    whole = expand_words(KEY, CHUNK)
    for length in (1, 7, CHUNK // 2, CHUNK // 2 + 9):
        assert np.array_equal(expand_words(KEY, length), whole[:length])


def test_a_long_expansion_is_the_known_one() -> None:
    digest = hashlib.sha256(words_to_bytes(expand_words(KEY, CHUNK))).hexdigest()
    assert digest == hashlib.sha256(stream(KEY, 0, 4 * CHUNK) + stream(KEY, 1, 4 * CHUNK)).hexdigest()
    assert words_to_bytes(expand_words(KEY, CHUNK // 2 + 1))[-8:] == stream(KEY, 1, 8)


@given(VECTORS, KEYS)
def test_all_shares_sum_up_to_the_vector(vector: Vector, keys: list[bytes]) -> None:
    share = last_share(vector, keys)
    shares = [share, *(reference(key, len(vector)) for key in keys)]
    exact = [sum(column) % 2**64 for column in zip(*(item.tolist() for item in shares), strict=True)]
    assert exact == vector.tolist()
    assert share.dtype == np.uint64


@given(VECTORS, KEYS)
def test_shares_of_sums_are_sums_of_shares(vector: Vector, keys: list[bytes]) -> None:
    twice = last_share(vector, keys) + last_share(vector, keys)
    for key in keys:
        for _ in range(2):
            twice += expand_words(key, vector.size)
    assert twice.tolist() == [2 * value for value in vector.tolist()]


def test_sharing_leaves_the_vector_as_it_was() -> None:
    vector = np.array([0, 1, P - 1], np.uint32)
    last_share(vector, [KEY])
    assert vector.tolist() == [0, 1, P - 1]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_words_round_trip_in_little_endian(items: list[int]) -> None:
    words = np.array(items, np.uint64)
    data = bytes(words_to_bytes(words)) if items else b""
    assert data == b"".join(item.to_bytes(8, "little") for item in items)
    assert words_from_bytes(data, len(items)).tolist() == items


@pytest.mark.parametrize(("size", "length"), [(7, 1), (9, 1), (8, 2), (16, 1), (0, 1), (8, 0)])
def test_another_number_of_bytes_is_refused(size: int, length: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes"):
        words_from_bytes(bytes(size), length)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        expand_words(bytes(size), 1)
