"""What rounds spend: against the divergence itself, against dp_accounting, and the ways in which it must move."""

from __future__ import annotations

import decimal
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_agg.errors import ConfigError
from secure_agg.privacy import accounting
from secure_agg.privacy.accounting import (
    BEYOND,
    DELTA_UNIT,
    EPSILON_UNIT,
    ORDERS,
    calibrated,
    renyi,
    rounds_within,
    spent,
)
from secure_agg.privacy.asked import Privacy
from secure_agg.privacy.mechanism import RATIO_UNIT, mechanism, sensitivity
from secure_agg.privacy.skellam import FRACTION, reach, weights

DELTA = 10**7  # 1e-5


def divergence(shift: int, variance: int, order: int) -> float:
    """Of Rényi, of a Skellam variable that is shifted, from the distribution itself."""
    half = weights(variance)
    total = math.log(half[0] + 2 * sum(half[1:]))
    logs = np.array([math.log(value) - total for value in half])
    logs = logs[: reach(variance, 180) + 1]  # beyond, the recurrence has only begun
    full = np.concatenate([logs[:0:-1], logs])
    moved, still = full[:-shift], full[shift:]
    sums = order * moved - (order - 1) * still
    top = float(sums.max())
    assert min(sums[0], sums[-1]) < top - 30  # all that counts is in it
    return (top + math.log(float(np.exp(sums - top).sum()))) / (order - 1)


@pytest.mark.parametrize(
    ("shift", "ratio", "order"),
    [(17, 1, 2), (17, 1, 4), (17, 1, 12), (17, 4, 2), (17, 4, 16), (40, 30, 2), (40, 30, 16), (40, 30, 64)],
)
def test_the_bound_is_above_the_divergence_and_close_to_it(shift: int, ratio: int, order: int) -> None:
    """In one dimension the whole sensitivity is one coordinate's: Δ2² = 289, below the 292 of the least model."""
    found = divergence(shift, ratio * shift**2 * FRACTION, order)
    bound = float(renyi(ratio * RATIO_UNIT, order)) * (1 if shift >= 18 else 292 / 289)
    assert found <= bound
    if order <= 4 * ratio:
        assert bound <= 1.05 * found


