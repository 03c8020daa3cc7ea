"""A round's average is bit-equal to numpy's exact integer sum, whoever drops out and wherever."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.federation import assert_is_mean, names

import secure_agg
from secure_agg.errors import ConfigError, TooFewClients, UpdateError
from secure_agg.local.rounds import PHASES
from secure_agg.protocol.config import Policy

BACKENDS = ["masking", "plain"]
LATE = ("screen", "dispute", "consistency", "unmask")  # neither backend here has the first two

pytestmark = pytest.mark.filterwarnings("ignore::secure_agg.errors.SecureAggWarning")


@st.composite
def rounds(draw: st.DrawFn) -> dict[str, Any]:
    """A cohort of 2 to 9 clients with any shapes, weights, bits and up to as many dropouts as the policy bears."""
    n = draw(st.integers(2, 9))
    shapes = draw(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3))
    bits = draw(st.integers(2, 20))
    min_clients = draw(st.integers(2, min(3, n)))
    policy = Policy.default(n, bits=bits, min_clients=min_clients)
    least = max(policy.min_clients, policy.quorum(n))
    lost = draw(st.lists(st.sampled_from(names(n)), unique=True, max_size=min(n - policy.min_advertised, n - least)))
    return {
        "n": n,
        "shapes": shapes,
        "bits": bits,
        "min_clients": min_clients,
        "clip": draw(st.sampled_from([0.01, 1.0, 8.0, 1000.0])),
        "weights": {name: draw(st.integers(1, 100_000)) for name in names(n)},
        "dropouts": {name: draw(st.sampled_from([p for p in PHASES if p != "choose-peers"])) for name in lost},
        "seed": draw(st.integers(0, 2**32)),
        "backend": draw(st.sampled_from(BACKENDS)),
    }


@pytest.mark.slow
@settings(max_examples=120)
@given(rounds())
def test_the_average_is_bit_equal_to_numpys_exact_sum(case: dict[str, Any]) -> None:
    rng = np.random.default_rng(case["seed"])
    updates = {
        name: [rng.normal(scale=case["clip"], size=shape).astype(np.float32) for shape in case["shapes"]]
        for name in names(case["n"])
    }
    result = secure_agg.aggregate(
        updates,
        weights=case["weights"],
        backend=case["backend"],
        dropouts=case["dropouts"],
        clip=case["clip"],
        bits=case["bits"],
        min_clients=case["min_clients"],
    )
    kept = tuple(name for name in names(case["n"]) if case["dropouts"].get(name, "unmask") in LATE)
    assert result.participants == kept
    assert all(array.dtype == np.float64 for array in result.average)
    assert_is_mean(result.average, updates, case["weights"], kept, result.evidence.config)


@pytest.mark.slow
@settings(max_examples=40)
@given(
    st.integers(0, 2**32),
    st.integers(3, 6),
    st.integers(4, 18),
    st.sampled_from([1, 7, 1000]),
)
def test_the_mean_is_within_the_documented_error_bound(seed: int, n: int, bits: int, heaviest: int) -> None:
    rng = np.random.default_rng(seed)
    updates = {name: [rng.normal(size=(40,))] for name in names(n)}
    weights = {name: int(rng.integers(1, heaviest + 1)) for name in names(n)}
    result = secure_agg.aggregate(updates, weights=weights, clip=2.0, bits=bits, max_weight=heaviest)
    total = sum(weights.values())
    exact = sum(np.clip(updates[name][0], -2.0, 2.0) * weights[name] for name in updates) / total
    bound = (2.0 / ((1 << (bits - 1)) - 1)) * n * heaviest / total
    assert np.abs(result.average[0] - exact).max() <= bound * (1 + 1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("phase", PHASES)
def test_one_client_may_fall_silent_at_any_phase(backend: str, phase: str) -> None:
    updates = {name: [np.full(3, float(i))] for i, name in enumerate(names(5))}
    result = secure_agg.aggregate(updates, backend=backend, dropouts={"c004": phase})
    assert ("c004" in result.participants) == (phase in LATE)
    assert np.allclose(result.average[0], 2.0 if phase in LATE else 1.5, atol=1e-3)


@pytest.mark.parametrize("phase", ["advertise", "share-keys", "masked-input", "consistency", "unmask"])
def test_too_many_dropouts_abort_with_the_phase(phase: str) -> None:
    updates = {name: [np.ones(2)] for name in names(5)}
    with pytest.raises(TooFewClients) as caught:
        secure_agg.aggregate(updates, dropouts=dict.fromkeys(names(3), phase))
    assert caught.value.phase == phase


def test_updates_of_every_supported_layout_are_the_same_update() -> None:
    base = np.arange(12, dtype=np.float32).reshape(3, 4) / 7
    layouts = [base, base.astype(">f4"), np.asfortranarray(base), np.repeat(base, 2, axis=1)[:, ::2]]
    updates = {name: [layout] for name, layout in zip(names(4), layouts, strict=True)}
    result = secure_agg.aggregate(updates)
    assert np.abs(result.average[0] - base).max() <= 8 / 32767


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ([np.ones(3, np.float16)], "float16"),
        ([np.ones(3, np.int32)], "int32"),
        ([np.array(1.0)], "arrays of shapes"),
        ([np.ones((0, 3))], "elements"),
        ([], "no arrays"),
        ([np.array([1.0, np.nan, 0.0])], "index 1"),
        ([np.array([1.0, 2.0, -np.inf])], "index 2"),
        ([np.ones(4)], "shapes"),
        ([[1.0, 2.0, 3.0]], "list"),
    ],
)
def test_an_unfit_update_is_refused_before_anything_is_sent(bad: Any, word: str) -> None:
    updates: dict[str, Any] = {name: [np.ones(3)] for name in names(4)} | {"c002": bad}
    with pytest.raises(UpdateError, match=word) as caught:
        secure_agg.aggregate(updates)
    assert (caught.value.culprit, caught.value.phase) == ("c002", "advertise")


@pytest.mark.parametrize("weight", [0, -1, 1.5, True, 11])
def test_a_weight_out_of_range_is_refused(weight: Any) -> None:
    updates = {name: [np.ones(3)] for name in names(3)}
    with pytest.raises(UpdateError) as caught:
        secure_agg.aggregate(updates, weights={"c001": weight}, max_weight=10)
    assert caught.value.culprit == "c001"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"weights": {"stranger": 1}}, "stranger"),
        ({"dropouts": {"stranger": "unmask"}}, "stranger"),
        ({"dropouts": {"c000": "lunch"}}, "lunch"),
        ({"backend": "rot13"}, "rot13"),
        ({"options": {"speed": 9}}, "speed"),
        ({"bits": 25}, "bits"),
        ({"bits": 1}, "bits"),
        ({"clip": 0.0}, "clip"),
        ({"clip": float("nan")}, "clip"),
        ({"min_clients": 1}, "min_clients"),
        ({"min_clients": 4}, "min_clients"),
        ({"rounding": "up"}, "rounding"),
        ({"max_clients": 1 << 12, "bits": 16, "norm_bound": 1.0}, "binding"),
        ({"round": -1}, "round"),
        ({"task": ""}, "id"),
    ],
)
def test_a_setting_out_of_range_is_refused(arguments: dict[str, Any], word: str) -> None:
    updates = {name: [np.ones(3)] for name in names(3)}
    with pytest.raises(ConfigError, match=word):
        secure_agg.aggregate(updates, **arguments)


def test_no_clients_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no clients"):
        secure_agg.aggregate({})


def test_stats_are_flat_and_complete() -> None:
    updates = {name: [np.ones(1000)] for name in names(4)}
    stats = secure_agg.aggregate(updates).stats
    wanted = {"client.encode_s", "client.commit_s", "client.protect_s", "aggregator.total_s", "verify_s"}
    wanted |= {"client.upload_bytes", "client.download_bytes", "client.result_bytes"}
    assert wanted <= stats.keys()
    assert all(type(value) is float and value > 0 for value in stats.values())


def test_extreme_values_survive() -> None:
    updates = {name: [np.array([1e30, -1e30, 8.0, -8.0, 0.0])] for name in names(3)}
    result = secure_agg.aggregate(updates)
    assert np.allclose(result.average[0], [8, -8, 8, -8, 0], atol=8 / 32767)
