"""The codec against its formulas, its error bound, and the refusal of everything that has no encoding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.keystream import CHUNK, KeyStream
from mpc.ring import Vector
from secure_agg.codec import FixedPoint, check_arrays, model_digest
from secure_agg.config import MAX_WEIGHT, Policy
from secure_agg.errors import UpdateError, VerificationError

KEY = bytes(range(32))
Floats = npt.NDArray[Any]


def codec(clip: float = 8.0, bits: int = 16, max_weight: int = 1, rounding: str = "nearest") -> FixedPoint:
    return FixedPoint(Policy.default(3, clip=clip, bits=bits, max_weight=max_weight, rounding=rounding))


def encode(fixed: FixedPoint, arrays: Sequence[Floats], weight: int = 1, key: bytes = KEY) -> Vector:
    out = np.zeros(sum(array.size for array in arrays) + fixed.limbs, dtype=np.uint32)
    fixed.encode(arrays, weight, key, out)
    return out


def normal(shape: tuple[int, ...], seed: int = 1, scale: float = 5.0) -> Floats:
    return np.random.default_rng(seed).normal(scale=scale, size=shape)


def reference(fixed: FixedPoint, values: Sequence[float], weight: int, noise: Sequence[float]) -> list[int]:
    """u = floor((clip(v, ±c) · weight / max_weight + c) · (2^q − 1) / 2c + r), limited to [0, 2^q − 1]."""
    c, top = fixed.clip, 2**fixed.bits - 1
    out = []
    for v, r in zip(values, noise, strict=True):
        u = math.floor((min(max(v, -c), c) * (weight / fixed.max_weight) + c) * (top / (2 * c)) + r)
        out.append(min(max(u, 0), top))
    return out


# --- encoding -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 8, 16, 24])
@pytest.mark.parametrize(("weight", "max_weight"), [(1, 1), (3, 7), (7, 7), (1, MAX_WEIGHT)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nearest_rounding_is_the_formula(bits: int, weight: int, max_weight: int, dtype: type) -> None:
    fixed = codec(bits=bits, max_weight=max_weight)
    values: Floats = normal((3000,)).astype(dtype)
    encoded = encode(fixed, [values], weight)[:3000]
    assert encoded.tolist() == reference(fixed, values.tolist(), weight, [0.5] * 3000)


def test_stochastic_rounding_is_the_formula_with_a_stream_for_each_chunk_of_each_array() -> None:
    fixed = codec(rounding="stochastic", max_weight=5)
    arrays = [normal((CHUNK + 10,)), normal((3, 4), seed=2)]
    expected = []
    for stream, part in enumerate([arrays[0][:CHUNK], arrays[0][CHUNK:], arrays[1].reshape(-1)]):
        words = np.empty(part.size, dtype=np.uint32)
        KeyStream(KEY).words(stream, words)
        expected += reference(fixed, part.tolist(), 2, [word / 2**32 for word in words.tolist()])
    assert encode(fixed, arrays, 2)[: len(expected)].tolist() == expected


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize(("value", "expected"), [(-8.0, 0), (-1e30, 0), (8.0, 65535), (1e30, 65535)])
def test_the_ends_of_the_range_are_hit_exactly(rounding: str, value: float, expected: int) -> None:
    assert (encode(codec(rounding=rounding), [np.full(1000, value)])[:1000] == expected).all()


def test_arrays_follow_each_other_in_c_order_and_the_weight_comes_last() -> None:
    fixed = codec(bits=8, clip=1.0, max_weight=1000)
    a, b = normal((2, 3), scale=1.0), normal((4,), seed=2, scale=1.0)
    together = encode(fixed, [a, b], 1000)
    assert together.tolist() == [
        *encode(fixed, [a.reshape(-1)], 1000)[:6].tolist(),
        *encode(fixed, [b], 1000)[:4].tolist(),
        1000 % 256,
        1000 // 256,
    ]


@pytest.mark.parametrize(
    ("bits", "max_weight", "limbs"),
    [(16, 1, 1), (16, 65535, 1), (16, 65536, 2), (2, MAX_WEIGHT, 16), (24, MAX_WEIGHT, 2)],
)
def test_the_weight_takes_as_many_limbs_as_the_largest_needs(bits: int, max_weight: int, limbs: int) -> None:
    fixed = codec(bits=bits, max_weight=max_weight)
    assert fixed.limbs == limbs
    encoded = encode(fixed, [np.zeros(1)], max_weight)[1:].tolist()
    assert sum(limb << (bits * i) for i, limb in enumerate(encoded)) == max_weight
    assert max(encoded) < 2**bits


@pytest.mark.parametrize(
    "variant",
    [
        lambda a: a.astype(">f8"),
        lambda a: np.asfortranarray(a),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: a[::-1].copy()[::-1],
        lambda a: np.ascontiguousarray(a.T).T,
    ],
    ids=["big-endian", "fortran", "strided", "reversed", "transposed"],
)
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_the_layout_in_memory_does_not_matter(variant: Any, rounding: str) -> None:
    array, fixed = normal((50, 7)), codec(rounding=rounding)
    assert np.array_equal(encode(fixed, [variant(array)]), encode(fixed, [array]))


def test_big_endian_float32_is_read_as_what_it_says() -> None:
    array = normal((50,)).astype(np.float32)
    assert np.array_equal(encode(codec(), [array.astype(">f4")]), encode(codec(), [array]))


def test_encoding_leaves_the_update_alone() -> None:
    array = normal((100,))
    before = array.copy()
    encode(codec(clip=0.1), [array])
    assert np.array_equal(array, before)


def test_clipped_values_are_counted_over_all_arrays() -> None:
    arrays = [np.array([8.0, 8.000001, -8.0, -9.0]), np.array([[1e300, 0.0]]), np.full(CHUNK + 1, -100.0)]
    out = np.zeros(4 + 2 + CHUNK + 2, dtype=np.uint32)
    assert codec().encode(arrays, 1, KEY, out) == 2 + 1 + CHUNK + 1


def test_one_key_rounds_the_same_way_again() -> None:
    fixed, values = codec(rounding="stochastic"), normal((1000,))
    assert np.array_equal(encode(fixed, [values]), encode(fixed, [values]))


def test_another_key_rounds_otherwise() -> None:
    fixed, values = codec(rounding="stochastic"), normal((1000,))
    assert not np.array_equal(encode(fixed, [values]), encode(fixed, [values], key=KEY[::-1]))


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.9])
def test_stochastic_rounding_is_right_on_average(fraction: float) -> None:
    """100,000 draws: the mean's deviation is below 0.0016. The key is fixed, and so the outcome."""
    fixed = codec(rounding="stochastic")
    value = (1000 + fraction) * fixed.step - fixed.clip
    encoded = encode(fixed, [np.full(100_000, value)])[:-1]
    assert set(encoded.tolist()) <= {999, 1000, 1001}
    assert float(encoded.mean()) == pytest.approx(1000 + fraction, abs=0.008)


