"""The codec against its formulas, its error bound, and the refusal of everything that has no encoding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import conformance.independent_verifier as spec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.keystream import CHUNK, KeyStream
from mpc.ring import Vector
from secure_agg.errors import UpdateError, VerificationError
from secure_agg.protocol.codec import MARK, FixedPoint, check_arrays, model_digest
from secure_agg.protocol.config import MAX_WEIGHT, Policy

KEY = bytes(range(32))
Floats = npt.NDArray[Any]


def codec(clip: float = 8.0, bits: int = 16, max_weight: int = 1, limit: int | None = None) -> FixedPoint:
    return FixedPoint(Policy.default(3, clip=clip, bits=bits, max_weight=max_weight), limit)


def limiting(scale: int = 4, span: int = 64, limit: int = 1000) -> FixedPoint:
    """Of a policy that limits weights."""
    policy = Policy.default(3, bits=8, max_weight=MAX_WEIGHT, weight_scale=scale, weight_span=span, first_weight=limit)
    return FixedPoint(policy, limit)


def encode(fixed: FixedPoint, arrays: Sequence[Floats], weight: int = 1, key: bytes = KEY) -> Vector:
    out = np.zeros(sum(np.size(array) for array in arrays) + fixed.limbs + fixed.counts, dtype=np.uint32)
    fixed.encode(arrays, weight, key, out)
    return out


def normal(shape: tuple[int, ...], seed: int = 1, scale: float = 5.0) -> Floats:
    return np.random.default_rng(seed).normal(scale=scale, size=shape)


def words_of(sizes: Sequence[int], key: bytes = KEY) -> list[int]:
    """The stream's words for arrays of these sizes."""
    found, stream = [], 0
    for size in sizes:
        for start in range(0, size, CHUNK):
            words = np.empty(min(CHUNK, size - start), dtype=np.uint32)
            KeyStream(key).words(stream, words)
            found += words.tolist()
            stream += 1
    return found


def reference(fixed: FixedPoint, values: Sequence[float], weight: int, words: Sequence[int]) -> list[int]:
    """The independent verifier's, which is written from the specification."""
    policy = {"bits": fixed.policy.bits, "clip": fixed.clip, "options": {}}
    return [
        spec.encode_value(value, weight, fixed.weight_limit, word, policy)
        for value, word in zip(values, words, strict=True)
    ]


