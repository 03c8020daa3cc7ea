"""Named vectors: each has its range and its weighting, in one round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import secure_agg
from secure_agg.errors import ConfigError, UpdateError
from secure_agg.fl.algorithms.evaluation import Evaluation
from secure_agg.fl.algorithms.vectors import Vector, Vectors

WEIGHTS = {"a": 40, "b": 10, "c": 25, "d": 90}
MIXED = Vectors(
    (
        Vector("model", ((2, 2),)),
        Vector("steps", ((1,),), bound=500.0),
        Vector("variate", ((3,), (1,)), weighted=False, bound=2.0),
    ),
    clip=1.0,
    least=10,
)


def values(seed: int) -> dict[str, dict[str, list[np.ndarray]]]:
    rng = np.random.default_rng(seed)
    return {
        name: {
            "model": [rng.uniform(-1, 1, (2, 2))],
            "steps": [rng.uniform(0, 500, 1)],
            "variate": [rng.uniform(-2, 2, 3), rng.uniform(-2, 2, 1)],
        }
        for name in WEIGHTS
    }


def aggregated(vectors: Vectors, given: Any, **settings: Any) -> Any:
    packed = {name: vectors.pack(given[name], WEIGHTS[name]) for name in WEIGHTS}
    return secure_agg.aggregate(
        {name: arrays for name, (arrays, _) in packed.items()},
        weights={name: weight for name, (_, weight) in packed.items()},
        clip=vectors.clip,
        bits=20,
        **settings,
    )


def test_weighted_and_unweighted_means_come_out_of_one_round() -> None:
    given = values(seed=5)
    result = aggregated(MIXED, given, dropouts={"b": "advertise"})
    found = MIXED.unpack(result.average, result.record)
    here = [name for name in WEIGHTS if name != "b"]
    for vector in MIXED.all:
        weights = [WEIGHTS[name] if vector.weighted else 1 for name in here]
        for place, array in enumerate(found[vector.name]):
            exact = np.average([given[name][vector.name][place] for name in here], axis=0, weights=weights)
            gap = np.abs(array - exact).max()
            assert gap <= MIXED.error_bound(vector.name, result.record), vector.name
            assert gap > 0
    record = result.record
    assert MIXED.error_bound("variate", record) == pytest.approx(
        2.0 * record.error_bound * record.weight_sum / (3 * 10), rel=1e-12
    )


def test_nothing_is_scaled_where_nothing_is_weighted() -> None:
    vectors = Vectors((Vector("one", ((2,),), weighted=False), Vector("two", ((1,),), weighted=False)), clip=1.0)
    given = {"one": [np.array([0.5, -0.25])], "two": [np.array([0.75])]}
    arrays, weight = vectors.pack(given, 40)
    assert weight == 1
    assert all(packed is array for packed, array in zip(arrays, given["one"] + given["two"], strict=True))


def test_a_value_beyond_its_range_is_clipped_to_it_before_it_is_scaled() -> None:
    arrays, _ = MIXED.pack(
        {"model": [np.ones((2, 2))], "steps": [np.array([1e9])], "variate": [np.full(3, -9.0), np.ones(1)]}, 20
    )
    assert arrays[1] == pytest.approx(1.0)
    assert arrays[2] == pytest.approx(-1.0 * 10 / 20)


def test_limited_weights_are_refused_beside_unweighted_values() -> None:
    given = values(seed=6)
    result = aggregated(MIXED, given, weight_scale=4, weight_span=64, first_weight=20, max_weight=100)
    assert result.record.weights_lowered
    with pytest.raises(UpdateError, match="weights were limited"):
        MIXED.unpack(result.average, result.record)


@pytest.mark.parametrize(
    ("change", "weight", "said"),
    [
        ({"steps": None}, 20, "'steps' is missing"),
        ({"other": [np.ones(1)]}, 20, "'other' is missing or not one"),
        ({"steps": [np.ones(2)]}, 20, "'steps' has other shapes"),
        ({}, 9, "a weight of 9, below 10"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], weight: int, said: str) -> None:
    given = {name: arrays for name, arrays in (values(seed=7)["a"] | change).items() if arrays is not None}
    with pytest.raises(UpdateError, match=said):
        MIXED.pack(given, weight)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Vectors((), 1.0), "there has to be one"),
        (lambda: Vectors((Vector("a", ()), Vector("a", ())), 1.0), "names of their own"),
        (lambda: Vectors((Vector("a", (), bound=0.0),), 1.0), "a has a bound of 0.0"),
        (lambda: Vectors((Vector("a", ()),), float("inf")), "clip"),
        (lambda: Vectors((Vector("a", ()),), 1.0, least=0), "least weight"),
        (lambda: Evaluation({}, 1.0), "no metric"),
    ],
)
def test_vectors_that_can_not_ride_are_refused(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


def test_an_evaluation_is_that_over_all_examples() -> None:
    evaluation = Evaluation({"accuracy": 1.0, "loss": 20.0}, clip=1.0)
    own = {name: {"accuracy": 0.5 + 0.1 * i, "loss": 3.0 * i} for i, name in enumerate(WEIGHTS)}
    result = secure_agg.aggregate(
        {name: evaluation.encode(metrics) for name, metrics in own.items()}, weights=WEIGHTS, clip=1.0, bits=20
    )
    found = evaluation.decode(result.average, result.record)
    for metric, reach in evaluation.ranges.items():
        exact = np.average([own[name][metric] for name in WEIGHTS], weights=list(WEIGHTS.values()))
        assert abs(found[metric] - exact) <= reach * result.record.error_bound
    for value in (float("nan"), 1.5, float("-inf")):
        with pytest.raises(UpdateError, match="'accuracy' is not finite, or above 1") as refused:
            evaluation.encode({"accuracy": value, "loss": 0.0})
        assert str(value) not in str(refused.value)
