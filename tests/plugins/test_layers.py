"""Named layers to the float arrays that are averaged, and back; the two steps between a model and an update."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import secure_agg
from secure_agg.errors import UpdateError
from secure_agg.fl.layers import Layers, apply, difference, sign_slots, signs
from secure_agg.protocol.codec import model_digest

Array = npt.NDArray[Any]


def model() -> dict[str, Array]:
    rng = np.random.default_rng(1)
    return {
        "conv": rng.normal(size=(3, 4)).astype(np.float32),
        "steps": np.array(7, dtype=np.int64),
        "scale": np.array(1.5, dtype=np.float64),
        "half": rng.normal(size=5).astype(np.float16),
        "mask": np.array([True, False]),
        "none": np.empty((0, 3), dtype=np.float32),
        "fortran": np.asfortranarray(rng.normal(size=(4, 3))),
        "big-endian": rng.normal(size=6).astype(">f4"),
        "strided": rng.normal(size=(4, 6))[::2, ::-3],
    }


def same(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def test_floats_are_averaged_and_counters_and_what_is_empty_are_kept() -> None:
    layers = Layers.of(model())
    assert layers.averaged == ("conv", "scale", "half", "fortran", "big-endian", "strided")
    assert layers.kept == ("steps", "mask", "none")
    assert layers.shapes == ((3, 4), (), (5,), (4, 3), (6,), (2, 2))


def test_float_arrays_are_native_and_contiguous_with_a_dimension_and_the_layers_values() -> None:
    named = model()
    layers = Layers.of(named)
    for name, shape, array in zip(layers.averaged, layers.shapes, layers.floats(named), strict=True):
        assert array.dtype.isnative
        assert array.dtype == named[name].dtype.newbyteorder("=")
        assert array.flags.c_contiguous
        assert array.shape == shape
        assert np.array_equal(array.reshape(named[name].shape), named[name])


def test_a_model_comes_back_as_it_was() -> None:
    named = model()
    layers = Layers.of(named)
    restored = layers.restore(named, layers.floats(named))
    assert list(restored) == list(named)
    assert all(same(restored[name], named[name]) for name in named)


def test_a_restored_model_has_the_counters_of_the_one_handed_in() -> None:
    named, trained = model(), model()
    trained["steps"] += 1
    layers = Layers.of(named)
    restored = layers.restore(named, apply(layers.floats(trained), [np.ones(shape) for shape in layers.shapes]))
    assert restored["steps"] == 7
    assert restored["conv"][0, 0] == np.float32(float(named["conv"][0, 0]) + 1)
    assert restored["scale"].shape == ()
    assert restored["big-endian"].dtype == np.dtype(">f4")


def test_the_digest_of_a_moved_model_survives_the_way_through_its_layers() -> None:
    """A node computes it from its own arrays, and finds it again in the next model it is handed."""
    named = model()
    layers = Layers.of(named)
    moved = apply(layers.floats(named), [np.full(shape, 0.1) for shape in layers.shapes])
    assert model_digest(layers.floats(layers.restore(named, moved))) == model_digest(moved)


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3", "S3", "M8[s]", "V2", np.longdouble, [("a", "f4")]])
def test_what_can_neither_be_averaged_nor_kept_is_refused_by_name(dtype: Any) -> None:
    with pytest.raises(UpdateError, match=r"layer 'odd' is .* averaged, integers and booleans kept"):
        Layers.of(model() | {"odd": np.zeros(2, dtype=dtype)})


def test_what_is_no_array_is_refused_by_name() -> None:
    with pytest.raises(UpdateError, match="layer 'odd' is a list"):
        Layers.of(model() | {"odd": [1.0]})  # type: ignore[dict-item]


@pytest.mark.parametrize("named", [{}, {"steps": np.array(1)}, {"none": np.empty(0)}])
def test_a_model_with_nothing_to_average_is_refused(named: dict[str, Array]) -> None:
    with pytest.raises(UpdateError, match="nothing to average"):
        Layers.of(named)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv": np.zeros((4, 3), np.float32)}, r"layer 'conv' is float32 of shape \(4, 3\), and was float32 of"),
        ({"conv": np.zeros((3, 4))}, "layer 'conv' is float64"),
        ({"steps": np.zeros((), np.int32)}, "layer 'steps' is int32"),
        ({"more": np.zeros(1)}, "a layer 'more' that was not there before"),
    ],
)
def test_another_model_is_refused_with_the_layer_that_differs(change: dict[str, Array], message: str) -> None:
    layers = Layers.of(model())
    with pytest.raises(UpdateError, match=message):
        layers.floats(model() | change)
    with pytest.raises(UpdateError, match=message):
        layers.restore(model() | change, layers.floats(model()))


def test_a_missing_layer_is_refused() -> None:
    named = model()
    layers = Layers.of(named)
    del named["mask"]
    with pytest.raises(UpdateError, match="no layer 'mask'"):
        layers.floats(named)


def test_restoring_takes_arrays_of_the_layers_dtypes_only() -> None:
    named = model()
    layers = Layers.of(named)
    floats = layers.floats(named)
    with pytest.raises(UpdateError, match="layer 'half' takes float16"):
        layers.restore(named, [*floats[:2], floats[2].astype(np.float32), *floats[3:]])
    with pytest.raises(UpdateError, match=r"layer 'scale' takes float64 of shape \(\)"):
        layers.restore(named, [floats[0], floats[1].reshape((1,)), *floats[2:]])
    with pytest.raises(UpdateError, match="5 arrays for 6"):
        layers.restore(named, floats[1:])


def test_restoring_leaves_the_model_alone() -> None:
    named = model()
    layers = Layers.of(named)
    layers.restore(named, apply(layers.floats(named), [np.ones(shape) for shape in layers.shapes]))
    assert all(same(named[name], array) for name, array in model().items())


# --- differences and means ------------------------------------------------------------------------------------


FLOATS = st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
    lambda dtype: arrays.arrays(dtype, st.integers(1, 20), elements={"allow_nan": False, "allow_infinity": False})
)


@given(FLOATS, st.floats(-8, 8))
def test_applying_is_the_stated_formula_bit_for_bit(old: Array, step: float) -> None:
    limit = np.finfo(old.dtype).max
    with np.errstate(over="ignore"):
        expected = (old.astype(np.float64) + step).astype(old.dtype)
    expected = np.clip(expected, -limit, limit)
    (moved,) = apply([old], [np.full(old.shape, step)])
    assert same(moved, expected)


@given(FLOATS)
def test_a_difference_has_the_precision_that_is_encoded(new: Array) -> None:
    old = new[::-1].copy()
    (step,) = difference([new], [old])
    assert step.dtype == (np.float64 if new.dtype == np.float64 else np.float32)
    with np.errstate(over="ignore"):
        assert np.array_equal(step, new.astype(step.dtype) - old.astype(step.dtype))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_an_overflow_stays_at_the_largest_number(dtype: type) -> None:
    limit = np.finfo(dtype).max
    (moved,) = apply([np.array([limit, -limit, np.inf, 0], dtype)], [np.array([1.7e308, -1.7e308, -1e300, 0.5])])
    assert moved.tolist() == [limit, -limit, np.inf, 0.5]


def test_what_is_infinite_or_nan_before_and_after_has_not_changed() -> None:
    """As in an attention mask, which is part of a state dict."""
    old = np.array([-np.inf, np.nan, np.inf, 1.0, np.inf], np.float32)
    new = np.array([-np.inf, np.nan, np.inf, 1.5, -np.inf], np.float32)
    (step,) = difference([new], [old])
    assert step[:4].tolist() == [0.0, 0.0, 0.0, 0.5]
    assert step[4] == -np.inf  # which the codec refuses
    (moved,) = apply([old[:4]], [np.array([1e-5, 1e-5, 1e-5, 0.5])])
    assert np.array_equal(moved, new[:4], equal_nan=True)


@pytest.mark.parametrize("new", [[], [np.zeros(3)], [np.zeros(2, np.float32)]])
def test_what_does_not_match_has_no_difference(new: list[Array]) -> None:
    with pytest.raises(UpdateError):
        difference(new, [np.zeros(2)])


def test_a_mean_of_another_shape_is_not_applied() -> None:
    with pytest.raises(UpdateError, match="other shapes"):
        apply([np.zeros(2)], [np.zeros((1, 2))])


def test_a_verified_round_moves_a_model_of_every_kind_of_layer() -> None:
    named = model()
    layers = Layers.of(named)
    old = layers.floats(named)
    updates = {}
    for place, name in enumerate(("a", "b", "c")):
        trained = model()
        for key in layers.averaged:
            trained[key][...] += place
        trained["steps"] += 1
        updates[name] = difference(layers.floats(trained), old)
    result = secure_agg.aggregate(updates, backend="plain", bits=20)
    moved = layers.restore(named, apply(old, result.average))
    for name in layers.averaged:
        step = moved[name].astype(np.float64) - named[name].astype(np.float64)
        assert np.allclose(step, 1.0, atol=2**-7 if name == "half" else 1e-4)
    assert moved["steps"] == named["steps"]


def test_a_layer_takes_no_more_memory_than_its_result() -> None:
    layer = np.ones((1 << 22,), dtype=np.float32)
    named = {"big": layer}
    layers = Layers.of(named)
    mean = np.zeros(layer.shape)
    tracemalloc.start()
    try:
        layers.restore(named, apply(difference(layers.floats(named), layers.floats(named)), [mean]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.2 * layer.nbytes  # the difference and the moved model


# --- what is negative nowhere -----------------------------------------------------------------------------------


def marked(news: list[list[Array]], old: list[Array], room: int) -> npt.NDArray[np.float64]:
    """What the codec makes of nodes' signs: 0 where nobody's is a mark."""
    slots = sign_slots(old, room)
    return np.sum([signs(new, slots, room) < 0 for new in news], axis=0) * -1e-6


def test_what_is_negative_at_no_node_is_held_at_0() -> None:
    old = [np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([-1.0, 0.0]), np.array(0.5)]
    mean = [np.full(2, -1e-9), np.full(2, -1e-9), np.full(2, -1e-9), np.array(-1.0)]
    fine, turned = [np.array([0.0, 2.0])] * 3 + [np.array(0.0)], [np.array([-0.5, 2.0])] * 3 + [np.array(0.0)]
    turned[0] = fine[0]
    moved = apply(old, mean, marked([fine, turned], old, 4))
    assert [array.tolist() for array in moved] == [[0.0, 1 - 1e-9], [-1e-9, 1 - 1e-9], [-1 - 1e-9, -1e-9], 0.0]


@pytest.mark.parametrize("worst", [-1e-300, -np.inf, np.nan])
def test_one_node_with_something_negative_or_no_number_is_enough(worst: float) -> None:
    old = [np.zeros(3)]
    held = marked([[np.zeros(3)]] * 5, old, 1)
    free = marked([[np.zeros(3)]] * 5 + [[np.array([0.0, worst, 0.0])]], old, 1)
    assert apply(old, [np.full(3, -1e-6)], held)[0].tolist() == [0.0] * 3
    assert apply(old, [np.full(3, -1e-6)], free)[0].tolist() == [-1e-6] * 3


def test_an_update_that_changes_nothing_has_no_marks() -> None:
    old = [np.array([1.0, -1.0]), np.array([0.0]), np.array([np.nan]), np.array(-0.0)]
    assert not signs(old, sign_slots(old, 4), 4).any()


@pytest.mark.parametrize("room", [1, 2, 3, 5, 8])
def test_arrays_without_a_sign_of_their_own_share_one_and_are_held_together(room: int) -> None:
    old = [np.zeros(2), np.array([-1.0, 0.0])] * 6
    slots = sign_slots(old, room)
    assert slots[1::2] == (None,) * 6
    taken = [slot for slot in slots if slot is not None]
    assert taken == sorted(taken)
    assert set(taken) == set(range(min(room, 6)))
    new = [np.zeros(2)] * 12
    new[4] = np.array([-1.0, 0.0])
    moved = apply(old, [np.full(2, -1e-3)] * 12, marked([new], old, room))
    for i in range(0, 12, 2):
        assert (float(moved[i].min()) < 0) == (slots[i] == slots[4])


def test_a_masked_layer_is_refused() -> None:
    with pytest.raises(UpdateError, match="layer 'a' is a MaskedArray"):
        Layers.of({"a": np.ma.masked_array([1.0, 2.0], mask=[True, False])})
