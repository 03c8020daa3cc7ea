"""The codec with noise: what a client's data can add is bounded exactly, whatever they are, and noise is as told."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.federation import identity

from mpc.keystream import derive_key
from secure_agg import Policy, Privacy, Roster, RoundConfig
from secure_agg.errors import ConfigError, UpdateError, VerificationError
from secure_agg.privacy import skellam
from secure_agg.privacy.skellam import FRACTION
from secure_agg.protocol.codec import PrivateCodec, codec_of, private
from secure_agg.protocol.codec.grid import MARK
from secure_agg.protocol.codec.private import noise_key
from secure_agg.protocol.config import Group

BUDGET = Privacy(epsilon=4.0, delta=1e-5, norm=2.0, rounds=2)


@functools.cache
def members(n: int) -> Roster:
    return Roster({f"c{i:03}": identity(f"c{i:03}").public for i in range(n)})


@functools.cache
def config(n: int = 10, shapes: tuple[tuple[int, ...], ...] = ((40,), (3, 4)), **policy: Any) -> RoundConfig:
    made = Policy.default(n, min_clients=n - 1, **({"privacy": BUDGET} | policy))
    return RoundConfig.create(task="t", round=0, policy=made, cohort=members(n), shapes=shapes)


def secrets_of(name: str) -> Any:
    return lambda label: derive_key(name.encode().ljust(32), label)


def encode(round_: RoundConfig, update: Sequence[npt.NDArray[Any]], name: str = "a") -> npt.NDArray[np.uint32]:
    out = np.empty(round_.layout.committed, dtype=np.uint32)
    PrivateCodec(round_).encode(update, secrets_of(name), out)
    return out


def without_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skellam, "draw", lambda _variance, _key, count: np.zeros(count, dtype=np.int64))


@given(
    arrays.arrays(np.float64, 52, elements=st.floats(allow_nan=False, allow_infinity=False, width=64, min_value=-1e300))
)
@settings(max_examples=60, deadline=None)
def test_no_update_adds_more_than_the_sensitivity(values: npt.NDArray[np.float64]) -> None:
    """As exact integers: before noise, of any floats."""
    round_, made = config(), config().mechanism
    assert made is not None
    with pytest.MonkeyPatch.context() as patch:
        without_noise(patch)
        centred = encode(round_, [values[:40], values[40:].reshape(3, 4)])[: made.padded].astype(np.int64)
    centred -= round_.policy.top // 2
    assert sum(int(value) ** 2 for value in centred) <= made.squared
    assert int(np.abs(centred).max()) <= made.value_limit


def test_a_naive_clip_in_floats_and_plain_rounding_exceed_the_sensitivity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why roundings are tried until one is short enough: some are longer, and one client's data would decide."""
    round_ = config(shapes=((64,),), bits=16)
    made = round_.mechanism
    assert made is not None
    rng, longest = np.random.default_rng(3), 0
    exact = np.full(64, made.length / 8)  # its norm is L
    for _ in range(20_000):
        rounded = np.floor(exact) + (rng.random(64) < exact % 1)
        longest = max(longest, int(rounded @ rounded))
    assert longest > made.length**2, "rounding makes vectors longer than the clip"
    monkeypatch.setattr(private, "MOST_TRIES", 1)
    taken = [private._rounded(exact, made.length**2, derive_key(bytes([i] * 32), "k")) for i in range(40)]
    assert 0 < sum(not found.any() for found in taken) < 40, "with one try some come to nothing, and none is longer"