@pytest.mark.parametrize("padded", [64, 256])
@pytest.mark.parametrize(("ratio", "honest"), [(300, 1), (1024, 7), (20_000, 7)])
def test_the_bound_is_above_the_divergence_in_many_dimensions(padded: int, ratio: int, honest: int) -> None:
    """Of independent coordinates divergences add up: of a vector of the whole sensitivity in one coordinate, spread
    evenly, or half of either, with the noise that a round of so many coordinates has.
    """
    made = mechanism(padded=padded, least_block=64, clients=10, honest=honest, ratio=ratio, half=(1 << 14) - 1)
    even, left = math.isqrt(made.squared // padded), made.squared - padded // 2
    shapes = [
        {math.isqrt(made.squared): 1},
        {even: padded},
        {1: padded // 2, math.isqrt(left // (padded // 8)): padded // 8},
    ]
    for shape in shapes:
        assert sum(shift**2 * count for shift, count in shape.items()) <= made.squared
        for order in (2, 3, 8):
            found = sum(count * divergence(shift, made.variance * honest, order) for shift, count in shape.items())
            assert found <= float(renyi(ratio, order))


def test_the_conversion_is_that_of_dp_accounting() -> None:
    from dp_accounting.rdp import rdp_privacy_accountant  # with all of scipy: not for who only collects

    for ratio, count in ((2000, 1), (5000, 3), (100_000, 50)):
        curve = [float(count * renyi(ratio, order)) for order in ORDERS]
        expected, _ = rdp_privacy_accountant.compute_epsilon(list(ORDERS), curve, DELTA / DELTA_UNIT)
        found = spent({ratio: count}, DELTA, 4 * EPSILON_UNIT) / EPSILON_UNIT
        assert found == pytest.approx(expected, abs=2e-6)
        assert found >= expected - 1e-9


@settings(max_examples=12, deadline=None)
@given(st.integers(100, 1 << 20), st.integers(1, 500))
def test_more_rounds_spend_more_and_more_noise_spends_less(ratio: int, count: int) -> None:
    budget = 8 * EPSILON_UNIT
    here = spent({ratio: count}, DELTA, budget)
    assert spent({ratio: count + 1}, DELTA, budget) >= here
    assert spent({ratio + 64: count}, DELTA, budget) <= here
    assert spent({ratio: count, ratio + 64: 1}, DELTA, budget) >= here


@pytest.mark.parametrize(("epsilon", "rounds"), [(0.75, 1), (1.0, 10), (4.0, 100), (8.0, 1000)])
def test_the_ratio_is_the_smallest_that_stays_within_the_budget(epsilon: float, rounds: int) -> None:
    budget = round(epsilon * EPSILON_UNIT)
    ratio = calibrated(rounds, DELTA, budget)
    assert spent({ratio: rounds}, DELTA, budget) <= budget < spent({ratio - 1: rounds}, DELTA, budget)
    assert rounds_within(ratio, DELTA, budget) >= rounds


def test_a_budget_is_for_so_many_rounds_and_not_for_one_more() -> None:
    ratio = calibrated(20, DELTA, 4 * EPSILON_UNIT)
    last = rounds_within(ratio, DELTA, 4 * EPSILON_UNIT)
    assert spent({ratio: last}, DELTA, 4 * EPSILON_UNIT) <= 4 * EPSILON_UNIT
    assert spent({ratio: last + 1}, DELTA, 4 * EPSILON_UNIT) > 4 * EPSILON_UNIT


def test_known_answers() -> None:
    """Of the formula: a change of it changes what records say."""
    assert spent({2048: 1}, DELTA, 4 * EPSILON_UNIT) == 3_193_777
    assert spent({1 << 20: 1000, 4096: 2}, DELTA, 4 * EPSILON_UNIT) == 5_945_429
    assert calibrated(100, DELTA, 4 * EPSILON_UNIT) == 137_265


@pytest.mark.parametrize(
    "changed",
    [
        {"prec": 5},
        {"rounding": decimal.ROUND_FLOOR, "prec": 9},
        {"traps": [decimal.Inexact, decimal.Rounded, decimal.FloatOperation]},
        {"Emax": 2, "Emin": -2},
    ],
)
def test_an_app_that_computes_in_decimals_of_its_own_spends_the_same(changed: dict[str, Any]) -> None:
    """The context is the thread's: a caller's would decide what records say, and who is refused."""
    accounting._conversions.cache_clear()
    with decimal.localcontext(decimal.Context(**changed)):
        assert spent({2048: 1}, DELTA, 4 * EPSILON_UNIT) == 3_193_777
        assert spent({1 << 20: 1000, 4096: 2}, DELTA, 4 * EPSILON_UNIT) == 5_945_429
    accounting._conversions.cache_clear()


def test_what_limits_take_of_delta_is_counted() -> None:
    """At ε = 32 a round takes (1 + e^32)·2^−60 = 6.8e-5 of δ: nothing is left of 1e-5."""
    assert spent({1 << 20: 1}, DELTA, 32 * EPSILON_UNIT) == BEYOND
    with pytest.raises(ConfigError, match="however much noise"):
        calibrated(1, DELTA, 32 * EPSILON_UNIT)


def test_nothing_is_spent_by_no_round() -> None:
    assert spent({}, DELTA, EPSILON_UNIT) == 0


@given(st.integers(64, 1 << 24), st.integers(0, 1 << 12))
def test_what_the_bound_takes_for_granted_of_sensitivities_holds(padded: int, more: int) -> None:
    length = math.isqrt(4 * padded) + 1 + more
    squared = sensitivity(length, padded)
    assert squared >= max(292, 4 * padded)  # so √D·Δ2 ≤ Δ2²/2
    root = Fraction(math.isqrt(padded * 10**12) + 1, 10**6)
    assert squared <= (length + root) ** 2
    assert squared <= length**2 + Fraction(padded, 4) + length + root / 2


@settings(max_examples=60, deadline=None)
@given(st.integers(64, 1 << 20), st.integers(1, 500), st.integers(200, 1 << 17), st.integers(18, 24))
def test_a_rounds_noise_has_the_ratio_and_its_numbers_fit(padded: int, honest: int, ratio: int, bits: int) -> None:
    half = (1 << (bits - 1)) - 1
    try:
        made = mechanism(padded=padded, least_block=64, clients=1000, honest=honest, ratio=ratio, half=half)
    except ConfigError:
        return  # there is no room
    assert made.half <= half
    assert made.length**2 >= 4 * padded
    assert Fraction(made.variance * honest, FRACTION) >= Fraction(ratio, RATIO_UNIT) * made.squared


def test_too_few_bits_are_refused_with_those_that_would_do() -> None:
    settings_ = {"padded": 2**16, "least_block": 4096, "clients": 100, "honest": 61, "ratio": 137_265}
    with pytest.raises(ConfigError, match="bits = 15 would do"):
        mechanism(**settings_, half=(1 << 11) - 1)
    mechanism(**settings_, half=(1 << 14) - 1)


def test_bits_are_not_named_as_a_cure_where_no_number_of_them_is_one() -> None:
    settings_ = {"padded": 2**20, "least_block": 4096, "clients": 1000, "honest": 351, "ratio": 1 << 27}
    for bits in (12, 19, 24):
        with pytest.raises(ConfigError, match="is above 268435456, the most that is drawn: take more clients"):
            mechanism(**settings_, half=(1 << bits - 1) - 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epsilon": 0.0}, "epsilon is 0.0, not a number above 0"),
        ({"epsilon": -1.0}, "epsilon is -1.0"),
        ({"epsilon": 40.0}, "outside"),
        ({"epsilon": math.nan}, "epsilon is nan"),
        ({"delta": 0.0}, "delta is 0.0"),
        ({"delta": 0.5}, "delta is 0.5, outside"),
        ({"norm": 0.0}, "norm is 0.0"),
        ({"rounds": 0}, "rounds is 0"),
        ({"honest": 1.5}, "above 1"),
        ({"mechanism": "gauss"}, "there is skellam"),
    ],
)
def test_what_protects_nobody_is_refused(change: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Privacy(**({"epsilon": 1.0, "delta": 1e-5, "norm": 1.0} | change))  # type: ignore[arg-type]
