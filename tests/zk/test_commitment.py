"""The commitment against slow implementations written from its description, and its linearity."""

from __future__ import annotations

import functools
import hashlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.framing import frame
from mpc.kernels.compiled import numba_is_there
from mpc.keystream import KeyStream
from mpc.ntt import PSI, bit_reverse
from mpc.ring import P, Vector
from zk import commitment, parameters
from zk.aggregate import AggregateStatement
from zk.commitment import Commitment, commit

N = 512
LENGTHS = [0, 1, 511, 512, 513, 6 * N, 8192 - 5 * N, 8192, 8193, 20_000]
ZETA = np.array([pow(PSI, 2 * bit_reverse(t) + 1, P) for t in range(N)], dtype=np.uint64)
Matrix = npt.NDArray[np.uint64]


def draw(length: int, seed: int, below: int = P) -> Vector:
    return np.random.default_rng(seed).integers(0, below, length, dtype=np.uint32)


def randomness(rank: int, seed: int = 1) -> Vector:
    return draw((rank + 2) * N, seed, 1 << 16)


def blocks_of(x: Vector, s: Vector) -> Matrix:
    """x, zero-padded to whole blocks, then s."""
    padded = np.concatenate([x, np.zeros(-x.size % N, dtype=np.uint32), s])
    return padded.reshape(-1, N).astype(np.uint64)


@functools.cache
def matrix_group(rank: int, group: int) -> Matrix:
    """``[r, t, lane]`` of the blocks 16 · group onwards."""
    key = hashlib.sha256(frame("commitment-matrix", bytes([rank]))).digest()
    words = np.empty(rank * N * 16, dtype=np.uint32)
    KeyStream(key).residues(group, words)
    return words.reshape(rank, N, 16).astype(np.uint64)