@pytest.mark.parametrize("size", [52, 5000])
def test_the_mean_is_that_of_the_clipped_updates_and_noise_of_the_stated_deviation(size: int) -> None:
    n = 10
    round_, rng = config(n, ((size,),)), np.random.default_rng(size)
    codec = codec_of(round_)
    assert isinstance(codec, PrivateCodec)
    total, expected = np.zeros(round_.layout.committed, dtype=np.int64), np.zeros(size)
    for i in range(n):
        values = rng.normal(size=size) * (0.01 if i % 2 else 10.0)
        total += encode(round_, [values.astype(np.float32)], f"client {i}")
        expected += values * min(1.0, 2.0 / float(np.linalg.norm(values)))
    (mean,), weight_sum = codec.decode(total.astype(np.uint32), n, round_.shapes)
    assert weight_sum == n
    error = mean - expected / n
    deviation = codec.deviation(n)
    assert float(np.sqrt(np.mean(error**2))) == pytest.approx(deviation, rel=5 / math.sqrt(size))
    assert abs(float(error.mean())) < 5 * deviation / math.sqrt(size)


def test_without_noise_the_mean_is_within_the_error_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    without_noise(monkeypatch)
    round_ = config(5, ((300,),))
    codec, values = codec_of(round_), np.linspace(-0.1, 0.1, 300)
    total = sum(encode(round_, [values], f"c{i}").astype(np.int64) for i in range(5))
    (mean,), _ = codec.decode(np.asarray(total, dtype=np.uint32), 5, round_.shapes)
    assert np.abs(mean - values).max() < codec.error_bound(5, 5)


def test_noise_never_meets_other_data() -> None:
    """An attempt's secrets, and two updates: with a key of the attempt alone their difference would be in the clear."""
    round_ = config()
    one = [np.zeros(40), np.zeros((3, 4))]
    other = [np.full(40, 0.2), np.zeros((3, 4))]
    made, half = round_.mechanism, round_.policy.top // 2
    assert made is not None
    with pytest.MonkeyPatch.context() as patch:
        without_noise(patch)
        still = [encode(round_, update).astype(np.int64) for update in (one, other)]
    noises = [encode(round_, update).astype(np.int64) - q for update, q in zip((one, other), still, strict=True)]
    assert np.array_equal(encode(round_, one), encode(round_, one)), "the same again after a restart"
    assert float(np.corrcoef(noises[0][: made.padded], noises[1][: made.padded])[0, 1]) < 0.5
    keys = {noise_key(bytes(32), q[: made.padded] - half) for q in still}
    assert len(keys) == 2
    assert np.array_equal(still[0][: made.padded] - half, np.zeros(made.padded))


def test_one_clients_noise_has_its_share_of_the_variance() -> None:
    round_ = config(10, ((4096,),))
    made = round_.mechanism
    assert made is not None
    zeros = [np.zeros(4096)]
    found = np.concatenate([encode(round_, zeros, f"c{i}")[:4096].astype(np.int64) for i in range(8)])
    found -= round_.policy.top // 2
    assert float(found.var()) == pytest.approx(made.variance / FRACTION, rel=0.04)
    assert int(np.abs(found).max()) <= made.noise_limit
    rule = round_.policy.privacy
    assert rule is not None
    assert made.variance * rule.honest * 1024 >= rule.ratio * made.squared * FRACTION


def test_what_is_no_number_is_refused_by_its_place() -> None:
    for bad in (np.nan, np.inf):
        update = [np.zeros(40), np.zeros((3, 4))]
        update[1][1, 2] = bad
        with pytest.raises(UpdateError, match="array 1 holds NaN or infinity at flat index 6"):
            encode(config(), update)


def test_a_mark_would_take_the_whole_norm_and_is_refused() -> None:
    """It is no quantity, and 2^100 times as long as all of them: of the others nothing would be left, unsaid."""
    with pytest.raises(UpdateError, match="marks, which privacy has no place for"):
        encode(config(), [np.full(40, 0.1), np.full((3, 4), MARK)])
    encode(config(), [np.full(40, 0.1), np.full((3, 4), MARK * 2)])  # a number, if a large one


def test_a_sum_of_weights_that_is_not_the_number_of_clients_is_refused() -> None:
    round_ = config()
    total = encode(round_, [np.zeros(40), np.zeros((3, 4))])
    with pytest.raises(VerificationError, match="weights of 2 clients sum to 1"):
        codec_of(round_).decode(total, 2, round_.shapes)


