"""Metrics in the hidden vector: exact means of any size, and nothing that tells one client's from another's."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secure_agg
from secure_agg.errors import LocalProtocolError, UpdateError
from secure_agg.plugins.core import metrics
from secure_agg.plugins.core.metrics import LARGEST, MAX_METRICS, RESOLUTION, MetricCodec, scalars
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import MAX_WEIGHT, Policy

KEY = bytes(range(32))


def codec(max_weight: int = 1, bits: int = 16, clip: float = 8.0) -> MetricCodec:
    return MetricCodec(policy(max_weight, bits, clip))


def policy(max_weight: int = 1, bits: int = 16, clip: float = 8.0) -> Policy:
    return Policy.default(3, clip=clip, bits=bits, max_weight=max_weight)


def key(place: int) -> bytes:
    return place.to_bytes(32, "big")


def summed(rules: Policy, values: Sequence[Mapping[str, float]], weights: Sequence[int]) -> npt.NDArray[np.float64]:
    """The mean that the codec of updates makes of the clients' coordinates."""
    own, fixed = MetricCodec(rules), FixedPoint(rules)
    total = np.zeros(own.size + fixed.limbs, dtype=np.uint32)
    for place, (value, weight) in enumerate(zip(values, weights, strict=True)):
        out = np.empty_like(total)
        fixed.encode([own.encode(value, weight, key(place))], weight, key(1000 + place), out)
        total += out
    (mean,), _ = fixed.decode(total, len(values), [(own.size,)])
    return mean


def means(rules: Policy, values: Sequence[Mapping[str, float]], weights: Sequence[int]) -> dict[str, float]:
    return MetricCodec(rules).decode(summed(rules, values, weights), tuple(values[0]), sum(weights))


def weighted(values: Sequence[float], weights: Sequence[int]) -> float:
    return math.fsum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


# --- means ------------------------------------------------------------------------------------------------------


def test_a_verified_round_gives_the_means_of_metrics_of_any_size() -> None:
    names = ("accuracy", "count", "loss", "rate")
    rows = [(0.93, 3e6, 12345.6, 1e-5), (0.5, 1e3, -0.25, 3e-5), (0.0, 7.0, 4e9, 2e-5)]
    weights = {"a": 320, "b": 117, "c": 1000}
    own = codec(1000)
    updates = {
        name: [np.ones((2, 2)), own.encode(dict(zip(names, row, strict=True)), weights[name], key(place))]
        for place, (name, row) in enumerate(zip(weights, rows, strict=True))
    }
    result = secure_agg.aggregate(updates, weights=weights, backend="plain", max_weight=1000, task="metrics")
    found = own.decode(result.average[1], names, 1437)
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        expected = weighted(column, list(weights.values()))
        assert abs(found[name] - expected) <= RESOLUTION / 2 + 1e-15 * abs(expected)


