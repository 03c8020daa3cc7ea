"""What a bound takes and refuses, and whether the numbers that follow from it are true."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest

from mpc.ring import P
from zk.norm import bound as module
from zk.norm.bound import BoundError, NormBound, most_bits, norm_in_steps, slack, total_factor
from zk.norm.sketch import BLOCK

NORMS = [1, 2, 170, 171, 1000, 5461, 5462, 87381, 87382, 1_000_000, 44_739_242]


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_that_the_proof_takes_modulo_p_can_wrap(norm: int) -> None:
    for weight in (1, 2, 65535, 65536, (1 << 28) - 1):
        bound = NormBound(1, norm, weight, 1, 28)
        radius = 13 + bound.quotient(weight)
        assert 6 * norm <= 1 << bound.shift + 10
        assert bound.shift == 0 or 6 * norm > 1 << bound.shift + 9
        assert bound.scale < 1 << 12
        assert radius**2 < 1 << 24
        assert bound.share < 1 << 16
        assert P // 2 > 512 * 1024**2 + (1 << 24)
        assert bound.scale * bound.share < 1 << 28
        assert bound.rows <= 30
        assert 2 * bound.offset < P


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("most", [1, 7, 1000, 65535, 65536, 100_001, (1 << 28) - 1])
def test_an_honest_radius_covers_the_tail_and_all_rounding(norm: int, most: int) -> None:
    bound = NormBound(1, norm, most, 1, 28)
    for weight in {1, (most + 1) // 2, most - 1 or 1, most}:
        longest = 1.25 * 16 * norm * weight / most  # ‖v‖, but with probability 2^-42.9
        assert longest / 2**bound.shift + math.sqrt(512) / 2 <= 13 + bound.quotient(weight)
        assert longest / 16 <= bound.reach(weight)


@pytest.mark.parametrize("norm", NORMS)
def test_a_cheat_gains_little_by_rounding(norm: int) -> None:
    bound = NormBound(1, norm, 1000, 1, 10)
    if bound.shift:
        assert bound.reach(1000) < 1.27 * norm
        assert bound.reach(10) < (0.01 * 1.27 + 0.0191) * norm  # a light client has the rounding beside its share


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"norm": 0}, "1 step"),
        ({"clients": 0}, "1 step"),
        ({"clients": (1 << 18) + 1, "norm": 1}, "1 step"),
        ({"least_weight": 0}, "weights from 0"),
        ({"least_weight": 1001}, "weights from 1001"),
        ({"most_weight": 1 << 28, "limbs": 3}, "weights from"),
        ({"limbs": 0}, "do not hold"),
        ({"limb_bits": 0}, "do not hold"),
        ({"limb_bits": 4}, "do not hold"),
        ({"limbs": 34}, "at most 34"),
        ({"counts": -1}, "at most 34"),
        ({"clients": 1000, "norm": 1 << 20}, "not below p/2"),
    ],
)
def test_what_can_t_be_proved_is_refused(changes: dict[str, int], reason: str) -> None:
    fields = {"clients": 100, "norm": 5000, "most_weight": 1000, "limb_bits": 11, "limbs": 2, "counts": 2}
    NormBound(**fields)
    with pytest.raises(BoundError, match=reason):
        NormBound(**{**fields, **changes})


def test_about_two_to_the_27_clients_times_steps_fit() -> None:
    for clients in (1, 10, 100, 1000, 10_000):
        NormBound(clients, (1 << 26) // clients)
        with pytest.raises(BoundError, match="fewer bits"):
            NormBound(clients, (1 << 28) // clients)


def test_every_field_is_in_the_encoding() -> None:
    fields = {"clients": 3, "norm": 5, "most_weight": 9, "least_weight": 2, "limb_bits": 4, "limbs": 2, "counts": 1}
    codes = {NormBound(**fields).to_bytes()} | {
        NormBound(**{**fields, name: value + 1}).to_bytes() for name, value in fields.items()
    }
    assert len(codes) == 8


def test_the_slack_is_that_of_the_design() -> None:
    """1.62 and 1.73 without folding, see the decision."""
    assert 1.644 < slack(128) < 1.646
    assert 1.761 < slack(160) < 1.762
    assert slack(0) >= 1
    assert slack(600) == math.inf
    assert all(slack(bits) <= slack(bits + 32) for bits in range(0, 480, 32))


def test_the_moments_that_are_written_down_are_those_that_are_worked_out() -> None:
    for decay, moment in module._MOMENTS[::4]:
        assert 0 <= moment - module.copy_moment(decay) < 2e-4


@pytest.mark.parametrize("decay", [1.0, 2.8, 6.0])
def test_the_bound_on_a_copy_s_moment_holds_for_vectors_that_meet_as_often_as_can_be(decay: float) -> None:
    """E exp(−λ ‖v_c‖²), exactly: equal values in k blocks, all at one position or none, by how likely either is."""
    for k in range(1, 8):
        e = np.ones(k) / math.sqrt(k)
        alone = _mean(e, decay)
        sums = np.array([sum(signs) for signs in itertools.product((-1, 1), repeat=k)]) / math.sqrt(k)
        together = float(np.mean((0.5 + 0.5 * np.exp(-decay * sums**2)) ** 8))
        chance = min(1.0, math.comb(k, 2) / BLOCK)  # that any two meet: as if all did then
        assert (1 - chance) * alone + chance * max(alone, together) <= math.exp(module.copy_moment(decay)), k


def _mean(e: npt.NDArray[np.float64], decay: float) -> float:
    """E exp(−λ Σ (row · e)²) of eight independent rows."""
    sums = np.array([sum(row) for row in itertools.product(*((-x, 0.0, 0.0, x) for x in e))])
    return float(np.mean(np.exp(-decay * sums**2))) ** 8


@pytest.mark.parametrize("decay", [0.4, 1.6, 3.0, 6.0])
def test_the_bound_on_a_row_s_moment_holds_for_vectors_of_every_shape(decay: float) -> None:
    """E exp(−λ (R_1 e)²), exactly: the sum over all values of a short row."""
    limit = math.exp(module.row_moment(decay))
    rng = np.random.default_rng(5)
    shapes = [np.ones(k) for k in range(1, 9)] + [rng.exponential(size=7) for _ in range(40)]
    shapes += [np.array([1.0, *[x] * 6]) for x in (0.01, 0.1, 0.3, 0.7)]
    for shape in shapes:
        e = shape / np.linalg.norm(shape)
        sums, weights = np.zeros(1), np.ones(1)
        for x in e:
            sums = np.concatenate([sums - x, sums, sums + x])
            weights = np.concatenate([weights / 4, weights / 2, weights / 4])
        assert float(weights @ np.exp(-decay * sums**2)) <= limit
    assert 1 / math.sqrt(1 + decay) <= limit  # what very many small coordinates come to


def test_the_total_factor_counts_subsets_and_sessions() -> None:
    bound = NormBound(100, 1 << 19, 1000, 1, 11, 2)
    assert 1.9 < total_factor(bound, 0) < 2.2
    assert total_factor(bound, 33) < 2.4
    assert total_factor(bound, 33) == slack(161) * bound.reach(1000) / bound.norm
    assert total_factor(bound, 10, failure=40, grinding=0) < total_factor(bound, 10)
    assert total_factor(bound, 10_000) == math.inf


def test_the_most_bits_are_the_most() -> None:
    for clients, norm, clip in ((3, 1.0, 1.0), (100, 1.0, 8.0), (100, 10.0, 1.0), (10_000, 2.5, 8.0)):
        bits = most_bits(clients, norm, clip)
        NormBound(clients, norm_in_steps(norm, clip, bits))
        if bits < 24:
            with pytest.raises(BoundError):
                NormBound(clients, norm_in_steps(norm, clip, bits + 1))
    assert most_bits(3, 1.0, 1.0) == 24
    assert most_bits(3, 1.0, 1.0, most=16) == 16
    with pytest.raises(BoundError, match="no number of bits"):
        most_bits(100_000, 1e6, 1.0)
    with pytest.raises(BoundError, match="no number of bits"):
        most_bits(3, 1e-9, 1.0)