# --- encoding -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 8, 16, 24])
@pytest.mark.parametrize(("weight", "max_weight"), [(1, 1), (3, 7), (7, 7), (1, MAX_WEIGHT)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_encoding_is_the_formula(bits: int, weight: int, max_weight: int, dtype: type) -> None:
    fixed = codec(bits=bits, max_weight=max_weight)
    values: Floats = normal((3000,)).astype(dtype)
    encoded = encode(fixed, [values], weight)[:3000]
    assert encoded.tolist() == reference(fixed, values.tolist(), weight, words_of([3000]))


def test_each_chunk_of_each_array_is_rounded_by_a_stream_of_its_own() -> None:
    fixed = codec(max_weight=5)
    arrays = [normal((CHUNK + 10,)), normal((3, 4), seed=2)]
    values = [value for array in arrays for value in array.reshape(-1).tolist()]
    expected = reference(fixed, values, 2, words_of([CHUNK + 10, 12]))
    assert encode(fixed, arrays, 2)[: len(expected)].tolist() == expected


@settings(max_examples=200)
@given(
    st.floats(-3, 3),
    st.integers(2, 24),
    st.sampled_from([1e-30, 1e-3, 1.0, 0.3, 1e30]),
    st.integers(1, 1000),
    st.integers(0, 2**32 - 1),
)
def test_a_code_is_next_to_the_exact_value(part: float, bits: int, clip: float, weight: int, word: int) -> None:
    """In fractions: less than a step from the clipped, weighted value, but for the roundings of float64."""
    fixed, value = codec(clip, bits, 1000), part * clip
    code = reference(fixed, [value], weight, [word])[0] - fixed.half
    exact = Fraction(min(max(value, -clip), clip)) * weight / 1000 * fixed.half / Fraction(clip)
    assert abs(code) <= fixed.half
    assert abs(code - exact) < 1 + Fraction(2) ** -20
    assert code == 0 or (code > 0) == (value > 0)


@pytest.mark.parametrize(("value", "expected"), [(-8.0, 0), (-1e30, 0), (8.0, 65534), (1e30, 65534), (0.0, 32767)])
def test_the_ends_of_the_range_and_its_middle_are_hit_exactly(value: float, expected: int) -> None:
    assert (encode(codec(), [np.full(1000, value)])[:1000] == expected).all()


@pytest.mark.parametrize("bits", range(2, 25))
@pytest.mark.parametrize("weight", [1, 999, 1000])
def test_zero_is_zero_with_all_bits_and_weights(bits: int, weight: int) -> None:
    fixed = codec(bits=bits, max_weight=1000)
    values = np.array([0.0, -0.0])
    encoded = np.sum([encode(fixed, [values], weight, bytes([i]) * 32) for i in range(10)], axis=0, dtype=np.uint32)
    (mean,), _ = fixed.decode(encoded, 10, [(2,)])
    assert mean.tolist() == [0.0, 0.0]


def test_arrays_follow_each_other_in_c_order_and_the_weight_comes_last() -> None:
    fixed = codec(bits=8, clip=1.0, max_weight=1000)
    a, b = normal((2, 3), scale=1.0), normal((4,), seed=2, scale=1.0)
    together = encode(fixed, [a, b], 1000).tolist()
    values = [*a.reshape(-1).tolist(), *b.tolist()]
    assert together[:10] == reference(fixed, values, 1000, words_of([6, 4]))
    assert together[10:] == [1000 % 128, 1000 // 128]


@pytest.mark.parametrize(
    ("bits", "max_weight", "limbs"),
    [(16, 1, 1), (16, 32767, 1), (16, 32768, 2), (2, MAX_WEIGHT, 32), (24, MAX_WEIGHT, 2)],
)
def test_the_weight_takes_as_many_limbs_as_the_largest_needs(bits: int, max_weight: int, limbs: int) -> None:
    fixed = codec(bits=bits, max_weight=max_weight)
    assert fixed.limbs == limbs
    encoded = encode(fixed, [np.zeros(1)], max_weight)[1:].tolist()
    assert sum(limb << ((bits - 1) * i) for i, limb in enumerate(encoded)) == max_weight
    assert max(encoded) <= fixed.policy.top


@pytest.mark.parametrize(
    ("weight", "carried", "counts"),
    [
        (1, 16, [0, 1]),
        (15, 16, [0, 1]),
        (16, 16, [0, 0]),
        (1000, 1000, [0, 0]),
        (1001, 1000, [1, 0]),
        (MAX_WEIGHT, 1000, [1, 0]),
    ],
)
def test_weights_beyond_the_limits_are_carried_at_them_and_counted(
    weight: int, carried: int, counts: list[int]
) -> None:
    fixed, values = limiting(), np.array([8.0, -8.0, 0.0])
    out = np.empty(3 + fixed.limbs + 2, dtype=np.uint32)
    done = fixed.encode([values], weight, KEY, out)
    assert (done.given, done.weight) == (weight, carried)
    assert out[-2:].tolist() == counts
    assert sum(limb << (7 * i) for i, limb in enumerate(out[3:-2].tolist())) == carried
    assert out[2] == fixed.half
    assert fixed.limited(out) == tuple(counts)
    (mean,), weight_sum = fixed.decode(out, 1, [(3,)])
    assert weight_sum == carried
    assert np.allclose(mean, values, atol=fixed.error_bound(1, weight_sum))


def test_more_limited_weights_than_clients_are_refused() -> None:
    fixed = limiting()
    sums = encode(fixed, [np.zeros(2)], 1) + encode(fixed, [np.zeros(2)], 2)
    assert fixed.limited(sums) == (0, 2)
    sums[-1] = 3
    with pytest.raises(VerificationError, match="3 weights were limited, of 2 clients"):
        fixed.decode(sums, 2, [(2,)])


@pytest.mark.parametrize("clip", [1e-30, 8.0, 1e30])
@pytest.mark.parametrize("weight", [1, 1000])
def test_a_mark_is_one_step_down_whatever_the_weight_and_is_not_clipped(clip: float, weight: int) -> None:
    fixed = codec(clip=clip, max_weight=1000)
    for dtype in (np.float32, np.float64):
        out = np.empty(3, dtype=np.uint32)
        done = fixed.encode([np.array([MARK, 0.0], dtype=dtype)], weight, KEY, out)
        assert out[:2].tolist() == [fixed.half - 1, fixed.half]
        assert done.clipped == (0,)


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
def test_the_layout_in_memory_does_not_matter(variant: Any) -> None:
    array, fixed = normal((50, 7)), codec()
    assert np.array_equal(encode(fixed, [variant(array)]), encode(fixed, [array]))


def test_big_endian_float32_is_read_as_what_it_says() -> None:
    array = normal((50,)).astype(np.float32)
    assert np.array_equal(encode(codec(), [array.astype(">f4")]), encode(codec(), [array]))


def test_encoding_leaves_the_update_alone() -> None:
    array = normal((100,))
    before = array.copy()
    encode(codec(clip=0.1), [array])
    assert np.array_equal(array, before)


def test_clipped_values_are_counted_for_each_array() -> None:
    arrays = [np.array([8.0, 8.000001, -8.0, -9.0]), np.array([[1e300, 0.0]]), np.full(CHUNK + 1, -100.0)]
    out = np.zeros(4 + 2 + CHUNK + 2, dtype=np.uint32)
    done = codec().encode(arrays, 1, KEY, out)
    assert done.clipped == (2, 1, CHUNK + 1)
    assert done.largest == 1e300


def test_one_key_rounds_the_same_way_again() -> None:
    fixed, values = codec(), normal((1000,))
    assert np.array_equal(encode(fixed, [values]), encode(fixed, [values]))


def test_another_key_rounds_otherwise() -> None:
    fixed, values = codec(), normal((1000,))
    assert not np.array_equal(encode(fixed, [values]), encode(fixed, [values], key=KEY[::-1]))


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_is_right_on_average(fraction: float, sign: int) -> None:
    """100,000 draws: the mean's deviation is below 0.0016. The key is fixed, and so the outcome."""
    fixed = codec()
    value = sign * (1000 + fraction) * fixed.step
    encoded = encode(fixed, [np.full(100_000, value)])[:-1].astype(np.int64) - fixed.half
    assert set((sign * encoded).tolist()) <= {999, 1000, 1001}
    assert sign * float(encoded.mean()) == pytest.approx(1000 + fraction, abs=0.008)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(2, 24), st.integers(1, 1000))
def test_rounding_has_no_bias(seed: int, bits: int, weight: int) -> None:
    """Whatever the value: 80,000 draws are within 8 of their mean's deviations. Hypothesis prints the seed."""
    fixed = codec(bits=bits, max_weight=1000)
    value = np.random.default_rng(seed).uniform(-8, 8)
    encoded = encode(fixed, [np.full(80_000, value)], weight, seed.to_bytes(32, "big"))[:80_000].astype(np.int64)
    exact = value * weight / 1000 / fixed.step
    assert abs(float((encoded - fixed.half).mean()) - exact) < 8 * 0.5 / math.sqrt(80_000) + 2**-20


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


@pytest.mark.parametrize("value", [[1.0, 2.0], 1.0, None, "text", memoryview(bytes(8))])
def test_what_is_no_numpy_array_is_refused(value: Any) -> None:
    with pytest.raises(UpdateError, match=r"array 0 is a .*, not a numpy array"):
        check_arrays([value])


@pytest.mark.parametrize("scalar", [np.array(0.5), np.float64(0.5), np.array(0.5, np.float32), np.float32(0.5)])
def test_a_scalar_is_an_array_without_dimensions(scalar: Any) -> None:
    """numpy makes ``np.float32`` of the difference of two such arrays."""
    assert check_arrays([scalar]) == ((),)
    fixed = codec()
    (mean,), _ = fixed.decode(encode(fixed, [scalar]), 1, [()])
    assert mean.shape == ()
    assert float(mean) == pytest.approx(0.5, abs=fixed.step)


@pytest.mark.parametrize("mask", [np.ma.nomask, [True, False, False], False])
def test_a_masked_array_is_refused_whatever_its_mask(mask: Any) -> None:
    with pytest.raises(UpdateError, match=r"array 1 is a masked array: .* fill it with \.filled\(0\.0\)"):
        check_arrays([np.zeros(3), np.ma.masked_array([1.0, 2.0, 3.0], mask=mask)])


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
    bits, limit = data.draw(st.integers(2, 24)), data.draw(st.integers(max(weights), max_weight))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    updates = [[clip * rng.uniform(-1.5, 1.5, shape) for shape in shapes] for _ in weights]

    fixed = codec(clip, bits, max_weight, limit)
    encoded = [
        encode(fixed, update, weight, bytes([i]) * 32)
        for i, (update, weight) in enumerate(zip(updates, weights, strict=True))
    ]
    average, weight_sum = fixed.decode(np.sum(encoded, axis=0, dtype=np.uint32), len(weights), shapes)

    assert weight_sum == sum(weights)
    bound = fixed.step * len(weights) * limit / weight_sum
    assert fixed.error_bound(len(weights), weight_sum) == pytest.approx(bound)
    for i, mean in enumerate(average):
        parts = [weight * np.clip(update[i], -clip, clip) for update, weight in zip(updates, weights, strict=True)]
        assert mean.shape == shapes[i]
        assert float(np.abs(mean - sum(parts) / weight_sum).max()) <= bound * (1 + 1e-6)


@pytest.mark.parametrize(("clients", "weight_sum"), [(1, 1), (3, 7), (3, 15)])
def test_decoding_is_the_stated_formula_bit_for_bit(clients: int, weight_sum: int) -> None:
    fixed = codec(clip=0.3, bits=16, max_weight=5)
    middle, spread = clients * 32767, clients * 65534 // 45
    X = np.random.default_rng(1).integers(middle - spread, middle + spread, 500)
    average, _ = fixed.decode(np.append(X, weight_sum).astype(np.uint32), clients, [(500,)])
    expected = [(x - middle) * ((0.3 * 5) / (32767 * weight_sum)) for x in X.tolist()]
    assert average[0].tolist() == expected


def test_weights_whose_limbs_carry_still_sum_up() -> None:
    fixed = codec(bits=4, max_weight=255)
    encoded = [encode(fixed, [np.zeros(2)], 255) for _ in range(3)]
    assert fixed.decode(np.sum(encoded, axis=0, dtype=np.uint32), 3, [(2,)])[1] == 765


@pytest.mark.parametrize("weight_sum", [0, 2, 31])
def test_a_sum_of_weights_that_no_clients_can_have_is_refused(weight_sum: int) -> None:
    sums = np.array([3 * 32767, weight_sum], dtype=np.uint32)
    with pytest.raises(VerificationError, match=f"sum to {weight_sum}"):
        codec(max_weight=10).decode(sums, 3, [(1,)])


@pytest.mark.parametrize("value", [0, 3 * 65534])
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