def matrix(rank: int, block: int) -> Matrix:
    """a_j[r, t]."""
    return matrix_group(rank, block // 16)[:, :, block % 16]


@functools.cache
def powers() -> Matrix:
    """``[t, i]`` = ζ_t^i."""
    out = np.ones((N, N), dtype=np.uint64)
    for i in range(1, N):
        out[:, i] = out[:, i - 1] * ZETA % P
    return out


def evaluate(block: Matrix) -> Matrix:
    """The block's values at every ζ_t: sums of reduced products, none of which overflows."""
    values: Matrix = (powers() * block % P).sum(axis=1) % P
    return values


def interpolate(values: Matrix) -> Matrix:
    """The coefficients with these values: f_i = 1/512 · sum over t of f(ζ_t) · ζ_t^(−i)."""
    inverse = np.empty((N, N), dtype=np.uint64)
    inverse[0] = 1
    inverse[1:] = (P - powers()[:, :0:-1].T) % P  # ζ^(−i) = −ζ^(512 − i)
    coefficients: Matrix = (inverse * values % P).sum(axis=1) % P * pow(N, -1, P) % P
    return coefficients


def multiply(f: Matrix, g: Matrix) -> Matrix:
    """The product modulo X^512 + 1, by one multiplication of big integers with 80 bits per coefficient."""
    packed = [sum(int(c) << (80 * i) for i, c in enumerate(h)) for h in (f, g)]
    product = packed[0] * packed[1]
    full = [product >> (80 * i) & ((1 << 80) - 1) for i in range(2 * N)]
    return np.array([(full[i] - full[i + N]) % P for i in range(N)], dtype=np.uint64)


def slow_commit(x: Vector, s: Vector, rank: int) -> list[int]:
    """Element (r, t) = sum over j of a_j[r, t] · block_j(ζ_t)."""
    total = np.zeros((rank, N), dtype=np.uint64)
    for j, block in enumerate(blocks_of(x, s)):
        total = (total + matrix(rank, j) * evaluate(block)) % P
    return total.reshape(-1).tolist()


def added(a: Vector, b: Vector) -> Vector:
    return ((a.astype(np.uint64) + b) % P).astype(np.uint32)


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_commitment_is_the_stated_sum_over_blocks(rank: int, length: int) -> None:
    x, s = draw(length, seed=length), randomness(rank)
    assert commit(x, s, rank).elements.tolist() == slow_commit(x, s, rank)


@pytest.mark.parametrize("rank", [3, 4])
def test_it_is_a_sum_of_true_products_of_polynomials(rank: int) -> None:
    x, s = draw(700, seed=2), randomness(rank)
    total = np.zeros((rank, N), dtype=np.uint64)
    for j, block in enumerate(blocks_of(x, s)):
        for r in range(rank):
            total[r] = (total[r] + multiply(interpolate(matrix(rank, j)[r]), block)) % P
    expected = [value for r in range(rank) for value in evaluate(total[r]).tolist()]
    assert commit(x, s, rank).elements.tolist() == expected


def test_one_coordinate_commits_to_its_column_in_plain_integers() -> None:
    """x = e_i in block 1 alone: a_1[r, t] · ζ_t^i, with no arithmetic shared with the kernels."""
    x = np.zeros(1000, dtype=np.uint32)
    x[N + 77] = 1
    elements = commit(x, np.zeros(5 * N, dtype=np.uint32), 3).elements.tolist()
    expected = [
        int(a) * pow(PSI, (2 * bit_reverse(t) + 1) * 77, P) % P for r in range(3) for t, a in enumerate(matrix(3, 1)[r])
    ]
    assert elements == expected


def test_what_is_kept_of_the_matrix_and_what_is_drawn_commit_alike_by_one_machine_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, s = draw(3 * 8192, 5), randomness(3)
    kept = commit(x, s, 3)
    monkeypatch.setattr(commitment, "_KEPT", 3 * 8192 * 4)  # one group
    assert commit(x, s, 3) == kept
    if numba_is_there():  # an array that is read-only is another type to it: seconds of compiling, in a round
        assert len({str(types[3]) for types in commitment._accumulate._ready.signatures}) == 1


def test_ranks_have_matrices_of_their_own() -> None:
    assert commitment.matrix_key(3) != commitment.matrix_key(4)


@settings(max_examples=25)
@given(st.integers(0, 3000), st.sampled_from([3, 4]), st.integers(0, 2**32))
def test_commitments_add_up_where_long_vectors_do(length: int, rank: int, seed: int) -> None:
    x, y = draw(length, seed), draw(length, seed + 1)
    s, t = draw((rank + 2) * N, seed + 2), draw((rank + 2) * N, seed + 3)
    total = commitment.add([commit(x, s, rank), commit(y, t, rank)])
    assert total == commit(added(x, y), added(s, t), rank)


def test_multiples_of_a_vector_commit_to_multiples() -> None:
    x, s = draw(1000, seed=1), randomness(3)
    multiple = [(v.astype(np.uint64) * 54321 % P).astype(np.uint32) for v in (x, s)]
    expected = commit(x, s, 3).elements.astype(np.uint64) * 54321 % P
    assert np.array_equal(commit(multiple[0], multiple[1], 3).elements, expected)


def test_adding_leaves_the_summands_alone() -> None:
    one = commit(draw(10, seed=1), randomness(3), 3)
    before = one.to_bytes()
    commitment.add([one, one])
    assert one.to_bytes() == before


def test_other_randomness_hides_the_same_data_otherwise() -> None:
    x = draw(1000, seed=1)
    assert commit(x, randomness(3, seed=1), 3) != commit(x, randomness(3, seed=2), 3)


@pytest.mark.parametrize("coordinate", [0, 511, 512, 999])
def test_a_changed_coordinate_changes_the_commitment(coordinate: int) -> None:
    x = draw(1000, seed=1, below=1 << 16)
    changed = x.copy()
    changed[coordinate] ^= 1
    assert commit(x, randomness(3), 3) != commit(changed, randomness(3), 3)


def test_zeros_that_fill_a_block_commit_alike_but_the_statement_tells_lengths_apart() -> None:
    x, s = draw(1000, seed=1, below=1 << 16), randomness(3)
    longer = np.concatenate([x, np.zeros(24, dtype=np.uint32)])
    assert commit(x, s, 3) == commit(longer, s, 3)
    setting = parameters.choose(16, 10, 1000)
    assert (
        AggregateStatement(setting, 65534, (commit(x, s, 3),), x, s).digest()
        != AggregateStatement(setting, 65534, (commit(x, s, 3),), longer, s).digest()
    )


def test_a_block_of_zeros_more_commits_otherwise() -> None:
    x, s = draw(1024, seed=1), randomness(3)
    assert commit(x, s, 3) != commit(np.concatenate([x, np.zeros(1, dtype=np.uint32)]), s, 3)


def test_the_number_of_threads_does_not_matter(cores: int) -> None:
    x, s = draw(110_000, seed=1), randomness(3)
    assert hashlib.sha256(commit(x, s, 3).to_bytes()).hexdigest() == (
        hashlib.sha256(np.array(slow_commit(x, s, 3), dtype="<u4").tobytes()).hexdigest()
    )


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("change", [-N, -1, 1, N])
def test_randomness_of_another_length_is_refused(rank: int, change: int) -> None:
    with pytest.raises(ValueError, match=f"takes {(rank + 2) * N}"):
        commit(draw(10, seed=1), draw((rank + 2) * N + change, seed=1), rank)


@pytest.mark.parametrize("rank", [3, 4])
def test_a_commitment_survives_its_encoding(rank: int) -> None:
    original = commit(draw(100, seed=1), randomness(rank), rank)
    decoded = Commitment.from_bytes(original.to_bytes(), rank)
    assert decoded == original
    assert hash(decoded) == hash(original)
    assert decoded.rank == rank


@pytest.mark.parametrize("length", [0, 6140, 6143, 6145, 8192])
def test_decoding_refuses_another_length(length: int) -> None:
    with pytest.raises(ValueError, match=f"not {length}"):
        Commitment.from_bytes(bytes(length), 3)


@pytest.mark.parametrize("value", [P, P + 1, 2**32 - 1])
@pytest.mark.parametrize("position", [0, 1535])
def test_decoding_refuses_elements_from_p_on(value: int, position: int) -> None:
    data = bytearray(6144)
    data[4 * position : 4 * position + 4] = value.to_bytes(4, "little")
    with pytest.raises(ValueError, match=str(P)):
        Commitment.from_bytes(bytes(data), 3)


@pytest.mark.parametrize(("length", "blocks"), [(0, 0), (1, 1), (511, 1), (512, 1), (513, 2), (1024, 2)])
def test_blocks_are_counted_up(length: int, blocks: int) -> None:
    assert commitment.blocks_for(length) == blocks
