"""Numbers that users get from ``aggregate``: right means, known limits, and words where they matter."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secure_agg
from secure_agg import backends
from secure_agg.errors import ClippingWarning, ConfigError, LedgerRefused, PrecisionWarning, UpdateError
from secure_agg.protocol.config import MAX_WEIGHT, Policy

NAMES = ("a", "b", "c")


def same(*arrays: Any, names: tuple[str, ...] = NAMES) -> dict[str, list[Any]]:
    """The same update of everybody."""
    return {name: list(arrays) for name in names}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "rounds.db"


# --- zero, and errors that add up -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"clip": 1.0, "max_weight": 1000, "weights": dict.fromkeys(NAMES, 25)}])
def test_over_fifty_rounds_what_is_frozen_stays_and_what_moves_arrives(settings: Mapping[str, Any]) -> None:
    """One round's error is at most its bound; fifty add up to √50 deviations, not to fifty bounds."""
    frozen, moving, bound = np.zeros(64), np.zeros(64), 0.0
    for _ in range(50):
        result = secure_agg.aggregate(same(np.zeros(64), np.full(64, 0.001)), backend="plain", bits=16, **settings)
        frozen, moving, bound = frozen + result.average[0], moving + result.average[1], result.record.error_bound
    assert not frozen.any()
    deviation = np.sqrt(50) * bound / np.sqrt(len(NAMES)) / 2
    assert float(np.abs(moving - 0.05).max()) < 6 * deviation
    assert abs(float(moving.mean()) - 0.05) < 6 * deviation / 8


