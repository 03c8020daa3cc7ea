"""Threshold sharing: any threshold shares rebuild, fewer say nothing, and misfits are refused."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc import shamir
from mpc.keystream import KeyStream
from mpc.ring import P
from mpc.shamir import LIMBS, ShareError, Shares, combine, split

SECRETS = st.binary(min_size=32, max_size=32)
LIMB = 2**29


def stream(seed: int = 1) -> KeyStream:
    return KeyStream(bytes([seed]) * 32)


def limbs(secret: bytes) -> list[int]:
    return [int.from_bytes(secret, "little") >> (29 * i) & (LIMB - 1) for i in range(LIMBS)]


def interpolate(points: list[int], values: list[int], at: int) -> int:
    """The polynomial through the points, evaluated at ``at``: Lagrange in Python's integers."""
    total = 0
    for i, x in enumerate(points):
        numerator = denominator = 1
        for other in points[:i] + points[i + 1 :]:
            numerator = numerator * (at - other) % P
            denominator = denominator * (x - other) % P
        total += values[i] * numerator * pow(denominator, -1, P)
    return total % P


def lone_share(*limb_values: tuple[int, int], secrets: int = 3) -> Shares:
    """Shares of threshold 1, which are the secrets themselves, with chosen limbs of the second secret."""
    shares = np.zeros((1, secrets, LIMBS), dtype=np.uint32)
    for limb, value in limb_values:
        shares[0, 1, limb] = value
    return shares


@settings(max_examples=50)
@given(st.data())
def test_any_threshold_shares_rebuild_every_secret(data: st.DataObject) -> None:
    secrets = data.draw(st.lists(SECRETS, min_size=1, max_size=4))
    points = data.draw(st.lists(st.integers(1, P - 1), min_size=1, max_size=8, unique=True))
    threshold = data.draw(st.integers(1, len(points)))
    size = data.draw(st.integers(threshold, len(points)))
    chosen = data.draw(st.permutations(range(len(points))))[:size]
    shares = split(secrets, threshold, points, stream())
    assert combine([points[i] for i in chosen], shares[chosen]) == secrets


def test_every_set_of_threshold_holders_rebuilds() -> None:
    secret = bytes(range(32))
    shares = split([secret], 3, range(1, 7), stream())
    assert all(
        combine([i + 1 for i in chosen], shares[list(chosen)]) == [secret] for chosen in combinations(range(6), 3)
    )


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, b"\x01" + bytes(31), bytes(31) + b"\x80"])
def test_extreme_secrets_come_back(secret: bytes) -> None:
    assert combine([4, 9], split([secret], 2, [4, 9], stream())) == [secret]


def test_a_share_is_the_polynomials_value_at_its_point() -> None:
    """All shares of one limb lie on one polynomial of degree threshold − 1 with the limb as constant term."""
    secret = bytes(range(32))
    points = [1, 2, 3, 10, P - 1]
    shares = split([secret], 3, points, stream())
    for limb, constant in enumerate(limbs(secret)):
        values = shares[:, 0, limb].tolist()
        assert [interpolate([0, 1, 2], [constant, *values[:2]], x) for x in points] == values


def test_fewer_than_threshold_shares_do_not_rebuild() -> None:
    """Nine limbs at random are all below 2^29 once in 262,144 times."""
    shares = split([bytes(range(32))], 3, [1, 2, 3], stream())
    with pytest.raises(ShareError) as caught:
        combine([1, 2], shares[:2])
    assert caught.value.index == 0


