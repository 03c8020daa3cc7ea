"""Sharing long vectors: any threshold shares rebuild them, one fewer fit every vector, and sums are shared alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.keystream import CHUNK
from mpc.ring import P, Vector
from mpc.vector_shares import MAX_PARTIES, Scheme, add_scaled, expand, weighted_sum

LENGTH = 5
ELEMENT = st.integers(0, P - 1)
VECTOR = st.lists(ELEMENT, min_size=LENGTH, max_size=LENGTH).map(lambda items: np.array(items, np.uint32))


@st.composite
def schemes(draw: st.DrawFn, most: int = MAX_PARTIES) -> Scheme:
    parties = draw(st.integers(2, most))
    return Scheme(parties, draw(st.integers(2, parties)))


def deal(scheme: Scheme, vector: Vector, free: Mapping[int, Vector]) -> dict[int, Vector]:
    """All shares: the free ones are given, the others follow."""
    places = sorted(free)
    shares = dict(free)
    for party in set(range(scheme.parties)) - set(free):
        first, others = scheme.factors(party, places)
        shares[party] = weighted_sum([vector, *(free[i] for i in places)], [first, *others])
    return shares


def dealt(data: st.DataObject, scheme: Scheme, vector: Vector) -> dict[int, Vector]:
    long = scheme.long_holders(data.draw(st.integers(0, 2**64)))
    return deal(scheme, vector, {i: data.draw(VECTOR) for i in range(scheme.parties) if i not in long})


def rebuild(scheme: Scheme, shares: Mapping[int, Vector], parties: Sequence[int]) -> list[int]:
    return weighted_sum([shares[i] for i in parties], scheme.weights(parties)).tolist()


def solve(matrix: list[list[int]], values: list[int]) -> list[int]:
    """The one solution of a square system modulo p, by Gauss and Jordan in Python's integers."""
    rows = [[*row, value] for row, value in zip(matrix, values, strict=True)]
    for i in range(len(rows)):
        pivot = next(r for r in range(i, len(rows)) if rows[r][i] % P)  # none: the system is singular
        rows[i], rows[pivot] = rows[pivot], rows[i]
        inverse = pow(rows[i][i], -1, P)
        rows[i] = [entry * inverse % P for entry in rows[i]]
        for r in range(len(rows)):
            if r != i:
                rows[r] = [(a - rows[r][i] * b) % P for a, b in zip(rows[r], rows[i], strict=True)]
    return [row[-1] for row in rows]


# --- rebuilding -----------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.data())
def test_any_threshold_shares_in_any_order_rebuild_the_vector(data: st.DataObject) -> None:
    scheme, vector = data.draw(schemes()), data.draw(VECTOR)
    shares = dealt(data, scheme, vector)
    chosen = data.draw(st.permutations(range(scheme.parties)))[: scheme.threshold]
    assert rebuild(scheme, shares, chosen) == vector.tolist()


@settings(max_examples=60)
@given(st.data())
def test_sums_of_shares_are_shares_of_the_sum(data: st.DataObject) -> None:
    """Whoever the long shares of each vector went to."""
    scheme = data.draw(schemes(6))
    vectors = data.draw(st.lists(VECTOR, min_size=1, max_size=4))
    dealings = [dealt(data, scheme, vector) for vector in vectors]
    sums = {i: weighted_sum([shares[i] for shares in dealings], [1] * len(vectors)) for i in range(scheme.parties)}
    expected = [sum(int(vector[j]) for vector in vectors) % P for j in range(LENGTH)]
    for parties in combinations(range(scheme.parties), scheme.threshold):
        assert rebuild(scheme, sums, parties) == expected


@settings(max_examples=60)
@given(st.data())
def test_threshold_shares_imply_every_other_and_an_altered_one_is_noticed(data: st.DataObject) -> None:
    scheme = data.draw(schemes().filter(lambda scheme: not scheme.additive))
    shares = dealt(data, scheme, data.draw(VECTOR))
    party, *basis = data.draw(st.permutations(range(scheme.parties)))[: scheme.threshold + 1]

    def implied() -> list[int]:
        return weighted_sum([shares[i] for i in basis], scheme.implied(party, basis)).tolist()

    assert implied() == shares[party].tolist()
    altered = data.draw(st.sampled_from(basis))
    shares[altered] = weighted_sum([shares[altered], np.ones(LENGTH, np.uint32)], [1, data.draw(st.integers(1, P - 1))])
    assert all(got != want for got, want in zip(implied(), shares[party].tolist(), strict=True))