@pytest.mark.parametrize("max_weight", [1, 1000, 10**6, 2**31])
@pytest.mark.parametrize("bits", [2, 8, 16, 24])
def test_the_mean_of_zeros_is_zero_whatever_the_weights(max_weight: int, bits: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        result = secure_agg.aggregate(same(np.zeros(3)), backend="plain", bits=bits, max_weight=max_weight)
    assert result.average[0].tolist() == [0.0] * 3


# --- weights ----------------------------------------------------------------------------------------------------


def test_when_the_heaviest_client_drops_out_the_mean_is_still_within_its_bound() -> None:
    names = ("big", "s1", "s2", "s3")
    weights = {"big": 1_000_000, "s1": 20, "s2": 30, "s3": 25}
    result = secure_agg.aggregate(same(np.full(3, 0.5), names=names), weights=weights, dropouts={"big": "masked-input"})
    assert result.participants == names[1:]
    assert result.record.weight_sum == 75
    assert result.record.error_bound < 0.05
    assert float(np.abs(result.average[0] - 0.5).max()) < result.record.error_bound


def test_bits_are_by_default_those_that_cost_nothing() -> None:
    for backend in ("masking", "additive", "plain"):
        for clients, bits in ((3, 24), (8, 24), (9, 23), (100, 20), (1000, 17)):
            assert Policy.default(clients, backend=backend).bits == bits
    for backend in ("bfv", "ckks", "paillier", "crypten"):
        assert Policy.default(10, backend=backend).bits == 16
        assert backends.load(backend).usual_bits(5000) == 14


def test_a_task_that_named_no_bound_goes_on_with_heavier_clients(ledger: Path) -> None:
    for number, heaviest in enumerate((120, 121, 5, 70_000, 2**32 - 1)):
        weights = {"a": 3, "b": heaviest, "c": 2}
        result = secure_agg.aggregate(same(np.ones(3)), weights=weights, ledger=ledger, backend="plain")
        assert (result.record.round, result.record.weight_limit) == (number, heaviest)
        assert result.record.weight_sum == heaviest + 5
        assert float(np.abs(result.average[0] - 1).max()) <= result.record.error_bound


def test_a_task_without_weights_goes_on_with_some(ledger: Path) -> None:
    secure_agg.aggregate(same(np.ones(3)), ledger=ledger, backend="plain")
    result = secure_agg.aggregate(same(np.ones(3)), weights={"a": 2}, ledger=ledger, backend="plain")
    assert result.record.weight_sum == 4


def test_a_bound_that_a_call_has_named_stays_and_says_what_to_do(ledger: Path) -> None:
    secure_agg.aggregate(same(np.ones(3)), max_weight=120, ledger=ledger, backend="plain")
    with pytest.raises(
        UpdateError, match=r"above max_weight = 120; where the ledger has pinned that .* new task"
    ) as caught:
        secure_agg.aggregate(same(np.ones(3)), weights={"b": 121}, ledger=ledger, backend="plain")
    assert caught.value.culprit == "b"
    result = secure_agg.aggregate(same(np.ones(3)), weights={"b": 120}, ledger=ledger, backend="plain")
    assert result.record.weight_limit == 120


def test_with_a_weight_scale_weights_are_limited_and_counted_not_named(
    ledger: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = tuple("abcdef")
    settings = {"backend": "plain", "bits": 8, "weight_scale": 2, "weight_span": 4, "first_weight": 100}
    weights = dict(zip(names, (1, 10, 30, 50, 100, 5000), strict=True))
    updates = {name: [np.full(2, float(i))] for i, name in enumerate(names)}
    with caplog.at_level(logging.WARNING, "secure_agg"):
        first = secure_agg.aggregate(
            updates,
            weights=weights,
            ledger=ledger,
            max_weight=10_000,
            **settings,  # type: ignore[arg-type]
        )
    carried = (25, 25, 30, 50, 100, 100)
    record = first.record
    assert (record.weight_limit, record.weight_sum) == (100, sum(carried))
    assert (record.weights_lowered, record.weights_raised) == (1, 2)
    assert "1 weights count as the limit of 100, and 2 as the least of 25" in caplog.text
    exact = sum(weight * i for i, weight in enumerate(carried)) / sum(carried)
    assert float(np.abs(first.average[0] - exact).max()) < record.error_bound
    assert record.next_weight_limit == 110

    second = secure_agg.aggregate(updates, weights=weights, ledger=ledger, bits=8, backend="plain")
    assert second.record.weight_limit == 110
    assert (second.record.weights_lowered, second.record.weights_raised) == (1, 2)


def test_another_weight_limit_than_the_last_record_gives_is_refused(ledger: Path) -> None:
    from support.records.hand_made import make_record

    from secure_agg.ledger.chain import check_link

    first = make_record(0, weight_limit=100, next_weight_limit=110)
    check_link(make_record(1, first, weight_limit=110), first)
    with pytest.raises(LedgerRefused, match="weight_limit 111, not 110 after round 0"):
        check_link(make_record(1, first, weight_limit=111), first)


# --- the limit of the error -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "ways"),
    [
        ({"max_error": 1e-5, "bits": 16}, ["bits = 21", "a max_error of 0.000244148"]),
        ({"max_error": 0.01, "bits": 16, "max_weight": 100}, ["max_weight = 40", "bits = 18", "0.0244148"]),
        ({"max_error": 1e-9, "max_weight": 2**32 - 1}, ["a max_error of 4096"]),
        (
            {"max_error": 0.01, "bits": 16, "max_weight": 10**6, "weight_scale": 4, "weight_span": 64},
            ["weight_span = 40", "bits = 17"],
        ),
    ],
)
def test_a_round_that_could_be_too_far_off_is_refused_and_told_what_would_do(
    settings: Mapping[str, Any], ways: list[str], ledger: Path
) -> None:
    with pytest.raises(ConfigError, match=f"above max_error = {settings['max_error']:g}") as caught:
        secure_agg.aggregate(same(np.ones(3)), ledger=ledger, **settings)
    for way in ways:
        assert way in str(caught.value)


def test_what_would_do_does() -> None:
    for settings in ({"bits": 21}, {"bits": 16, "max_error": 0.000244149}):
        secure_agg.aggregate(same(np.ones(3)), backend="plain", **{"max_error": 1e-5, **settings})
    for change in ({"max_weight": 40}, {"bits": 18}, {"max_error": 0.0244149}):
        settings = {"bits": 16, "max_weight": 100, "max_error": 0.01} | change
        secure_agg.aggregate(same(np.ones(3)), backend="plain", **settings)


def test_nonsense_is_refused_by_default_and_what_is_asked_for_is_not() -> None:
    with pytest.raises(ConfigError, match="above max_error = 1024"):
        secure_agg.aggregate(
            same(np.ones(3), names=tuple("abcdefghij")), clip=1.0, max_weight=MAX_WEIGHT, backend="plain"
        )
    for bits in (2, 8, 16, 24):
        result = secure_agg.aggregate(same(np.ones(3)), bits=bits, weights=dict.fromkeys(NAMES, 100_000))
        assert result.record.error_bound == pytest.approx(8 / (2 ** (bits - 1) - 1))


def test_a_round_whose_rounding_is_beyond_the_range_says_so_before_it_is_written(ledger: Path) -> None:
    settings: dict[str, Any] = {"bits": 8, "max_weight": 10_000, "ledger": ledger, "backend": "plain"}
    with pytest.raises(PrecisionWarning, match="may be off by 629"):
        secure_agg.aggregate(same(np.ones(3)), **settings)
    with pytest.warns(PrecisionWarning, match="3 weights sum to 3, far below the limit of 10000 each"):
        result = secure_agg.aggregate(same(np.ones(3)), **settings)
    assert result.record.round == 0


# --- clipping ---------------------------------------------------------------------------------------------------


def test_what_is_clipped_is_counted_warned_of_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    updates = same(np.array([0.1, 9.0, 0.0]), np.zeros(2), np.array(-8.5), np.full(20, 1.0))
    with caplog.at_level(logging.WARNING, "secure_agg"), pytest.warns(ClippingWarning) as caught:
        result = secure_agg.aggregate(updates, backend="plain")
    (warning,) = caught
    assert Path(warning.filename) == Path(__file__)
    text = str(warning.message)
    assert text.startswith("6 of 78 values were clipped to ±8, in arrays 0, 2; the largest was 9 in size.")
    assert "weights where updates belong" not in text
    assert text in caplog.text
    clipped = {name: value for name, value in result.stats.items() if "clipped" in name}
    assert clipped == {"clipped_values": 6.0, "clipped_values.array_0": 3.0, "clipped_values.array_2": 3.0}
    assert result.average[0][1] == pytest.approx(8.0)


@pytest.mark.parametrize("values", [[20.0, 4660.1, 0.1], [1e5, *[0.0] * 9]])
def test_who_passes_weights_is_told_so(values: list[float]) -> None:
    with pytest.warns(ClippingWarning, match="looks like weights where updates belong"):
        secure_agg.aggregate(same(np.array(values)), backend="plain")


def test_nothing_is_said_where_nothing_is_clipped() -> None:
    result = secure_agg.aggregate(same(np.array([8.0, -8.0, 0.0])), backend="plain")
    assert not [name for name in result.stats if "clipped" in name]


# --- what is taken and what is not ------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["masking", "plain", "additive"])
def test_arrays_without_dimensions_come_back_as_such(backend: str, ledger: Path) -> None:
    updates = {name: [np.array(i / 4), np.zeros(2), np.float32(0.5)] for i, name in enumerate(NAMES)}
    result = secure_agg.aggregate(updates, backend=backend, ledger=ledger)
    assert [array.shape for array in result.average] == [(), (2,), ()]
    assert float(result.average[0]) == pytest.approx(0.25, abs=1e-5)
    evidence = secure_agg.Evidence.from_bytes(result.evidence.to_bytes())
    assert secure_agg.verify(evidence).average[0].shape == ()


@pytest.mark.parametrize(
    "setting",
    [
        {"bits": np.int64(16)},
        {"bits": 16.0},
        {"min_clients": np.int8(3)},
        {"max_clients": np.uint64(5)},
        {"max_weight": np.int64(9)},
        {"max_weight": 9.0},
        {"clip": np.float32(1)},
        {"clip": np.int64(3)},
        {"max_error": np.float64(1)},
        {"round": np.int64(2)},
        {"options": {"complete_up_to": np.int64(128)}},
        {"rounding": "stochastic"},
    ],
    ids=str,
)
def test_numbers_of_other_types_are_settings(setting: Mapping[str, Any]) -> None:
    result = secure_agg.aggregate(same(np.ones(3)), **setting)
    policy = secure_agg.RoundConfig.from_bytes(result.evidence.config.to_bytes()).policy
    for name, value in setting.items():
        assert getattr(policy, name, value) == value or name == "options"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"bits": -1}, r"bits is -1, outside \[2, 24\]"),
        ({"bits": 25}, r"bits is 25, outside \[2, 24\]"),
        ({"bits": 16.5}, "bits of aggregate is a float, not an integer"),
        ({"round": 1.7}, "round of aggregate is a float, not an integer"),
        ({"round": -1}, r"round is -1, outside \[0, "),
        ({"round": True}, "round is True, not an integer"),
        ({"min_clients": 1}, r"min_clients is 1, outside \[2, "),
        ({"max_weight": 0}, r"max_weight is 0, outside \[1, 4294967295\]"),
        ({"max_weight": float("nan")}, "max_weight of aggregate is a float, not an integer"),
        ({"max_weight": "9"}, "max_weight of aggregate is a str, not an integer"),
        ({"clip": "1"}, "clip of aggregate is a str, not a number"),
        ({"clip": True}, "clip is True, not a number"),
        ({"max_error": 0}, "max_error is 0.0, not a float above 0"),
        ({"rounding": "nearest"}, "one way, 'stochastic'"),
        ({"weight_span": 4}, "go with a weight_scale"),
        ({"options": {"complete_up_to": 1.5}}, r"option complete_up_to is 1.5, not an integer"),
    ],
    ids=str,
)
def test_other_settings_are_refused_with_the_true_range(setting: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        secure_agg.aggregate(same(np.ones(3)), **setting)


def test_masked_arrays_are_refused_with_the_client_s_name() -> None:
    updates = same(np.ones(2)) | {"b": [np.ma.masked_array([0.5, -7.0], mask=[False, True])]}
    with pytest.raises(UpdateError, match="masked array") as caught:
        secure_agg.aggregate(updates)
    assert caught.value.culprit == "b"


def test_too_many_arrays_are_the_caller_s_mistake_and_cost_nothing() -> None:
    one, start = np.full(1, 0.5, np.float32), time.process_time()
    with pytest.raises(ConfigError, match="600000 arrays is above 524288"):
        secure_agg.aggregate(same(*[one] * 600_000), backend="plain")
    assert time.process_time() - start < 5
    deep = np.full((1,) * 30, 0.5, np.float32)
    with pytest.raises(ConfigError, match="shapes of 40000 arrays"):
        secure_agg.aggregate(same(*[deep] * 40_000), backend="plain")