@settings(max_examples=50)
@given(SECRETS, SECRETS)
def test_fewer_than_threshold_shares_fit_any_secret(shared: bytes, other: bytes) -> None:
    """Two of three shares leave room for one third share that makes the secret any other."""
    shares = split([shared], 3, [1, 2, 3], stream())
    for limb, constant in enumerate(limbs(other)):
        known = [constant, int(shares[0, 0, limb]), int(shares[1, 0, limb])]
        shares[2, 0, limb] = interpolate([0, 1, 2], known, 3)
    assert combine([1, 2, 3], shares) == [other]


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_a_single_share_is_uniform_whatever_the_secret(secret: bytes) -> None:
    """Chi-square with 63 degrees of freedom: mean 63, deviation 11. The stream is fixed, and so the outcome."""
    share = split([secret] * 4000, 2, [1, 2], stream(7))[0].reshape(-1)
    counts = np.bincount((share.astype(np.uint64) * 64 // P).astype(np.int64), minlength=64)
    expected = share.size / 64
    assert 25 < float(((counts - expected) ** 2 / expected).sum()) < 125


def test_one_stream_gives_the_same_shares_again() -> None:
    assert np.array_equal(split([bytes(32)], 3, [1, 2, 3], stream()), split([bytes(32)], 3, [1, 2, 3], stream()))


def test_another_stream_gives_other_shares() -> None:
    assert not np.array_equal(split([bytes(32)], 2, [1, 2], stream(1)), split([bytes(32)], 2, [1, 2], stream(2)))


def test_a_share_takes_36_bytes() -> None:
    assert split([bytes(32)], 2, [1, 2], stream())[0, 0].nbytes == shamir.SHARE_BYTES == 36


def test_no_secrets_give_no_shares() -> None:
    assert combine([1, 2], split([], 2, [1, 2], stream())) == []


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_secret_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ShareError, match=f"not {length}"):
        split([bytes(length)], 1, [1], stream())


@pytest.mark.parametrize("points", [[1, 2, 1], [5, 5]])
def test_a_point_twice_is_refused(points: list[int]) -> None:
    with pytest.raises(ShareError, match="same point"):
        split([bytes(32)], 1, points, stream())
    with pytest.raises(ShareError, match="same point"):
        combine(points, np.zeros((len(points), 1, LIMBS), dtype=np.uint32))


@pytest.mark.parametrize("point", [0, -1, P, P + 1])
def test_a_point_outside_the_field_is_refused(point: int) -> None:
    with pytest.raises(ShareError, match="outside"):
        split([bytes(32)], 1, [1, point], stream())
    with pytest.raises(ShareError, match="outside"):
        combine([1, point], np.zeros((2, 1, LIMBS), dtype=np.uint32))


@pytest.mark.parametrize("threshold", [-1, 0, 4])
def test_a_threshold_that_no_set_can_meet_is_refused(threshold: int) -> None:
    with pytest.raises(ShareError, match=f"threshold of {threshold}"):
        split([bytes(32)], threshold, [1, 2, 3], stream())


@pytest.mark.parametrize("shape", [(2, 9), (3, 1, 9), (2, 1, 8), (2, 1, 10), (2, 1, 9, 1)])
def test_shares_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShareError, match="do not fit"):
        combine([1, 2], np.zeros(shape, dtype=np.uint32))


def test_no_holders_are_refused() -> None:
    with pytest.raises(ShareError, match="0 holders"):
        combine([], np.zeros((0, 1, LIMBS), dtype=np.uint32))


@pytest.mark.parametrize("limb", range(LIMBS))
@pytest.mark.parametrize("value", [LIMB, P - 1])
def test_a_limb_of_more_than_29_bits_names_its_secret(limb: int, value: int) -> None:
    with pytest.raises(ShareError) as caught:
        combine([1], lone_share((limb, value)))
    assert caught.value.index == 1


def test_a_top_limb_beyond_256_bits_names_its_secret() -> None:
    with pytest.raises(ShareError, match="32 bytes") as caught:
        combine([1], lone_share((8, 2**24)))
    assert caught.value.index == 1


def test_an_altered_share_rebuilds_something_else() -> None:
    secret = bytes(range(32))
    shares = split([secret], 2, [1, 2], stream())
    shares[1, 0, 0] = (int(shares[1, 0, 0]) + 1) % P
    assert combine([1, 2], shares) != [secret]
