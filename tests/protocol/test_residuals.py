"""What a client keeps of its update: support and clipping, and why not rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.federation import identity

from secure_agg.errors import UpdateError
from secure_agg.protocol.codec import FixedPoint, keeps_residual, residual_of, with_residual
from secure_agg.protocol.config import Group, Policy, RoundConfig
from secure_agg.protocol.config.groups import clip_of
from secure_agg.protocol.identity import Roster

ROSTER = Roster({name: identity(name).public for name in "abc"})
SHAPES = ((20, 3), (41,))


def config(group: Group, number: int = 0, clips: tuple[int, ...] | None = None, weights: int = 1) -> RoundConfig:
    return RoundConfig.create(
        task="t",
        round=number,
        policy=Policy.default(3, groups=[group], max_weight=weights),
        cohort=ROSTER,
        shapes=SHAPES,
        clips=clips,
        previous_record=bytes(31) + bytes([number > 0]),
    )


def update(seed: int, scale: float = 1.0) -> list[npt.NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) * scale for shape in SHAPES]


def mean_of(found: RoundConfig, updates: list[list[npt.NDArray[Any]]], weights: list[int], seed: int) -> Any:
    codec, total = FixedPoint.of(found), np.zeros(found.layout.committed, np.uint32)
    for i, (given, weight) in enumerate(zip(updates, weights, strict=True)):
        vector = np.empty_like(total)
        codec.encode(given, weight, bytes([seed % 256, i]) * 16, vector)
        total += vector
    average, _ = codec.decode(total, len(updates), found.shapes)
    return average, tuple(k for each in codec.next_clips(total, len(updates)) for k in each)


def test_what_is_sent_and_what_is_left_make_the_update_but_for_rounding() -> None:
    found, given = config(Group(name="g", bits=16, clip=0.5, support=(1, 4))), update(1)
    left = residual_of(found, given)
    average, _ = mean_of(found, [given] * 3, [1] * 3, 0)
    for sent, rest, whole in zip(average, left, given, strict=True):
        assert np.abs(sent + rest - whole).max() < FixedPoint.of(found).step
        assert np.abs(sent).max() <= 0.5 + FixedPoint.of(found).step


def test_over_rounds_every_value_is_sent_and_nothing_is_lost() -> None:
    """A value waits until it is drawn: after many rounds the sum of the means is the sum of the updates, but for the
    last residual. Without one three quarters are lost."""
    group, residual, summed, given = Group(name="g", bits=16, clip=4.0, support=(1, 4)), [], 0.0, update(2, 0.01)
    naive = 0.0
    for number in range(40):
        found = config(group, number)
        whole = with_residual(found, given, residual)
        residual = residual_of(found, whole)
        summed = summed + mean_of(found, [whole] * 3, [1] * 3, number)[0][0]
        naive = naive + mean_of(found, [given] * 3, [1] * 3, number)[0][0]
    wanted = 40 * given[0]
    assert np.abs(summed + residual[0] - wanted).max() < 0.01
    assert np.linalg.norm(naive - wanted) > 0.5 * np.linalg.norm(wanted)


@pytest.mark.parametrize("rounding", [False, True])
def test_a_residual_of_rounding_grows_without_end_and_one_of_clipping_does_not(rounding: bool) -> None:
    """Three bits, and clients of unequal weights: the step of a light one is larger than the clip, so what rounding did
    to it is clipped next, the clip follows, and the step with it."""
    group, weights = Group(name="g", bits=3, clip=1.0, clip_rule="adaptive"), [1, 1, 10]
    clips, kept = None, [[np.zeros(shape) for shape in SHAPES] for _ in weights]
    for number in range(60):
        found = config(group, number, clips, weights=10)
        given = [[a + b for a, b in zip(update(100 * number + i, 0.1), own, strict=True)] for i, own in enumerate(kept)]
        codec = FixedPoint.of(found)
        for i, (arrays, weight) in enumerate(zip(given, weights, strict=True)):
            took = [np.clip(array, -clip_of(k), clip_of(k)) for array, k in zip(arrays, found.clips, strict=True)]
            if rounding:
                vector = np.empty(found.layout.committed, np.uint32)
                codec.encode(arrays, weight, bytes([number, i]) * 16, vector)
                part = found.layout.parts[0]
                steps = np.repeat(np.array(part.clips) / group.half * 10 / weight, part.sizes)
                flat = (vector[: part.stop].astype(np.int64) - group.half) * steps
                took = [flat[:60].reshape(SHAPES[0]), flat[60:]]
            kept[i] = [array - sent for array, sent in zip(arrays, took, strict=True)]
        _, clips = mean_of(found, given, weights, number)
    largest = max(float(np.abs(array).max()) for own in kept for array in own)
    assert (largest > 1e6) == rounding
    assert (largest < 1.0) != rounding


def test_a_group_without_a_support_leaves_nothing_and_residuals_are_of_one_model() -> None:
    whole = config(Group(name="g", bits=8, clip=0.1))
    assert not keeps_residual(whole)
    assert not any(array.any() for array in residual_of(whole, update(3)))
    sparse = config(Group(name="g", bits=8, clip=0.1, support=(1, 2), rotated=True))
    assert keeps_residual(sparse)
    left = np.concatenate([array.ravel() for array in residual_of(sparse, update(3))])
    assert np.count_nonzero(left) == 50  # of 101 values 51 are sent
    with pytest.raises(UpdateError, match="of another model"):
        with_residual(sparse, update(3), [np.zeros(3)])
    first = update(3)
    assert all(a is b for a, b in zip(with_residual(sparse, first, []), first, strict=True))
