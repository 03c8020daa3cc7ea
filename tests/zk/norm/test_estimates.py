"""What is promised of the sketch's commitment and of the proof, as numbers."""

from __future__ import annotations

import math

import pytest

from zk import parameters
from zk.norm.bound import MOST_SIDE
from zk.norm.code import LENGTH
from zk.norm.proof import DEGREE
from zk.norm.statement import EXTENSION, QUERIES
from zk.parameters import (
    MINIMUM_BITS,
    SKETCH_CLIENTS,
    InsecureParametersError,
    proof_soundness,
    sketch_binding_bits,
    sketch_hiding_bits,
    sketch_rank,
)


@pytest.mark.parametrize("rank", SKETCH_CLIENTS)
def test_each_rank_binds_the_most_clients_that_it_serves(rank: int) -> None:
    most = SKETCH_CLIENTS[rank]
    assert sketch_rank(most) == rank
    assert sketch_binding_bits(rank, most) >= MINIMUM_BITS
    assert sketch_binding_bits(rank, 2 * most) < MINIMUM_BITS
    assert sketch_binding_bits(rank, 3) > sketch_binding_bits(rank, most)


def test_more_clients_than_any_rank_serves_are_refused() -> None:
    assert sketch_rank(1) == 1
    with pytest.raises(InsecureParametersError, match="262144 at most"):
        sketch_rank(2**18 + 1)


@pytest.mark.slow
@pytest.mark.parametrize("rank", SKETCH_CLIENTS)
def test_each_rank_hides_from_every_attack_that_is_estimated(rank: int) -> None:
    bits = sketch_hiding_bits(rank, MOST_SIDE)
    assert set(bits) == {"primal", "hybrid", "dual"}
    assert min(bits.values()) >= MINIMUM_BITS
    assert min(bits.values()) == bits["dual"]


def test_of_a_sum_of_two_one_coordinate_in_eight_is_known() -> None:
    chances = parameters._posterior(2)
    assert chances == {1: 1 / 8, 2: 1 / 4, 3: 3 / 8, 4: 1 / 4}
    assert math.isclose(sum(parameters._posterior(10).values()), 1.0)


def test_false_proofs_are_accepted_less_than_once_in_two_to_the_100() -> None:
    found = proof_soundness(LENGTH, DEGREE, QUERIES, EXTENSION)
    assert found.total > 102.5
    assert found.challenge > 111
    assert found.columns > found.total


def test_the_soundness_is_the_sum_of_what_the_theorems_give() -> None:
    """Written out: 2,367 columns of 4,096 may agree by chance, and 11 words are as near to a mask as that."""
    a = 4096 - (4096 - 639) // 2
    assert a == 2368
    chance = math.prod((2367 - i) / (4096 - i) for i in range(127))
    field = 4 * math.log2(2**31 - 10239)
    assert a * a > 4096 * 1276
    candidates = 4096 * (a - 1276) // (a * a - 4096 * 1276)
    assert candidates == 11
    expected = -math.log2(chance + (4096 + 1728 + 2 * 11) / 2**field)
    assert math.isclose(proof_soundness(4096, 639, 127, 4).total, expected, abs_tol=1e-6)


def test_fewer_queries_or_a_smaller_field_would_not_do() -> None:
    assert proof_soundness(LENGTH, 512 + 120, 120, EXTENSION).total < 100
    assert proof_soundness(LENGTH, DEGREE, QUERIES, 3).total < 100
    with pytest.raises(InsecureParametersError, match="no list"):
        proof_soundness(2048, 639, 127, 4)