@settings(max_examples=80)
@given(st.data())
def test_the_mean_is_exact_but_for_the_resolution(data: st.DataObject) -> None:
    bits = data.draw(st.integers(metrics.MIN_BITS, 24))
    max_weight = data.draw(st.sampled_from([1, 2, 1000, 65536, MAX_WEIGHT]))
    lightest = -(-max_weight // (2 ** (bits - 1) - 1))
    weights = data.draw(st.lists(st.integers(lightest, max(lightest, max_weight)), min_size=1, max_size=5))
    clip = data.draw(st.sampled_from([1e-30, 1e-3, 8.0, 0.3, 1e30]))
    size = data.draw(st.integers(0, MAX_METRICS + 1))
    value = st.floats(-LARGEST, LARGEST) | st.floats(-1, 1) | st.sampled_from([0.0, LARGEST, -LARGEST, RESOLUTION])
    rows = [data.draw(st.lists(value, min_size=size, max_size=size)) for _ in weights]
    names = [f"m{place:02}" for place in range(size)]

    found = means(policy(max_weight, bits, clip), [dict(zip(names, row, strict=True)) for row in rows], weights)

    assert list(found) == names
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        expected = weighted(column, weights)
        assert abs(found[name] - expected) <= RESOLUTION / 2 + 1e-15 * max(map(abs, column))


def test_metrics_of_one_client_do_not_move_another_ones() -> None:
    found = means(policy(), [{"a": 1.0, "b": 2.0**36}, {"a": 2.0, "b": -(2.0**36)}], [1, 1])
    assert found == {"a": 1.5, "b": 0.0}


def test_coordinates_are_within_the_clip() -> None:
    for weight in (1, 3, 999, 1000):
        coordinates = codec(1000, clip=0.7).encode({"a": 1e9}, weight, KEY)
        assert float(np.abs(coordinates).max()) <= 0.7


def test_the_number_of_coordinates_is_the_policys() -> None:
    own = codec(1000)
    for values in ({}, {"a": 1.0}, {"a": math.nan}, {f"m{place:02}": 1e9 for place in range(MAX_METRICS)}):
        assert own.encode(values, 7, KEY).shape == (own.size,)
    assert codec(1).size == 952
    assert codec(10_000).size == 1088


def test_nothing_is_reported_where_nothing_was_measured() -> None:
    assert means(policy(), [{}, {}], [1, 1]) == {}


# --- what has no mean -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, LARGEST * 1.01, -1e300])
@pytest.mark.parametrize("weights", [[1, 1, 1], [1000, 1, 500]])
def test_one_metric_that_is_not_finite_makes_its_own_mean_nan_and_fails_nothing(
    value: float, weights: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.5, "loss": value}, {"accuracy": 0.5, "loss": 2.0}]
    with caplog.at_level(logging.WARNING):
        found = means(policy(max(weights)), rows, weights)
    assert found["accuracy"] == 0.5
    assert math.isnan(found["loss"])
    assert "metric loss has no mean" in caplog.text


def test_a_client_too_light_for_the_codec_counts_with_0_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    metrics._warn_once.cache_clear()
    found = means(policy(MAX_WEIGHT), [{"loss": 5.0}, {"loss": 7.0}, {"loss": math.nan}], [MAX_WEIGHT, 1, 2])
    assert found["loss"] == pytest.approx(5.0)
    assert "metrics are taken for 0: a weight of 1 is too small" in caplog.text


def test_digits_that_nobody_has_encoded_have_no_mean() -> None:
    rules = policy()
    own, mean = MetricCodec(rules), summed(rules, [{"loss": 5.0}, {"loss": 7.0}], [1, 1])
    assert own.decode(mean, ("loss",), 2) == {"loss": 6.0}
    for place in (0, own._digits - 5, own._digits):  # the count of metrics that don't fit, and digits beyond the range
        off = mean.copy()
        off[place] += FixedPoint(rules).step / 2  # one digit, of two clients
        assert math.isnan(own.decode(off, ("loss",), 2)["loss"])


def test_a_policy_of_few_bits_carries_none_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    metrics._warn_once.cache_clear()
    rules = policy(bits=metrics.MIN_BITS - 1)
    assert means(rules, [{"loss": 1.0}, {"loss": 2.0}], [1, 1]) == {}
    assert "metrics are left out: they need a policy of 12 bits: loss" in caplog.text


# --- what is hidden ---------------------------------------------------------------------------------------------


def digit_sums(values: Sequence[float], keys: Sequence[bytes]) -> npt.NDArray[Any]:
    """Coordinates that an aggregator sees, in whole steps, of clients who report ``values``."""
    own = codec()
    return sum(own.encode({"loss": value}, 1, key) for value, key in zip(values, keys, strict=True)) / own._fixed.step  # type: ignore[no-any-return]