# --- refusals before anything is sent -----------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [0, 5, CHUNK - 1, CHUNK, CHUNK + 3])
def test_what_is_not_finite_is_refused_with_its_place(value: float, dtype: type, index: int) -> None:
    bad: Floats = np.zeros(CHUNK + 10, dtype=dtype)
    bad[index] = value
    bad[CHUNK + 5] = math.nan
    with pytest.raises(UpdateError, match=f"array 1 holds NaN or infinity at flat index {index}$"):
        encode(codec(), [np.zeros(3), bad])


@pytest.mark.parametrize("weight", [0, -1, 11, 2**64, 1.0, True, "1", None, np.float64(1), math.nan])
def test_a_weight_out_of_range_or_of_another_type_is_refused(weight: Any) -> None:
    with pytest.raises(UpdateError, match="weight is"):
        encode(codec(max_weight=10), [np.zeros(3)], weight)


@pytest.mark.parametrize("weight", [1, 10, np.int64(10), np.uint8(10)])
def test_weights_up_to_the_largest_are_taken(weight: int) -> None:
    assert encode(codec(max_weight=10), [np.zeros(3)], weight)[-1] == weight


@pytest.mark.parametrize(
    "dtype", [np.float16, np.longdouble, np.int64, np.bool_, np.complex128, object, "U3", "M8[s]", [("a", "f4")]]
)
def test_other_types_are_refused(dtype: Any) -> None:
    with pytest.raises(UpdateError, match=r"array 1 is .*only float32 and float64"):
        check_arrays([np.zeros(3), np.zeros(3, dtype=dtype)])


@pytest.mark.parametrize("value", [[1.0, 2.0], 1.0, None, np.float64(1), "text", memoryview(bytes(8))])
def test_what_is_no_numpy_array_is_refused(value: Any) -> None:
    with pytest.raises(UpdateError, match=r"array 0 is a .*, not a numpy array"):
        check_arrays([value])


def test_a_scalar_is_refused() -> None:
    with pytest.raises(UpdateError, match=r"reshape a scalar to \(1,\)"):
        check_arrays([np.zeros(())])


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3)])
def test_an_empty_array_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UpdateError, match="no elements"):
        check_arrays([np.zeros(shape)])


def test_no_arrays_are_refused() -> None:
    with pytest.raises(UpdateError, match="no arrays"):
        check_arrays([])


def test_shapes_come_back() -> None:
    assert check_arrays([np.zeros((2, 3)), np.zeros(4, dtype=np.float32)]) == ((2, 3), (4,))