# --- secrecy --------------------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(st.data())
def test_what_fewer_than_threshold_parties_hold_fits_every_vector_and_each_in_one_way(data: st.DataObject) -> None:
    """So the free shares, being uniform, make it uniform whatever the vector: it says nothing."""
    scheme, vector, other = data.draw(schemes(6)), data.draw(VECTOR), data.draw(VECTOR)
    long = scheme.long_holders(data.draw(st.integers(0, scheme.parties)))
    free = [i for i in range(scheme.parties) if i not in long]
    shares = deal(scheme, vector, {i: data.draw(VECTOR) for i in free})
    for seen in combinations(range(scheme.parties), scheme.threshold - 1):
        rows, constants = [], []
        for party in seen:
            if party in long:
                first, others = scheme.factors(party, free)
                rows.append(list(others))
                constants.append(first)
            else:
                rows.append([int(i == party) for i in free])
                constants.append(0)
        found = [
            solve(rows, [int(shares[i][j]) - c * int(other[j]) for i, c in zip(seen, constants, strict=True)])
            for j in range(LENGTH)
        ]
        again = deal(scheme, other, {i: np.array([f[n] for f in found], np.uint32) for n, i in enumerate(free)})
        assert all(again[i].tolist() == shares[i].tolist() for i in seen)
        assert rebuild(scheme, again, range(scheme.threshold)) == other.tolist()


@given(schemes())
def test_threshold_shares_are_needed_as_each_has_a_weight(scheme: Scheme) -> None:
    assert 0 not in scheme.weights(range(scheme.threshold))


@given(schemes(), st.integers(0, 2**64))
def test_long_shares_go_to_one_more_than_the_parties_that_may_be_lost_and_move_on(scheme: Scheme, start: int) -> None:
    long = scheme.long_holders(start)
    assert len(long) == scheme.parties - scheme.threshold + 1
    assert list(long) == sorted(set(long))
    assert set(long) == {(start + i) % scheme.parties for i in range(len(long))}
    carried = [party for i in range(scheme.parties) for party in scheme.long_holders(start + i)]
    assert {carried.count(party) for party in range(scheme.parties)} == {len(long)}


# --- known answers --------------------------------------------------------------------------------------------


def test_shares_worked_out_by_hand() -> None:
    """f = 7 + 3X has the values 10, 13, 16 at 1, 2, 3; f = 1 + 2X + 3X² the values 6, 17, 34, 57 at 1 to 4."""
    two_of_three = Scheme(3, 2)
    assert two_of_three.factors(1, [0]) == (P - 1, (2,))
    assert two_of_three.weights([0, 1]) == (2, P - 1)
    assert two_of_three.weights([2, 1]) == (P - 2, 3)
    assert two_of_three.implied(2, [0, 1]) == (P - 1, 2)
    shares = deal(two_of_three, np.array([7], np.uint32), {0: np.array([10], np.uint32)})
    assert [shares[i].tolist() for i in range(3)] == [[10], [13], [16]]
    three_of_four = Scheme(4, 3)
    shares = deal(three_of_four, np.array([1], np.uint32), {i: np.array([f], np.uint32) for i, f in ((1, 17), (3, 57))})
    assert [shares[i].tolist() for i in range(4)] == [[6], [17], [34], [57]]
    additive = Scheme(3, 3)
    shares = deal(additive, np.array([7], np.uint32), {i: np.array([f], np.uint32) for i, f in ((0, 5), (1, 3))})
    assert shares[2].tolist() == [P - 1]


def test_a_key_stands_for_the_aes_ctr_words_below_p() -> None:
    key, length = bytes(range(32)), CHUNK + 3
    got = expand(key, length)
    for chunk, size in ((0, CHUNK), (1, 3)):
        cipher = Cipher(algorithms.AES(key), modes.CTR(chunk.to_bytes(8, "big") + bytes(8))).encryptor()
        words = np.frombuffer(cipher.update(bytes(4 * (size + 64))), "<u4") & 0x7FFFFFFF
        assert got[chunk * CHUNK :][:size].tolist() == words[words < P][:size].tolist()


