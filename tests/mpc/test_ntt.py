"""The transform against plain evaluation and schoolbook multiplication in Python's integers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from mpc.ntt import LANES, PSI, N, bit_reverse, transform_lanes
from mpc.ring import P

Blocks = npt.NDArray[np.uint32]
SEEDS = [1, 2]
POINTS = [pow(PSI, 2 * bit_reverse(t) + 1, P) for t in range(N)]


def random_blocks(seed: int) -> Blocks:
    return np.random.default_rng(seed).integers(0, P, (N, LANES), dtype=np.uint32)


def transformed(blocks: Blocks) -> Blocks:
    out = blocks.copy()
    transform_lanes(out)
    return out


def evaluate(coefficients: list[int], point: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % P
    return value


def multiply(f: list[int], g: list[int]) -> list[int]:
    """Schoolbook product modulo X^512 + 1."""
    out = [0] * N
    for i, a in enumerate(f):
        for j, b in enumerate(g):
            if i + j < N:
                out[i + j] += a * b
            else:
                out[i + j - N] -= a * b
    return [value % P for value in out]


def test_psi_is_a_primitive_1024th_root_of_unity() -> None:
    assert pow(PSI, 512, P) == P - 1


def test_psi_comes_from_the_least_base_that_gives_one() -> None:
    roots = (pow(g, (P - 1) // 1024, P) for g in range(2, 100))
    assert next(root for root in roots if pow(root, 512, P) == P - 1) == PSI


def test_the_points_are_the_512_roots_of_the_modulus() -> None:
    assert len(set(POINTS)) == N
    assert all(pow(point, N, P) == P - 1 for point in POINTS)


def test_bit_reversal_is_of_nine_bits() -> None:
    assert [bit_reverse(t) for t in (0, 1, 2, 3, 256, 511)] == [0, 256, 128, 384, 1, 511]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("lane", [0, 7, 15])
def test_the_transform_evaluates_the_polynomial_at_every_point(seed: int, lane: int) -> None:
    blocks = random_blocks(seed)
    coefficients = blocks[:, lane].tolist()
    assert transformed(blocks)[:, lane].tolist() == [evaluate(coefficients, point) for point in POINTS]


@pytest.mark.parametrize("value", [0, 1, P - 1])
def test_blocks_of_extreme_coefficients_are_evaluated_too(value: int) -> None:
    blocks = np.full((N, LANES), value, dtype=np.uint32)
    assert transformed(blocks)[:, 3].tolist() == [evaluate([value] * N, point) for point in POINTS]


@pytest.mark.parametrize("seed", SEEDS)
def test_values_multiply_where_polynomials_do(seed: int) -> None:
    f, g = random_blocks(seed), random_blocks(seed + 100)
    product = f.copy()
    product[:, 4] = multiply(f[:, 4].tolist(), g[:, 4].tolist())
    pointwise = transformed(f).astype(np.uint64) * transformed(g) % P
    assert np.array_equal(transformed(product)[:, 4], pointwise[:, 4])


@pytest.mark.parametrize("seed", SEEDS)
def test_the_transform_is_linear(seed: int) -> None:
    f, g = random_blocks(seed), random_blocks(seed + 100)
    factor = np.uint64(123456789)
    combined = ((f.astype(np.uint64) * factor + g) % P).astype(np.uint32)
    expected = (transformed(f).astype(np.uint64) * factor + transformed(g)) % P
    assert np.array_equal(transformed(combined), expected)


@pytest.mark.parametrize("lane", range(LANES))
def test_a_lane_changes_no_other(lane: int) -> None:
    blocks = random_blocks(3)
    before = transformed(blocks)
    blocks[:, lane] = 1
    after = transformed(blocks)
    others = [i for i in range(LANES) if i != lane]
    assert np.array_equal(before[:, others], after[:, others])


def test_every_lane_computes_the_same_function() -> None:
    blocks = np.repeat(random_blocks(4)[:, :1], LANES, axis=1)
    values = transformed(blocks)
    assert (values == values[:, :1]).all()


def test_values_are_canonical() -> None:
    assert int(transformed(random_blocks(5)).max()) < P
