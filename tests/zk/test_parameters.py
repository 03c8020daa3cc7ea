"""Commitment settings: which are accepted, what is promised of them, and which are refused."""

from __future__ import annotations

import math

import pytest

from mpc.digits import Digits, Runs
from zk.parameters import (
    LONGEST_AT_LIMIT,
    MINIMUM_BITS,
    InsecureParametersError,
    binding_bits,
    choose,
    hiding_bits,
    noise_bits,
    sis_estimate,
    width,
)

MILLION = 10**6
BITS = range(2, 25)
CLIENTS = [1, 2, 3, 5, 16, 17, 100, 1000, 2048, 2049, 10_000, 100_000]
TABLE = [(8, 100), (12, 1000), (13, 10_000), (16, 10), (16, 100), (16, 512), (16, 2048), (20, 100)]
"""Bits and clients of the threat model's table."""
SIZES = [1, 512, 10_000, MILLION, 100 * MILLION, 2**32]


def accepted() -> list[tuple[int, int, int]]:
    out = []
    for bits in BITS:
        for clients in CLIENTS:
            for size in SIZES:
                try:
                    choose(bits, clients, size)
                except InsecureParametersError:
                    continue
                out.append((bits, clients, size))
    return out


@pytest.mark.parametrize(
    ("bits", "clients", "expected"),
    [(16, 1, 16), (16, 2, 17), (16, 3, 18), (16, 4, 18), (16, 5, 19), (16, 2048, 27), (16, 2049, 28), (2, 8, 13)],
)
def test_the_width_is_that_of_the_noise_and_of_the_number_of_clients(bits: int, clients: int, expected: int) -> None:
    assert width(bits, clients) == expected


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("clients", CLIENTS)
def test_sums_stay_below_two_to_the_width(bits: int, clients: int) -> None:
    assert clients * (2 ** noise_bits(bits, clients) - 1) < 2 ** width(bits, clients)


@pytest.mark.parametrize(
    ("bits", "clients", "rank"), [(16, 512, 3), (16, 513, 4), (16, 2048, 4), (13, 4096, 3), (8, 2, 3)]
)
def test_rank_3_serves_up_to_width_25_and_rank_4_up_to_27(bits: int, clients: int, rank: int) -> None:
    assert choose(bits, clients, MILLION).rank == rank


@pytest.mark.parametrize(("bits", "clients"), [(16, 2049), (16, 4096), (14, 10_000), (24, 9), (2, 2**20)])
def test_sums_of_28_bits_are_refused(bits: int, clients: int) -> None:
    with pytest.raises(InsecureParametersError, match="fewer bits per value or fewer clients"):
        choose(bits, clients, 1000)


def test_sixteen_bits_serve_2048_clients() -> None:
    assert choose(16, 2048, 100 * MILLION).width == 27


def test_ten_thousand_clients_get_13_bits() -> None:
    assert choose(13, 10_000, 100 * MILLION).width == 27


@pytest.mark.parametrize(("bits", "stated"), [(16, 378), (10, 164), (8, 132)])
def test_hiding_is_estimated_as_stated(bits: int, stated: int) -> None:
    assert abs(hiding_bits(3, bits) - stated) <= 2


def test_few_data_bits_hide_behind_noise_of_ten_or_eight() -> None:
    assert choose(2, 10, 1000).hiding == choose(10, 10, 1000).hiding == hiding_bits(3, 10)
    assert choose(2, 40_000, 1000).hiding == hiding_bits(3, 8) >= MINIMUM_BITS


def test_every_accepted_setting_promises_128_bits() -> None:
    settings = accepted()
    assert len(settings) > 500
    for bits, clients, size in settings:
        setting = choose(bits, clients, size)
        assert min(setting.binding, setting.hiding) >= MINIMUM_BITS == 128


def test_the_columns_are_data_padding_and_randomness() -> None:
    assert choose(16, 10, 1000).columns == 1024 + 5 * 512
    assert choose(16, 2048, 1025).columns == 1536 + 6 * 512


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("columns", [10 * MILLION, 100 * MILLION, 2**32])
def test_halving_leaves_nothing_at_width_29(rank: int, columns: int) -> None:
    assert binding_bits(rank, 29, columns) == 0


@pytest.mark.parametrize("rank", [3, 4])
def test_wider_sums_bind_no_better(rank: int) -> None:
    estimates = [binding_bits(rank, w, 10 * MILLION) for w in range(8, 31)]
    assert estimates == sorted(estimates, reverse=True)


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("w", [16, 25, 27])
def test_longer_vectors_bind_no_better(rank: int, w: int) -> None:
    estimates = [binding_bits(rank, w, columns) for columns in (4096, 10_000, MILLION, 100 * MILLION, 2**32)]
    assert estimates == sorted(estimates, reverse=True)


