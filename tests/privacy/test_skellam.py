"""Skellam noise: its probabilities by another formula, its draws by another program, its tails by their bound."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.keystream import KeyStream
from secure_agg.errors import LocalProtocolError
from secure_agg.privacy import skellam
from secure_agg.privacy.skellam import FRACTION, draw, nats, reach, table, weights

KEY = bytes(range(32))


def bessel(k: int, v: Fraction) -> Fraction:
    """I_k(V) by its power series (NIST Handbook of Mathematical Functions, 10.25.2), to 60 digits."""
    term = (v / 2) ** k / math.factorial(k)
    total, m = term, 0
    while term > total / 10**60:
        m += 1
        term = term * (v / 2) ** 2 / (m * (m + k))
        total += term
    return total


def probabilities(variance: int) -> list[float]:
    """P[Z = k] for k = 0, 1, … from the recurrence."""
    found = weights(variance)
    total = found[0] + 2 * sum(found[1:])
    return [value / total for value in found]


@pytest.mark.parametrize("variance", [1, 100, 256, 5000])
def test_ratios_of_probabilities_are_those_of_the_power_series(variance: int) -> None:
    v, found = Fraction(variance, FRACTION), weights(variance)
    for k in (1, 2, 7, 20):
        expected = bessel(k, v) / bessel(0, v)
        assert abs(Fraction(found[k], found[0]) / expected - 1) < Fraction(1, 10**50)


@pytest.mark.parametrize("variance", [3, 256, 25_600, 2_560_000])
def test_probabilities_have_the_variance_and_fourth_moment_that_skellam_has(variance: int) -> None:
    found, v = probabilities(variance), variance / FRACTION
    assert sum(2 * k**2 * p for k, p in enumerate(found)) == pytest.approx(v, rel=1e-12)
    assert sum(2 * k**4 * p for k, p in enumerate(found)) == pytest.approx(3 * v**2 + v, rel=1e-12)


@given(st.integers(1, 1 << 30), st.integers(8, 160))
def test_the_reach_is_one_that_bernsteins_inequality_allows(variance: int, bits: int) -> None:
    v, t = Fraction(variance, FRACTION), reach(variance, bits)
    assert t**2 >= nats(bits) * (2 * v + Fraction(2 * t, 3))
    assert nats(bits) >= bits * math.log(2)


@pytest.mark.parametrize("variance", [1, 256, 20_000])
def test_tails_are_below_their_bound(variance: int) -> None:
    found = probabilities(variance)
    for bits in (10, 40, 80):
        assert 2 * sum(found[reach(variance, bits) + 1 :]) <= 2.0 ** (1 - bits)


def by_hand(variance: int, key: bytes, count: int) -> list[int]:
    """The draws from thresholds and words, by counting."""
    made = table(variance)
    thresholds = [(int(u) << 64) | int(low) for u, low in zip(made.upper, made.lower, strict=True)]
    found = []
    for i in range(count):
        stream, place = divmod(i, 1 << 15)
        words = np.empty(2 * (place + 1), dtype=np.uint32)
        uniform = 0
        for number in (stream + (1 << 63), stream):
            KeyStream(key).words(number, words)
            uniform |= (int(words[2 * place]) | int(words[2 * place + 1]) << 32) << (0 if number >> 63 else 64)
        found.append(sum(t <= uniform for t in thresholds) - made.reach)
    return found


@pytest.mark.parametrize("variance", [1, 256, 30_000])
def test_draws_are_the_number_of_thresholds_below_a_uniform_of_128_bits(variance: int) -> None:
    assert draw(variance, KEY, 50).tolist() == by_hand(variance, KEY, 50)


@pytest.mark.parametrize("variance", [1, 777, 256 * 10_000])
def test_both_forms_draw_the_same(variance: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = draw(variance, KEY, 40_000)
    monkeypatch.setattr(skellam, "_invert", skellam._invert.or_else)
    assert np.array_equal(draw(variance, KEY, 40_000), compiled)


@pytest.mark.parametrize("plain", [False, True])
def test_a_tie_is_decided_by_the_lower_half(plain: bool) -> None:
    invert = skellam._invert.or_else if plain else skellam._invert
    assert invert is not None
    upper = np.array([0, 1 << 63, 1 << 63, (1 << 64) - 1], dtype=np.uint64)
    lower = np.array([5, 5, 9, 0], dtype=np.uint64)
    firsts = np.arange(1 << 16, dtype=np.uint64) << np.uint64(48)
    guide = np.searchsorted(upper, firsts, side="left").astype(np.int32)
    uniform = np.full(4, 1 << 63, dtype=np.uint64)
    low = np.array([4, 5, 8, 9], dtype=np.uint64)
    out = np.empty(4, dtype=np.int64)
    assert invert(uniform, low[:0], upper, lower, guide, out) == 1
    assert invert(uniform, low, upper, lower, guide, out) == 0
    assert out.tolist() == [-1, 0, 0, 1]


def test_draws_pass_a_chi_squared_test() -> None:
    """Of 2^18 draws of a fixed key: the chance that a right sampler fails is 1e-6, and was not met."""
    variance, count = 20 * FRACTION, 1 << 18
    found, half = draw(variance, KEY, count), probabilities(variance)
    cells = np.arange(-12, 13)
    seen = np.array([np.count_nonzero(found == k) for k in cells])
    expected = np.array([half[abs(k)] for k in cells]) * count
    rest, rest_seen = count - expected.sum(), count - seen.sum()
    statistic = float((((seen - expected) ** 2) / expected).sum() + (rest_seen - rest) ** 2 / rest)
    assert statistic < 70.0  # of 25 degrees of freedom 1 − 1e-6 lie below 71.9


def test_known_answer() -> None:
    """What ``tests/conformance`` derives from the specification alone."""
    assert draw(1_000, KEY, 12).tolist() == [2, 0, 2, -1, 1, 0, -2, -1, -4, -1, 1, 2]


def test_a_variance_that_is_no_such_is_refused() -> None:
    for variance in (0, -1, 256 * skellam.MOST_VARIANCE + 1):
        with pytest.raises(LocalProtocolError, match="variance"):
            table(variance)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300_000))
def test_thresholds_rise_and_are_those_of_a_symmetric_variable(variance: int) -> None:
    made = table(variance)
    all_of = [(int(u) << 64) | int(low) for u, low in zip(made.upper, made.lower, strict=True)]
    assert all_of == sorted(all_of)
    for k in (0, made.reach // 2, made.reach - 1):  # P[Z ≤ −1 − k] = 1 − P[Z ≤ k]
        assert abs(all_of[made.reach - 1 - k] + all_of[made.reach + k] - (1 << 128)) <= 2