def test_one_clients_carries_hide_which_of_two_ways_a_sum_came_about() -> None:
    """Written in fixed digits, 1000 + 0 and 500 + 500 differ in every digit. With drawn ones no place tells them apart:
    where means over 4000 rounds differ, it is by less than five times what chance does.
    """
    rounds = 4000
    ways = [(1000.0, 0.0), (500.0, 500.0)]
    drawn = [
        np.array([digit_sums(way, [key(4 * i + 2 * j), key(4 * i + 2 * j + 1)])[1:56] for i in range(rounds)])
        for j, way in enumerate(ways)
    ]
    spread = np.sqrt((drawn[0].var(axis=0) + drawn[1].var(axis=0)) / rounds)
    assert float((np.abs(drawn[0].mean(axis=0) - drawn[1].mean(axis=0)) / spread).max()) < 5
    for place in range(40):  # nor does how far they spread
        assert 0.9 < drawn[0][:, place].std() / drawn[1][:, place].std() < 1.1


def test_fixed_digits_would_tell_them_apart() -> None:
    own, middle = codec(), [1 << 31] * 64  # draws a carry of 0
    sums = {
        tuple(map(sum, zip(*(own._expand(round(value / RESOLUTION), 32000, middle) for value in way), strict=True)))
        for way in ((1000.0, 0.0), (500.0, 500.0))
    }
    assert len(sums) == 2


def test_digits_of_a_large_and_a_small_metric_have_the_same_spread() -> None:
    """Or the digits above the small ones would be the large one's alone."""
    for value in (0.0, 1e-3, 1e9):
        digits = np.array([digit_sums([value], [key(i)])[1:41] for i in range(300)])
        assert float(digits.std(axis=0).min()) > 0.25 * 2**16 / np.sqrt(3)


def test_coordinates_are_drawn_by_the_key() -> None:
    own = codec()
    one, again, other = (own.encode({"loss": 1.0}, 1, k) for k in (KEY, KEY, KEY[::-1]))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


# --- which are carried ------------------------------------------------------------------------------------------


def test_numbers_are_carried_in_name_order() -> None:
    found = scalars({"z": 1, "a": 0.5, "m": True, "n": np.float32(0.25), "k": np.int64(3)})
    assert list(found.items()) == [("a", 0.5), ("k", 3.0), ("m", 1.0), ("n", 0.25), ("z", 1.0)]
    assert all(type(value) is float for value in found.values())


def test_lists_are_left_out_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics._warn_once.cache_clear()
    for _ in range(2):
        assert scalars({"curve": [1.0, 2.0], "loss": 1.0, "who": "me", "none": None}) == {"loss": 1.0}
    assert [record.getMessage() for record in caplog.records] == [
        "lists and other metrics that are no numbers are left out: curve, none, who"
    ]


def test_more_metrics_than_there_is_room_for_are_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    metrics._warn_once.cache_clear()
    found = scalars({f"m{place:02}": 1.0 for place in reversed(range(MAX_METRICS + 2))})
    assert list(found) == [f"m{place:02}" for place in range(MAX_METRICS)]
    assert "left out: m16, m17" in caplog.text


def test_an_integer_beyond_floats_is_not_finite() -> None:
    assert scalars({"count": 10**400}) == {"count": math.inf}


def test_what_is_wrong_beside_the_values_is_an_error() -> None:
    own = codec(10)
    for weight in (0, 11):
        with pytest.raises(UpdateError, match="weight is"):
            own.encode({}, weight, KEY)
    many = {str(place): 0.0 for place in range(MAX_METRICS + 2)}
    with pytest.raises(LocalProtocolError, match="18 metrics are more than 17"):
        own.encode(many, 1, KEY)
    with pytest.raises(LocalProtocolError, match="18 metrics in coordinates"):
        own.decode(np.zeros(own.size), tuple(many), 1)
    with pytest.raises(LocalProtocolError, match=r"shape \(3,\)"):
        own.decode(np.zeros(3), (), 1)


def test_the_digits_write_every_number_of_the_range() -> None:
    own = codec(5)
    words = itertools.cycle([0, 2**32 - 1, 12345, 1 << 31])
    for number in (0, 1, -1, 5 * 2**68, -5 * 2**68, 123456789):
        digits = list(own._expand(number, 32000, list(itertools.islice(words, own._drawn))))
        assert sum(digit * 3**place for place, digit in enumerate(digits)) == number
        assert max(map(abs, digits)) <= 32000