def test_a_key_stands_for_the_same_vector_on_any_number_of_cores(cores: int) -> None:
    alone = np.concatenate([expand(bytes(32), CHUNK), expand(bytes(32), 3 * CHUNK)[CHUNK:]])
    assert np.array_equal(expand(bytes(32), 3 * CHUNK), alone), f"on {cores} cores"


def test_a_key_is_expanded_and_added_elsewhere_in_one_go(cores: int) -> None:
    length = 2 * CHUNK + 5
    totals = [expand(bytes([i]) * 32, length) for i in (1, 2, 3)]
    factors = (1, P - 1, 12345)
    stream = expand(bytes(32), length)
    expected = [weighted_sum([total, stream], [1, factor]) for total, factor in zip(totals, factors, strict=True)]
    got = expand(bytes(32), length, list(zip(totals, factors, strict=True)))
    assert np.array_equal(got, stream), f"on {cores} cores"
    assert all(np.array_equal(total, want) for total, want in zip(totals, expected, strict=True))


def test_a_sum_is_a_new_vector() -> None:
    one = np.array([1, 2], np.uint32)
    for factors in ([1], [1, 5], [5, 1]):
        total = weighted_sum([one] * len(factors), factors)
        total[0] = 0
        assert one.tolist() == [1, 2]


@given(VECTOR, VECTOR, st.one_of(st.sampled_from([0, 1, P - 1]), ELEMENT))
def test_adding_a_multiple_is_what_integers_say(total: Vector, values: Vector, factor: int) -> None:
    expected = [(int(t) + factor * int(v)) % P for t, v in zip(total, values, strict=True)]
    add_scaled(total, values, factor)
    assert total.tolist() == expected


def test_the_largest_values_don_t_overflow() -> None:
    total = np.full(3, P - 1, np.uint32)
    add_scaled(total, np.full(3, P - 1, np.uint32), P - 2)
    assert total.tolist() == [1, 1, 1]  # −1 + (−1)·(−2)


# --- bad arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parties", "threshold"), [(1, 1), (2, 1), (3, 0), (3, 4), (17, 17), (17, 2), (0, 0), (3, -1)])
def test_unfit_schemes_are_refused(parties: int, threshold: int) -> None:
    with pytest.raises(ValueError, match="threshold"):
        Scheme(parties, threshold)


@pytest.mark.parametrize("chosen", [[], [0], [0, 0], [0, 1, 2], [0, 3], [-1, 0]])
def test_anything_but_threshold_different_parties_is_refused(chosen: list[int]) -> None:
    scheme = Scheme(3, 2)
    for call in (scheme.weights, lambda parties: scheme.implied(2, parties)):
        with pytest.raises(ValueError, match="different ones"):
            call(chosen)
    with pytest.raises(ValueError, match="different ones"):
        scheme.factors(2, [2])
    with pytest.raises(ValueError, match="different ones"):
        scheme.factors(0, [1, 2])


def test_no_additive_share_follows_from_others() -> None:
    with pytest.raises(ValueError, match="additive"):
        Scheme(3, 3).implied(2, [0, 1])


def test_vectors_of_different_lengths_or_no_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be added"):
        add_scaled(np.zeros(3, np.uint32), np.zeros(4, np.uint32), 5)
    for vectors, factors in (([], []), ([np.zeros(3, np.uint32)], [1, 2])):
        with pytest.raises(ValueError, match="factors"):
            weighted_sum(vectors, factors)


def test_every_set_of_sixteen_parties_has_weights_that_sum_to_one() -> None:
    """Constants are shared as themselves: f(0) = f(i) for a constant polynomial."""
    scheme = Scheme(MAX_PARTIES, 3)
    tested = [sum(scheme.weights(parties)) % P for parties in combinations(range(MAX_PARTIES), 3)]
    assert tested == [1] * math.comb(MAX_PARTIES, 3)
