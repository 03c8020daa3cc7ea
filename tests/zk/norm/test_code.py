"""The code against polynomials evaluated one point at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from mpc.ntt import PSI, bit_reverse
from mpc.ring import P
from zk.norm import code

ZETA = [pow(PSI, 2 * bit_reverse(t) + 1, P) for t in range(512)]
Elements = npt.NDArray[np.uint32]


def draw(*shape: int) -> Elements:
    return np.random.default_rng(shape[0]).integers(0, P, shape, dtype=np.uint32)


def value(coefficients: Elements, x: int) -> int:
    total = 0
    for c in reversed(coefficients.tolist()):
        total = (total * x + c) % P
    return total


@pytest.mark.parametrize("length", [1, 512, 639, 1277, 3000])
@pytest.mark.parametrize("coset", [0, 1, 8])
def test_polynomials_are_evaluated_on_a_coset(length: int, coset: int) -> None:
    polynomials = draw(length, 18)
    found = code.evaluate(polynomials, coset)
    for t, m in ((0, 0), (1, 17), (300, 5), (511, 16)):
        assert found[t, m] == value(polynomials[:, m], pow(2, coset, P) * ZETA[t] % P)


def test_the_points_of_words_and_messages_are_all_different() -> None:
    points = {pow(2, coset, P) * zeta % P for coset in range(code.COSETS + 1) for zeta in ZETA}
    assert len(points) == (code.COSETS + 1) * 512


def test_a_word_is_the_cosets_one_after_the_other() -> None:
    polynomials = draw(639, 3)
    word = code.encode(polynomials)
    assert word.shape == (4096, 3)
    np.testing.assert_array_equal(word[3 * 512 : 4 * 512], code.evaluate(polynomials, 4))


def test_messages_come_back_from_their_values() -> None:
    polynomials = draw(512, 33)
    np.testing.assert_array_equal(code.interpolate(code.evaluate(polynomials, 0)), polynomials)


@pytest.mark.parametrize("cosets", [1, 2, 3, 4])
def test_longer_polynomials_come_back_from_several_cosets(cosets: int) -> None:
    polynomials = draw(512 * cosets, 5)
    found = code.interpolate_cosets(code.encode(polynomials)[: 512 * cosets])
    np.testing.assert_array_equal(found, polynomials)


def test_the_transpose_is_the_transposed_sum() -> None:
    values = draw(512, 2)
    found = code.transpose(values)
    for i in (0, 1, 255, 511):
        assert found[i, 1] == sum(int(v) * pow(z, i, P) for v, z in zip(values[:, 1], ZETA, strict=True)) % P


@pytest.mark.parametrize("inner", [1, 63, 64, 65, 700])
def test_products_are_exact_at_their_largest(inner: int) -> None:
    for left, right in (
        (np.full((2, inner), P - 1, dtype=np.uint32), np.full((inner, 3), P - 1, dtype=np.uint32)),
        (draw(4, inner), draw(inner, 6)),
    ):
        np.testing.assert_array_equal(code.product(left, right), left.astype(object) @ right.astype(object) % P)


def test_both_forms_of_the_kernel_give_the_same_bits() -> None:
    for length, m, first in ((2048, 17, 16), (639, 16, 0), (5, 3, 0)):
        polynomials = np.maximum(draw(length, m), P - 2).astype(np.uint32)
        weights, quotients = code._weights(7, length), code._quotients(7, length)
        out = [np.ones((512, 16), dtype=np.uint32) for _ in range(2)]
        code._fold(polynomials, weights, quotients, first, out[0])
        code._fold.or_else(polynomials, weights, quotients, first, out[1])
        np.testing.assert_array_equal(*out)


def test_integers_are_taken_modulo_p() -> None:
    assert code.modulo(np.array([-1, 0, P, -P - 3])).tolist() == [P - 1, 0, 0, P - 3]