@pytest.mark.parametrize("w", [10, 16, 20, 25])
def test_a_halving_step_is_worth_a_bit_of_width(w: int) -> None:
    """Which is far more than twelve bits of security where sums are narrow, and less where they are wide."""
    assert binding_bits(3, w, 3 * 512 * 3500) == pytest.approx(binding_bits(3, w + 1, 3 * 512))


DILITHIUM = [
    # k, norm, core-SVP and block sizes that are published for SIS: weak and strong unforgeability (round 3, table 1)
    (4, 350_209, 123, 423),
    (6, 724_481, 186, 638),
    (8, 769_537, 265, 909),
    (4, 380_930, 121, 417),
    (6, 1_048_184, 176, 602),
    (8, 1_048_336, 253, 868),
]


@pytest.mark.parametrize(("rank", "norm", "bits", "block"), DILITHIUM)
def test_the_estimate_gives_the_figures_published_for_dilithium(rank: int, norm: int, bits: int, block: int) -> None:
    cost, found = sis_estimate(256 * rank, math.log2(8_380_417), math.log2(norm))
    assert int(cost) == bits
    assert abs(found - block) <= 1


@pytest.mark.parametrize(("bits", "clients"), TABLE)
@pytest.mark.parametrize("size", [MILLION, 10**9, 2**32 - 4096])
def test_every_row_of_the_table_reaches_133_bits_up_to_2_32_columns(bits: int, clients: int, size: int) -> None:
    setting = choose(bits, clients, size)
    assert min(setting.binding, setting.hiding) >= 132.5


def test_binding_is_stated_for_differences_of_sums() -> None:
    assert round(choose(16, 2048, MILLION).binding) == 169  # 194 without the re-randomised basis and at w
    assert round(choose(16, 512, MILLION).binding) in (135, 136)
    setting = choose(16, 100, MILLION)
    assert setting.binding == binding_bits(setting.rank, setting.width + 1, setting.columns)


def test_a_setting_takes_the_next_rank_where_the_smaller_one_falls_short() -> None:
    longest = LONGEST_AT_LIMIT[3] - 5 * 512
    assert [choose(16, 512, size).rank for size in (longest, longest + 1)] == [3, 4]
    assert [choose(16, 256, size).rank for size in (longest, longest + 1)] == [3, 3]
    assert choose(16, 512, longest).binding >= MINIMUM_BITS > binding_bits(3, 26, 2 * LONGEST_AT_LIMIT[3])


@pytest.mark.parametrize("rank", [3, 4])
def test_wider_noise_hides_no_worse(rank: int) -> None:
    estimates = [hiding_bits(rank, bits) for bits in range(8, 25)]
    assert estimates == sorted(estimates)


@pytest.mark.parametrize("bits", [8, 16])
def test_another_row_hides_no_better(bits: int) -> None:
    assert hiding_bits(4, bits) <= hiding_bits(3, bits)


def test_a_setting_that_is_too_long_to_bind_names_both_estimates() -> None:
    with pytest.raises(InsecureParametersError, match=r"binding is estimated at \d+ bits"):
        choose(25, 1, 2**60)


def test_noise_has_ten_bits_or_those_of_the_data_and_eight_where_ten_would_be_too_wide() -> None:
    assert [noise_bits(bits, 1 << 15) for bits in (1, 9, 10, 11, 24)] == [10, 10, 10, 11, 24]
    assert [noise_bits(bits, (1 << 15) + 1) for bits in (1, 7, 8, 9, 24)] == [8, 8, 8, 9, 24]


@pytest.mark.parametrize(("bits", "clients"), [(2, 1 << 15), (2, 1 << 17), (8, 1 << 15), (10, 1 << 15)])
def test_noise_alone_never_takes_a_larger_rank(bits: int, clients: int) -> None:
    assert choose(bits, clients, 1000).rank == 3


def test_packed_elements_are_as_wide_as_their_digits_and_fewer() -> None:
    def runs(*digits: Digits) -> Runs:
        return Runs(tuple((each, 1000 // len(digits)) for each in digits))

    digits = Digits.fitting(100 * 15 + 1, 27)
    setting = choose(4, 100, 1000, runs(digits))
    assert (digits.count, setting.width, setting.rank, setting.columns) == (2, 22, 3, 512 + 5 * 512)
    wide = runs(Digits(10 * 7 + 1, 4))
    assert (choose(3, 10, 1000, wide).width, choose(3, 10, 1000, wide).rank) == (25, 3)
    assert choose(2, 10, 1000, runs(Digits(21, 6))).rank == 4
    mixed = choose(4, 100, 1000, runs(digits, Digits(301, 3)))
    assert (mixed.width, mixed.columns) == (25, 512 + 5 * 512)
    with pytest.raises(InsecureParametersError):
        choose(4, 100, 1000, runs(digits, Digits(1501, 3)))


def test_estimates_are_finite_for_every_width() -> None:
    assert all(math.isfinite(binding_bits(rank, w, MILLION)) for rank in (3, 4) for w in range(8, 31))
