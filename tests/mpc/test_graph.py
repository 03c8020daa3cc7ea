"""Degrees and thresholds against exact hypergeometric tails, and the choice of neighbours."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import pytest

from mpc import graph
from mpc.graph import Degree, choose, corrupt_in_sample, degree
from mpc.keystream import KeyStream

STATED = [(256, Degree(72, 52)), (1000, Degree(102, 72)), (10_000, Degree(126, 88))]


def stream(number: int = 0) -> KeyStream:
    return KeyStream(number.to_bytes(32, "big"))


def exact_tails(population: int, marked: int, drawn: int) -> list[Fraction]:
    """P[at least i marked among drawn] for i = 0 … drawn + 1, in integers."""
    ways = [math.comb(marked, i) * math.comb(population - marked, drawn - i) for i in range(drawn + 1)]
    return [Fraction(sum(ways[i:]), math.comb(population, drawn)) for i in range(drawn + 2)]


def meets_both_bounds(n: int, corrupt: int, dropped: int, neighbours: int, threshold: int) -> bool:
    surrounded = exact_tails(n - 1, corrupt, neighbours)[threshold] * 2 * n
    stranded = exact_tails(n - 1, dropped, neighbours)[neighbours - threshold + 1] * n
    return surrounded <= Fraction(1, 2**40) and stranded <= Fraction(1, 2**20)


@pytest.mark.parametrize(("n", "expected"), STATED)
def test_the_degrees_are_the_stated_ones(n: int, expected: Degree) -> None:
    assert degree(n, n // 3, n // 10) == expected


@pytest.mark.parametrize(("n", "stated"), STATED)
def test_the_stated_degrees_meet_both_bounds_exactly(n: int, stated: Degree) -> None:
    assert meets_both_bounds(n, n // 3, n // 10, stated.neighbours, stated.threshold)


@pytest.mark.parametrize(("n", "stated"), STATED)
def test_one_neighbour_fewer_meets_them_at_no_threshold(n: int, stated: Degree) -> None:
    fewer = stated.neighbours - 1
    surrounded, stranded = exact_tails(n - 1, n // 3, fewer), exact_tails(n - 1, n // 10, fewer)
    least = next(t for t in range(fewer + 2) if surrounded[t] * 2 * n <= Fraction(1, 2**40))
    assert stranded[fewer - least + 1] * n > Fraction(1, 2**20)


def test_the_stated_degree_keeps_256_honest_clients_connected() -> None:
    """Every cut of the honest in two, each client with so few edges across that a server may withhold them all."""
    n, corrupt, k, t = 256, 85, 72, 52
    honest, total = n - corrupt, 0.0

    def few_across(others: int) -> float:
        """P[a client chose at most k − t of these others]."""
        ways = sum(math.comb(others, i) * math.comb(n - 1 - others, k - i) for i in range(k - t + 1))
        return ways / math.comb(n - 1, k)

    for inside in range(1, honest // 2 + 1):
        outside = honest - inside
        total += math.comb(honest, inside) * few_across(outside) ** inside * few_across(inside) ** outside
    assert total <= 2**-40


def test_three_clients_have_no_incomplete_graph() -> None:
    assert degree(3, 1, 0) is None


@pytest.mark.parametrize(
    ("population", "marked", "drawn"), [(20, 7, 5), (100, 10, 100), (255, 85, 72), (9999, 3333, 126), (50, 0, 5)]
)
def test_tails_are_those_of_exact_fractions(population: int, marked: int, drawn: int) -> None:
    draw = graph._Draw(population)
    computed = [draw.one(marked, drawn, least) for least in range(drawn + 2)]
    for value, exact in zip(computed, exact_tails(population, marked, drawn), strict=True):
        if exact:
            assert value == pytest.approx(math.log2(exact.numerator) - math.log2(exact.denominator), abs=1e-6)
        else:
            assert value == -math.inf


@pytest.mark.parametrize(("corrupt", "expected"), [(0, 0), (500, 26), (665, 29), (666, 30), (800, 32), (1000, 36)])
def test_corrupt_members_of_a_sample_of_100_from_10000(corrupt: int, expected: int) -> None:
    assert corrupt_in_sample(10_000, corrupt, 100, 40) == expected


@pytest.mark.parametrize("corrupt", [100, 666, 3000])
def test_the_bound_on_a_sample_is_the_least_that_holds_exactly(corrupt: int) -> None:
    tails = exact_tails(10_000, corrupt, 100)
    for bits in (40, 60):
        bound = corrupt_in_sample(10_000, corrupt, 100, bits)
        assert tails[bound + 1] <= Fraction(1, 2**bits) < tails[bound]


def test_corrupt_members_of_a_sample_of_200_from_10000() -> None:
    """At 2^-60, over 2^16 rounds of 2^4 draws; at 2^-40, for one draw alone, they would be fewer."""
    assert corrupt_in_sample(10_000, 500, 200) == 45
    assert corrupt_in_sample(10_000, 500, 200, 40) == 37
    assert corrupt_in_sample(10_000, 660, 100) == 36


def test_a_sample_of_everybody_holds_every_corrupt_member() -> None:
    assert corrupt_in_sample(100, 17, 100) == 17


@pytest.mark.parametrize("n", [129, 200, 1000])
def test_chosen_neighbours_are_distinct_sorted_others(n: int) -> None:
    for me in (0, n // 2, n - 1):
        chosen = choose(n, me, 70, stream(me))
        assert len(set(chosen)) == 70
        assert chosen == sorted(chosen)
        assert me not in chosen
        assert set(chosen) <= set(range(n))


def test_choosing_all_others_leaves_nobody_out() -> None:
    assert choose(10, 4, 9, stream()) == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_one_stream_makes_one_choice() -> None:
    assert choose(200, 7, 70, stream(1)) == choose(200, 7, 70, stream(1))


def test_another_stream_makes_another_choice() -> None:
    assert choose(200, 7, 70, stream(1)) != choose(200, 7, 70, stream(2))


def test_everybody_is_chosen_about_equally_often() -> None:
    """4,000 choices of 5 of 19: 1,053 each, deviation 28. The streams are fixed, and so the outcome."""
    counts = Counter(neighbour for number in range(4000) for neighbour in choose(20, 3, 5, stream(number)))
    assert set(counts) == set(range(20)) - {3}
    assert all(abs(count - 4000 * 5 / 19) < 150 for count in counts.values())
