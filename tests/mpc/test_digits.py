"""Values packed as digits: what is added is added value by value, and what was tampered with is found or is digits."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.digits import Digits, Runs
from mpc.keystream import CHUNK
from mpc.ring import P


def packed(digits: Digits, values: list[int]) -> list[int]:
    """By Python's integers."""
    k = digits.count
    return [
        sum(v * digits.base**i for i, v in enumerate(values[start : start + k])) for start in range(0, len(values), k)
    ]


def unpacked(digits: Digits, words: list[int], length: int) -> list[int]:
    out = np.empty(length, dtype=np.uint32)
    digits.unpack(np.array(words, dtype=np.uint64), out)
    return [int(value) for value in out]


@pytest.mark.parametrize(
    ("top", "clients", "bits", "count"),
    [
        (3, 10, 64, 12),
        (14, 10, 64, 8),
        (14, 100, 64, 6),
        (14, 1000, 64, 4),
        (254, 10, 64, 5),
        (254, 100, 64, 4),
        (254, 1000, 64, 3),
        (65534, 100, 64, 2),
        (14, 100, 27, 2),
        (254, 100, 27, 1),
    ],
)
def test_as_many_digits_as_fit(top: int, clients: int, bits: int, count: int) -> None:
    digits = Digits.fitting(clients * top + 1, bits)
    assert digits.count == count
    assert digits.base**count <= 1 << bits < digits.base ** (count + 1)


@given(st.integers(1, 1000), st.integers(1, 255), st.lists(st.integers(0, 255), min_size=1, max_size=40), st.data())
def test_sums_of_packed_vectors_are_packed_sums(clients: int, top: int, first: list[int], data: st.DataObject) -> None:
    digits = Digits.fitting(clients * top + 1, 64)
    few = min(clients, 5)
    vectors = [[v % (top + 1) for v in first]]
    vectors += [
        data.draw(st.lists(st.integers(0, top), min_size=len(first), max_size=len(first))) for _ in range(few - 1)
    ]
    total = np.zeros(digits.elements(len(first)), dtype=np.uint64)
    for vector in vectors:
        out = np.empty_like(total)
        digits.pack(np.array(vector, dtype=np.uint32), out)
        assert [int(word) for word in out] == packed(digits, vector)
        total += out
    assert unpacked(digits, total.tolist(), len(first)) == np.sum(vectors, axis=0).tolist()


@pytest.mark.parametrize("base", [3, 21, 1401, 25_401, 65_536, 65_537, 2_642_245, 1 << 27, 1 << 32])
def test_the_largest_sum_fills_a_word_without_a_carry(base: int) -> None:
    digits = Digits.fitting(base, 64)
    full = [base - 1] * digits.count
    assert unpacked(digits, packed(digits, full), digits.count) == full


@pytest.mark.parametrize("base", [3, 1401, 65_537, 2_642_245])
def test_a_word_with_more_than_its_digits_is_refused_at_its_place(base: int) -> None:
    digits = Digits.fitting(base, 64)
    beyond = base**digits.count
    for word in (beyond, 2**64 - 1):
        with pytest.raises(ValueError, match="element 1 holds more than its digits"):
            unpacked(digits, [0, word, 0], 3 * digits.count)
    with pytest.raises(ValueError, match="element 1 holds more"):  # the last one holds a single value
        unpacked(digits, [0, base], digits.count + 1)


def test_another_number_of_elements_is_refused() -> None:
    digits = Digits(1401, 6)
    for count, length in ((2, 6), (1, 7)):
        with pytest.raises(ValueError, match="elements, not the"):
            unpacked(digits, [0] * count, length)
    with pytest.raises(ValueError, match="elements, not the"):
        digits.pack(np.zeros(7, dtype=np.uint32), np.zeros(1, dtype=np.uint64))


@pytest.mark.parametrize(("base", "count"), [(1, 1), (2, 65), (1402, 7), ((1 << 32) + 1, 1), (5, 0)])
def test_digits_that_no_element_holds_are_refused(base: int, count: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        Digits(base, count)


@pytest.mark.parametrize("count", [2, 5])
def test_residues_are_linear_whatever_is_packed(count: int) -> None:
    """A client that commits to values out of range has committed to their combination modulo p, and to nothing else."""
    digits, rng = Digits(31, count), np.random.default_rng(7)
    vector = rng.integers(0, P, 1000, dtype=np.uint32)
    expected = [word % P for word in packed(digits, vector.tolist())]
    assert digits.pack_residues(vector).tolist() == expected


def test_residues_of_more_than_an_element_are_refused() -> None:
    with pytest.raises(ValueError, match="more than an element of 32 bits"):
        Digits(31, 7).pack_residues(np.zeros(7, dtype=np.uint32))


RUNS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 1 << 20)), min_size=1, max_size=5)


@given(RUNS, st.integers(2, 1000), st.sampled_from([27, 64]), st.randoms(use_true_random=False))
def test_runs_of_several_ranges_sum_run_by_run(
    ranges: list[tuple[int, int]], clients: int, bits: int, random: Random
) -> None:
    """With as many digits as each range leaves room for; all but two clients have the largest values of it."""
    ranges = [(length, min(top, (1 << 27) // clients - 1)) for length, top in ranges]
    runs = Runs.fitting(((length, clients * top + 1) for length, top in ranges), bits)
    tops = [top for length, top in ranges for _ in range(length)]
    vectors = [tops, *([random.randint(0, top) for top in tops] for _ in range(2))]
    packed_sum = np.zeros(runs.elements, dtype=np.uint64)
    for vector, times in zip(vectors, (clients - 2, 1, 1), strict=True):
        words = runs.pack(np.array(vector, dtype=np.uint32))
        if bits == 27:
            assert runs.pack_residues(np.array(vector, dtype=np.uint32)).tolist() == words.tolist()
        packed_sum += words * np.uint64(times)
    assert int(packed_sum.max(initial=0)) < 1 << bits
    out = np.empty(runs.values, dtype=np.uint32)
    runs.unpack(packed_sum, out)
    assert out.tolist() == [(clients - 2) * top + a + b for top, a, b in zip(*vectors, strict=True)]
    assert runs.most == max(digits.count for digits, _ in runs.parts)


def test_runs_refuse_other_lengths_and_a_word_beyond_its_own_base() -> None:
    runs = Runs((((Digits(1401, 6), 7)), (Digits(21, 14), 3)))
    with pytest.raises(ValueError, match="9 values, not the 10 of 2 runs"):
        runs.pack(np.zeros(9, dtype=np.uint32))
    with pytest.raises(ValueError, match="2 elements, not the 3"):
        runs.unpack(np.zeros(2, dtype=np.uint64), np.zeros(10, dtype=np.uint32))
    words = np.array([0, 0, 21**3], dtype=np.uint64)  # in the first run it would be three digits
    with pytest.raises(ValueError, match="more than its digits in base 21"):
        runs.unpack(words, np.zeros(10, dtype=np.uint32))


def test_long_vectors_are_packed_over_the_cores() -> None:
    digits, rng = Digits(1401, 6), np.random.default_rng(8)
    vector = rng.integers(0, 1401, 5 * CHUNK + 1, dtype=np.uint32)
    words = np.empty(digits.elements(vector.size), dtype=np.uint64)
    digits.pack(vector, words)
    out = np.empty_like(vector)
    digits.unpack(words, out)
    assert np.array_equal(out, vector)
    padded = np.append(vector, np.zeros(-vector.size % 6, dtype=np.uint32)).reshape(-1, 6).astype(object)
    assert words.tolist() == padded.dot([1401**i for i in range(6)]).tolist()
