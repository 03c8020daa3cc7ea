"""Z_p: kernels against Python's integers, and strict decoding."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mpc import ring
from mpc.ring import P

ELEMENTS = st.integers(0, P - 1)
PAIRS = st.lists(st.tuples(ELEMENTS, ELEMENTS), min_size=1)
EDGES = [(0, 0), (0, P - 1), (P - 1, 0), (P - 1, 1), (1, P - 1), (P - 1, P - 1), (0, 1)]
NOT_CANONICAL = [P, P + 1, 2**31, 2**32 - 1]


def vector(*values: int) -> ring.Vector:
    return np.array(values, dtype=np.uint32)


def test_p_is_the_stated_number() -> None:
    assert P == 2147473409 == 2**31 - 10239


def test_p_is_prime() -> None:
    assert all(P % divisor for divisor in range(2, math.isqrt(P) + 1))


def test_p_allows_a_negacyclic_transform_of_length_512() -> None:
    assert P % 1024 == 1


@given(PAIRS)
@example(EDGES)
def test_addition_is_that_of_integers_modulo_p(pairs: list[tuple[int, int]]) -> None:
    total = vector(*(a for a, _ in pairs))
    ring.add_into(total, vector(*(b for _, b in pairs)))
    assert total.tolist() == [(a + b) % P for a, b in pairs]


@given(PAIRS)
@example(EDGES)
def test_subtraction_is_that_of_integers_modulo_p(pairs: list[tuple[int, int]]) -> None:
    total = vector(*(a for a, _ in pairs))
    ring.subtract_from(total, vector(*(b for _, b in pairs)))
    assert total.tolist() == [(a - b) % P for a, b in pairs]


@pytest.mark.parametrize("operation", [ring.add_into, ring.subtract_from])
@pytest.mark.parametrize("size", [1, 3])
def test_vectors_of_two_lengths_are_refused(operation: Callable[[ring.Vector, ring.Vector], None], size: int) -> None:
    with pytest.raises(ValueError, match=f"2 and {size} elements"):
        operation(vector(1, 2), np.zeros(size, dtype=np.uint32))


def test_the_largest_element_is_canonical() -> None:
    assert ring.is_canonical(vector(0, P - 1))


@pytest.mark.parametrize("value", NOT_CANONICAL)
@pytest.mark.parametrize("position", [0, 500, 999])
def test_an_entry_from_p_on_is_not_canonical(value: int, position: int) -> None:
    values = np.zeros(1000, dtype=np.uint32)
    values[position] = value
    assert not ring.is_canonical(values)


@given(st.lists(ELEMENTS))
def test_bytes_are_little_endian_and_decode_to_the_same_elements(values: list[int]) -> None:
    data = ring.to_bytes(vector(*values))
    assert data == b"".join(value.to_bytes(4, "little") for value in values)
    assert ring.from_bytes(data).tolist() == values


@pytest.mark.parametrize("value", NOT_CANONICAL)
def test_decoding_refuses_an_entry_from_p_on(value: int) -> None:
    with pytest.raises(ValueError, match=str(P)):
        ring.from_bytes(bytes(8) + value.to_bytes(4, "little"))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 4099])
def test_decoding_refuses_parts_of_elements(length: int) -> None:
    with pytest.raises(ValueError, match=f"{length} bytes"):
        ring.from_bytes(bytes(length))


def test_a_decoded_vector_is_read_only() -> None:
    assert not ring.from_bytes(bytes(8)).flags.writeable


def test_elements_decode_from_any_offset_of_a_message() -> None:
    total = vector(1, 1)
    ring.add_into(total, ring.from_bytes(memoryview(b"x" + ring.to_bytes(vector(5, P - 1)))[1:]))
    assert total.tolist() == [6, 0]


def test_the_byte_view_writes_through() -> None:
    values = np.zeros(2, dtype=np.uint32)
    ring.byte_view(values)[4:8] = (7).to_bytes(4, "little")
    assert values.tolist() == [0, 7]
