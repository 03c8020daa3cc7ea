"""Norm bounds are proposed from means of squares, and no dishonest client moves them far once there is one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from secure_agg.errors import ConfigError
from secure_agg.planning.norms import FALL, MARGIN, NormProposal, propose, squared_norm


def test_the_proposal_is_a_margin_times_the_root_of_the_median_rounds_mean_of_squares() -> None:
    found = propose([4.0, 9.0, 400.0])
    assert (found.bound, found.typical, found.rounds, found.left_out) == (MARGIN * 3.0, 3.0, 3, 0)
    assert propose([4.0, 9.0], margin=1.5).bound == 3.0


@pytest.mark.parametrize("seed", range(5))
def test_at_most_a_quarter_of_the_weight_is_above_a_bound_of_margin_two(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        norms, weights = rng.pareto(1.5, 30) + 0.1, rng.integers(1, 1000, 30)
        bound = propose([float(norms**2 @ weights / weights.sum())]).bound
        assert weights[norms > bound].sum() <= weights.sum() / MARGIN**2


def test_a_cheat_in_less_than_half_of_the_rounds_moves_no_first_bound_beyond_an_honest_round() -> None:
    honest = [4.0, 4.2, 4.4]
    for lies in ([1e20, 1e20], [0.0, 0.0]):
        assert MARGIN * 2 <= propose([*honest, *lies]).bound <= MARGIN * math.sqrt(4.4)


def test_a_cheat_in_most_rounds_has_the_first_bound_as_high_as_clipping_allows() -> None:
    """Said, so that nobody believes otherwise: a metric is not proved."""
    found = propose([4.0, 2.0**36, 2.0**36], clip=8.0, parameters=100)
    assert found.bound == 80.0
    assert "held to 80, what clipping allows" in " ".join(found.reasons)
    assert "only honest ones in more than half of them" in " ".join(found.reasons)


@pytest.mark.parametrize("lie", [0.0, 1e-300, 2.0**36, -1.0, math.nan, math.inf])
def test_a_cheat_in_every_round_moves_a_bound_never_up_and_by_half_at_most_down(lie: float) -> None:
    weight, honest, previous = 0.006, 4.0, 5.0
    found = propose([(1 - weight) * honest + weight * lie] * 3 + [honest], previous=previous)
    assert previous / FALL <= found.bound <= previous
    assert "within the previous bound and half of it" in " ".join(found.reasons)


def test_what_is_no_mean_of_squares_is_left_out_and_counted() -> None:
    found = propose([-1.0, math.nan, 4.0, math.inf], previous=10.0)
    assert (found.rounds, found.left_out, found.bound) == (1, 3, 5.0)
    assert "3 more had no mean of squares" in " ".join(found.reasons)
    assert "half of the bound that was in force" in " ".join(found.reasons)


@pytest.mark.parametrize(
    ("squares", "settings"),
    [
        ([], {}),
        ([0.0], {}),
        ([-1.0, math.nan], {}),
        ([1.0], {"margin": 0.9}),
        ([1.0], {"margin": math.nan}),
        ([1.0], {"previous": 0.0}),
        ([1.0], {"previous": math.inf}),
        ([1.0], {"clip": -1.0, "parameters": 1}),
        ([1.0], {"clip": 1.0, "parameters": 0}),
    ],
)
def test_numbers_that_propose_nothing_are_refused(squares: list[float], settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        propose(squares, **settings)  # type: ignore[arg-type]


def test_a_squared_norm_is_of_all_arrays_as_they_are_summed() -> None:
    update = [np.array([[3.0, -4.0]], dtype=np.float32), np.array([100.0]), np.zeros((0, 2))]
    assert squared_norm(update, 8.0) == 9 + 16 + 64


def test_a_proposal_says_no_more_than_it_knows() -> None:
    assert isinstance(propose([1.0]), NormProposal)
    assert propose([1.0]).highest == math.inf
    assert propose([1.0], previous=3.0, clip=1.0, parameters=4).highest == 2.0