# --- decoding -----------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.data())
def test_the_mean_is_within_the_stated_error(data: st.DataObject) -> None:
    shapes = data.draw(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3))
    clip = data.draw(st.sampled_from([1e-30, 1e-3, 1.0, 8.0, 1e30]))
    max_weight = data.draw(st.sampled_from([1, 2, 1000, 65536, MAX_WEIGHT]))
    weights = data.draw(st.lists(st.integers(1, max_weight), min_size=1, max_size=5))
    bits, rounding = data.draw(st.integers(2, 24)), data.draw(st.sampled_from(["nearest", "stochastic"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    updates = [[clip * rng.uniform(-1.5, 1.5, shape) for shape in shapes] for _ in weights]

    fixed = codec(clip, bits, max_weight, rounding)
    encoded = [
        encode(fixed, update, weight, bytes([i]) * 32)
        for i, (update, weight) in enumerate(zip(updates, weights, strict=True))
    ]
    average, weight_sum = fixed.decode(np.sum(encoded, axis=0, dtype=np.uint32), len(weights), shapes)

    assert weight_sum == sum(weights)
    bound = fixed.step * len(weights) * max_weight / weight_sum
    assert fixed.error_bound(len(weights), weight_sum) == pytest.approx(bound)
    for i, mean in enumerate(average):
        parts = [weight * np.clip(update[i], -clip, clip) for update, weight in zip(updates, weights, strict=True)]
        assert mean.shape == shapes[i]
        assert float(np.abs(mean - sum(parts) / weight_sum).max()) <= bound * (1 + 1e-6)


@pytest.mark.parametrize(("clients", "weight_sum"), [(1, 1), (3, 7), (3, 15)])
def test_decoding_is_the_stated_formula_bit_for_bit(clients: int, weight_sum: int) -> None:
    fixed = codec(clip=0.3, bits=16, max_weight=5)
    spread = clients * 65535 // 5
    middle = clients * 65535 // 2
    X = np.random.default_rng(1).integers(middle - spread // 9, middle + spread // 9, 500)
    average, _ = fixed.decode(np.append(X, weight_sum).astype(np.uint32), clients, [(500,)])
    expected = [(2 * x - clients * 65535) * ((0.3 * 5) / (65535 * weight_sum)) for x in X.tolist()]
    assert average[0].tolist() == expected


def test_weights_whose_limbs_carry_still_sum_up() -> None:
    fixed = codec(bits=4, max_weight=255)
    encoded = [encode(fixed, [np.zeros(2)], 255) for _ in range(3)]
    assert fixed.decode(np.sum(encoded, axis=0, dtype=np.uint32), 3, [(2,)])[1] == 765


@pytest.mark.parametrize("weight_sum", [0, 2, 31])
def test_a_sum_of_weights_that_no_clients_can_have_is_refused(weight_sum: int) -> None:
    sums = np.array([3 * 65535 // 2, weight_sum], dtype=np.uint32)
    with pytest.raises(VerificationError, match=f"sum to {weight_sum}"):
        codec(max_weight=10).decode(sums, 3, [(1,)])


@pytest.mark.parametrize("value", [0, 3 * 65535])
def test_a_mean_beyond_the_clip_is_refused(value: int) -> None:
    """Three clients of full weight 10 reach ±8; with a declared sum of weights of 15 the same sum is a mean of ±16."""
    codec(max_weight=10).decode(np.array([value, 30], dtype=np.uint32), 3, [(1,)])
    with pytest.raises(VerificationError, match="above clip plus rounding"):
        codec(max_weight=10).decode(np.array([value, 15], dtype=np.uint32), 3, [(1,)])


# --- the digest of a model ----------------------------------------------------------------------------------


def test_the_digest_tells_shapes_values_and_order_apart() -> None:
    a = np.arange(6.0)
    models: list[list[Floats]] = [
        [a],
        [a.reshape(2, 3)],
        [a.reshape(3, 2)],
        [a.reshape(1, 6)],
        [a[:3], a[3:]],
        [a[:2], a[2:]],
        [a[3:], a[:3]],
        [a, np.zeros((0,))],
        [np.nextafter(a, 10)],
        [],
    ]
    assert len({model_digest(model) for model in models}) == len(models)


@pytest.mark.parametrize(
    "variant",
    [
        lambda a: a.astype(">f8"),
        np.asfortranarray,
        lambda a: a.astype(np.float32),
        lambda a: np.repeat(a, 2, 1)[:, ::2],
    ],
    ids=["big-endian", "fortran", "float32", "strided"],
)
def test_the_digest_is_of_the_values_not_of_the_memory(variant: Any) -> None:
    model = np.arange(6.0).reshape(2, 3)
    assert model_digest([variant(model)]) == model_digest([model])
