"""The aggregate check: honest sums pass, everything else is refused, and the ranges are what makes it a proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mpc.keystream import KeyStream
from mpc.ntt import PSI, bit_reverse
from mpc.ring import P, Vector
from zk import commitment, parameters
from zk.aggregate import AggregateError, AggregateStatement, check
from zk.commitment import Commitment, commit

N = 512
BITS = 16
TOP = (1 << BITS) - 2
NOISE_TOP = (1 << BITS) - 1
LENGTH = 4 * N
SETTING = parameters.choose(BITS, 20, LENGTH)


def draw(length: int, seed: int, bits: int = BITS) -> Vector:
    return np.random.default_rng(seed).integers(0, (1 << bits) - 1, length, dtype=np.uint32)


def statement_of(openings: Sequence[tuple[Vector, Vector]]) -> AggregateStatement:
    """What honest parties state of these (x, s)."""
    return AggregateStatement(
        SETTING,
        TOP,
        tuple(commit(x, s, SETTING.rank) for x, s in openings),
        np.sum([x for x, _ in openings], axis=0, dtype=np.uint32),
        np.sum([s for _, s in openings], axis=0, dtype=np.uint32),
    )


def honest(clients: int = 5, length: int = 1000) -> AggregateStatement:
    s_length = commitment.randomness_length(SETTING.rank)
    return statement_of([(draw(length, i), draw(s_length, 100 + i)) for i in range(clients)])


def changed(vector: Vector, position: int, by: int) -> Vector:
    out = vector.copy()
    out[position] = (int(out[position]) + by) % 2**32
    return out


# --- honest sums --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [1, 2, 20])
@pytest.mark.parametrize("length", [1, 512, 1000])
def test_an_honest_sum_passes_and_its_commitment_comes_back(clients: int, length: int) -> None:
    statement = honest(clients, length)
    assert check(statement) == commitment.add(list(statement.commitments))


def test_sums_at_both_ends_of_the_range_pass() -> None:
    x = np.array([0, TOP, 0, TOP], dtype=np.uint32)
    s = np.full(commitment.randomness_length(SETTING.rank), TOP, dtype=np.uint32)
    check(statement_of([(x, s)] * 20))


def test_noise_wider_than_the_data_passes_up_to_eight_bits() -> None:
    setting = parameters.choose(4, 3, 10)
    x, s = np.full(10, 15, dtype=np.uint32), np.full(5 * N, 255, dtype=np.uint32)
    check(AggregateStatement(setting, 15, (commit(x, s, 3),) * 3, x * np.uint32(3), s * np.uint32(3)))


# --- altered sums -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 500, 999])
@pytest.mark.parametrize("by", [1, -1, 1000])
def test_an_altered_data_sum_is_refused(position: int, by: int) -> None:
    statement = honest()
    with pytest.raises(AggregateError, match="not what was committed to"):
        check(replace(statement, sums=changed(statement.sums, position, by)))


@pytest.mark.parametrize("position", [0, 1000, -1])
@pytest.mark.parametrize("by", [1, -1])
def test_an_altered_sum_of_randomness_is_refused(position: int, by: int) -> None:
    statement = honest()
    with pytest.raises(AggregateError, match="not what was committed to"):
        check(replace(statement, randomness=changed(statement.randomness, position, by)))


@pytest.mark.parametrize(("i", "j"), [(0, 1), (0, 512), (998, 999)])
def test_swapped_coordinates_are_refused(i: int, j: int) -> None:
    statement = honest()
    sums = statement.sums.copy()
    sums[[i, j]] = sums[[j, i]]
    with pytest.raises(AggregateError, match="not what was committed to"):
        check(replace(statement, sums=sums))


def test_what_moves_from_one_coordinate_to_the_next_is_noticed() -> None:
    statement = honest()
    with pytest.raises(AggregateError, match="not what was committed to"):
        check(replace(statement, sums=changed(changed(statement.sums, 0, 1), 1, -1)))


@pytest.mark.parametrize("keep", [slice(0, 4), slice(1, 5)])
def test_a_missing_commitment_is_refused(keep: slice) -> None:
    statement = honest()
    small = replace(statement, commitments=statement.commitments[keep], sums=statement.sums // np.uint32(2))
    with pytest.raises(AggregateError):
        check(small)


def test_a_commitment_too_many_is_refused() -> None:
    statement = honest()
    with pytest.raises(AggregateError, match="not what was committed to"):
        check(replace(statement, commitments=(*statement.commitments, statement.commitments[0])))


def test_a_foreign_commitment_is_refused() -> None:
    statement = honest()
    foreign = honest(6).commitments[5]
    with pytest.raises(AggregateError, match="not what was committed to"):
        check(replace(statement, commitments=(*statement.commitments[:4], foreign)))


@pytest.mark.parametrize("clients", [0, 21])
def test_no_or_too_many_commitments_are_refused(clients: int) -> None:
    statement = honest()
    with pytest.raises(AggregateError, match=f"{clients} commitments"):
        check(replace(statement, commitments=(statement.commitments[0],) * clients))


def test_a_commitment_of_another_rank_is_refused() -> None:
    statement = honest()
    other = commit(draw(1000, 1), draw(6 * N, 2), 4)
    with pytest.raises(AggregateError, match="rank 3"):
        check(replace(statement, commitments=(*statement.commitments[:4], other)))


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int32, np.float64, ">u4"])
@pytest.mark.parametrize("field", ["sums", "randomness"])
def test_sums_of_another_type_are_refused(field: str, dtype: str) -> None:
    statement = honest()
    with pytest.raises(AggregateError, match="not uint32"):
        check(replace(statement, **{field: getattr(statement, field).astype(dtype)}))


@pytest.mark.parametrize("size", [0, 2559, 2561])
def test_randomness_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(AggregateError, match=f"T has {size}"):
        check(replace(honest(), randomness=np.zeros(size, dtype=np.uint32)))


@pytest.mark.parametrize("size", [0, 512, 999])
def test_a_truncated_sum_is_refused(size: int) -> None:
    statement = honest()
    with pytest.raises(AggregateError, match="not what was committed to"):
        check(replace(statement, sums=statement.sums[:size]))


# --- why the ranges are checked -----------------------------------------------------------------------------


def test_an_entry_one_above_the_range_is_refused_though_it_was_committed_to() -> None:
    x, s = draw(1000, 1), draw(5 * N, 2)
    x[123] = TOP + 1
    with pytest.raises(AggregateError, match=r"X\[123\] is 65535, above 65534"):
        check(statement_of([(x, s)]))


def test_randomness_one_above_the_range_is_refused_though_it_was_committed_to() -> None:
    x, s = draw(1000, 1), draw(5 * N, 2)
    s[77] = NOISE_TOP + 1
    with pytest.raises(AggregateError, match=r"T\[77\] is 65536, above 65535"):
        check(statement_of([(x, s)]))


def test_the_range_grows_with_the_number_of_commitments_only() -> None:
    statement = honest(clients=5)
    with pytest.raises(AggregateError, match=f"above {5 * TOP}"):
        check(replace(statement, sums=changed(np.zeros(1000, dtype=np.uint32), 0, 5 * TOP + 1)))


def test_the_same_residue_plus_p_is_refused() -> None:
    statement = honest()
    with pytest.raises(AggregateError, match=r"X\[3\]"):
        check(replace(statement, sums=changed(statement.sums, 3, P)))


def determinant(rows: list[list[int]]) -> int:
    (a, b, c), (d, e, f), (g, h, i) = rows
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def interpolate(values: list[int]) -> list[int]:
    """Coefficients of the block with value ``values[t]`` at ζ_t."""
    powers = np.array([1], dtype=np.uint64)
    inverse_zeta = np.array([pow(PSI, -(2 * bit_reverse(t) + 1), P) for t in range(N)], dtype=np.uint64)
    scaled = np.array(values, dtype=np.uint64) * pow(N, -1, P) % P
    powers, out = np.ones(N, dtype=np.uint64), []
    for _ in range(N):
        out.append(int((scaled * powers % P).sum() % P))
        powers = powers * inverse_zeta % P
    return out


def kernel_vector() -> Vector:
    """Four blocks that are not zero and have hash zero.

    In the transform domain the hash is, for each t on its own, three equations in the four blocks' values:
    the signed minors of their 3 × 4 matrix solve them.
    """
    words = np.empty(3 * N * 16, dtype=np.uint32)
    KeyStream(commitment.matrix_key(3)).residues(0, words)
    a = words.reshape(3, N, 16)[:, :, :4].tolist()
    values = []
    for t in range(N):
        rows = [a[r][t] for r in range(3)]
        values.append([(-1) ** j * determinant([row[:j] + row[j + 1 :] for row in rows]) % P for j in range(4)])
    blocks = [interpolate([value[j] for value in values]) for j in range(4)]
    return np.array(blocks, dtype=np.uint32).reshape(-1)


def relation_alone(statement: AggregateStatement) -> bool:
    """The check without its ranges: what a verifier must not be content with."""
    rank = statement.parameters.rank
    return commit(statement.sums, statement.randomness, rank) == commitment.add(list(statement.commitments))


def test_a_forged_sum_satisfies_the_relation_and_fails_the_range() -> None:
    """A kernel vector costs one small linear solve, so h of something long proves nothing."""
    statement = honest(length=LENGTH)
    kernel = kernel_vector()
    forged = replace(statement, sums=((statement.sums.astype(np.uint64) + kernel) % P).astype(np.uint32))
    assert kernel.any()
    assert relation_alone(forged)
    with pytest.raises(AggregateError, match=r"X\[\d+\] is \d+, above"):
        check(forged)


def test_the_kernel_vectors_hash_is_zero() -> None:
    hashed = commit(kernel_vector(), np.zeros(5 * N, dtype=np.uint32), 3)
    assert hashed == Commitment(np.zeros(3 * N, dtype=np.uint32))


# --- the statement's digest ---------------------------------------------------------------------------------


def test_equal_statements_have_equal_digests() -> None:
    assert honest().digest() == honest().digest()


def test_the_digest_binds_every_field() -> None:
    statement = honest()
    others = [
        replace(statement, parameters=parameters.choose(BITS, 19, LENGTH)),
        replace(statement, parameters=parameters.choose(BITS - 1, 20, LENGTH)),
        replace(statement, commitments=statement.commitments[::-1]),
        replace(statement, commitments=statement.commitments[:-1]),
        replace(statement, sums=changed(statement.sums, 5, 1)),
        replace(statement, sums=statement.sums[:-1]),
        replace(statement, randomness=changed(statement.randomness, 5, 1)),
    ]
    assert len({item.digest() for item in (statement, *others)}) == 8


@pytest.mark.parametrize("top", [0, -1, 1 << BITS])
def test_a_range_that_the_parameters_were_not_estimated_for_is_refused(top: int) -> None:
    with pytest.raises(AggregateError, match="more than 16 bits"):
        check(replace(honest(), top=top))