def changed(**options: Any) -> Policy:
    made = config().policy
    known = {option.name: option.value for option in made.options} | options
    values = {name: getattr(made, name) for name in made.__struct_fields__ if name != "options"}
    return Policy(**values, options=type(made.options[0]).list(known))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"privacy_delta": 0}, "privacy_delta is 0"),
        ({"privacy_delta": 10**11}, "outside"),
        ({"privacy_epsilon": 0}, "privacy_epsilon is 0"),
        ({"privacy_epsilon": 10}, "can't stay within epsilon = 1e-05 .*, however much noise"),
        ({"privacy_honest": 0}, "noise has to come from somebody"),
        ({"privacy_honest": 9}, "no more than 7 clients are known to be honest"),
        ({"privacy_mechanism": 2}, "there is 1, skellam"),
        ({"privacy_ratio": 0}, "lost in rounding"),
        ({"privacy_ratio": 9}, r"one round spends epsilon = .*privacy_ratio = \d+ would do"),
        ({"halves": 1}, "the sum of their lower halves tells more"),
        (
            {"norm_steps": 1000, "norm_excess": 0, "norm_outside": 0},
            r"is 19\.\d clips long in a model of 1,000 values, and 619",
        ),
    ],
)
def test_policies_that_would_not_protect_are_refused_with_what_would_do(options: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        changed(**options)


def test_a_policy_with_some_of_the_options_is_refused() -> None:
    made = config().policy
    values = {name: getattr(made, name) for name in made.__struct_fields__ if name != "options"}
    with pytest.raises(ConfigError, match="privacy_delta goes with privacy_ratio"):
        Policy(**values, options=made.options[:-1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"groups": (Group(name="a", bits=12, clip=2.0), Group(name="b", bits=16, clip=2.0))}, r"in groups \(a, b\)"),
        ({"buffer_honest": 2, "buffer_staleness": 1}, "no buffered round has differential privacy"),
    ],
)
def test_groups_and_buffered_rounds_have_no_privacy_however_the_policy_came(options: dict[str, Any], said: str) -> None:
    """A group more would be a sensitivity more, and what is handed in to a buffer counts for no budget: the naive
    policy, made by hand or sent by a server, would name an epsilon that holds for neither.
    """
    with pytest.raises(ConfigError, match=said):
        changed(**options)
    made = config().policy
    named = {option.name: option.value for option in made.options} | options
    document = made.document() | {"options": {}}
    document["options"] = {
        name: [{field: getattr(group, field) for field in Group.__struct_fields__} for group in value]
        if isinstance(value, tuple)
        else value
        for name, value in named.items()
    }
    with pytest.raises(ValueError, match=said):
        Policy.from_document(document)


def test_a_policy_of_groups_is_refused_by_default_too() -> None:
    with pytest.raises(ConfigError, match="takes an update as one vector"):
        Policy.default(10, min_clients=9, privacy=BUDGET, groups=[Group(name="a")])


def test_weights_a_large_delta_and_too_few_honest_clients_are_refused() -> None:
    made = config().policy
    with pytest.raises(ConfigError, match="counts every client alike"):
        Policy(**{name: getattr(made, name) for name in made.__struct_fields__} | {"max_weight": 7})
    with pytest.raises(ConfigError, match=r"no less than one in 1000 clients: .* take 0\.0001 or less"):
        config(1000, privacy=Privacy(epsilon=1.0, delta=1e-3, norm=1.0))
    with pytest.raises(ConfigError, match="min_clients = 15 would do"):
        Policy.default(50, backend="additive", privacy=BUDGET)


def test_too_few_bits_for_the_model_are_refused_with_those_that_would_do() -> None:
    with pytest.raises(ConfigError, match=r"9 bits have no room .* bits = 1\d would do"):
        config(shapes=((5000,),), bits=9)


def test_a_round_beyond_the_budget_is_no_round() -> None:
    made = config().policy
    with pytest.raises(ConfigError, match="epsilon = 4 is for 2 rounds, and this would be number 3"):
        RoundConfig.create(task="t", round=2, policy=made, cohort=members(10), shapes=((5,),))
