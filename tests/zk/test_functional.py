"""Five random functionals of the commitment: they say of any vector what its hash says, and of a key stream too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from mpc.keystream import CHUNK, KeyStream
from mpc.ntt import LANES, PSI, N, bit_reverse, transform_lanes, transpose_lanes
from mpc.ring import P
from zk import functional
from zk.commitment import commit, randomness_length
from zk.functional import COUNT, Functional, Sketched
from zk.norm import commitment as sketches

KEY = bytes(range(32))


def residues(rng: np.random.Generator, size: int) -> npt.NDArray[np.uint32]:
    return rng.integers(0, P, size, dtype=np.uint32)


def value(key: bytes, elements: npt.NDArray[np.uint32]) -> list[int]:
    """⟨w, C⟩ by Python's integers."""
    rows = []
    for e in range(COUNT):
        row = np.empty(elements.size, dtype=np.uint32)
        KeyStream(key).residues(e, row)
        rows.append(sum(int(a) * int(b) for a, b in zip(row, elements, strict=True)) % P)
    return rows


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("elements", [1, 511, 512, 8192, 9000, CHUNK - 700, CHUNK, CHUNK + 513])
def test_the_value_of_a_vector_is_that_of_its_commitment(rank: int, elements: int) -> None:
    rng = np.random.default_rng(elements)
    vector = residues(rng, elements + randomness_length(rank))
    committed = commit(vector[:elements], vector[elements:], rank)
    found = Functional(KEY, rank, elements)
    assert found.length == vector.size
    assert found.of([], [vector])[0].tolist() == found.of_commitment(committed).tolist()
    assert found.of_commitment(committed).tolist() == value(KEY, committed.elements)


def test_masks_and_vectors_are_taken_together_and_are_linear() -> None:
    rng = np.random.default_rng(3)
    found = Functional(KEY, 3, CHUNK)
    vector, key = residues(rng, found.length), bytes([7] * 32)
    masked = ((vector.astype(np.uint64) + KeyStream(key).residue_vector(found.length)) % P).astype(np.uint32)
    mask, open_, hidden = found.of([key], [vector, masked]).astype(np.int64)
    assert ((mask + open_) % P).tolist() == hidden.tolist()
    assert found.of([key]).tolist() == [mask.tolist()]


def test_one_changed_word_changes_the_values_and_so_does_another_challenge() -> None:
    rng = np.random.default_rng(4)
    found = Functional(KEY, 3, 3000)
    vector = residues(rng, found.length)
    for place in (0, 2999, 3000, found.length - 1):
        changed = vector.copy()
        changed[place] = (int(changed[place]) + 1) % P
        right, wrong = found.of([], [vector, changed])
        assert not np.array_equal(right, wrong)
    assert not np.array_equal(found.of([], [vector]), Functional(bytes(32), 3, 3000).of([], [vector]))


def test_the_transposed_transform_is_the_transpose() -> None:
    rng = np.random.default_rng(5)
    f, b = residues(rng, N * LANES).reshape(N, LANES), residues(rng, N * LANES).reshape(N, LANES)
    there, back = f.copy(), b.copy()
    transform_lanes(there)
    transpose_lanes(back)
    for lane in range(LANES):
        left = sum(int(x) * int(y) for x, y in zip(there[:, lane], b[:, lane], strict=True)) % P
        right = sum(int(x) * int(y) for x, y in zip(f[:, lane], back[:, lane], strict=True)) % P
        assert left == right
    zeta = [pow(PSI, 2 * bit_reverse(t) + 1, P) for t in range(N)]
    assert int(back[7, 3]) == sum(pow(z, 7, P) * int(v) for z, v in zip(zeta, b[:, 3], strict=True)) % P


def test_both_forms_of_the_kernels_make_the_same_bits() -> None:
    rng = np.random.default_rng(6)
    blocks = residues(rng, N * LANES).reshape(N, LANES)
    blocks[0] = P - 1
    loop, plain = blocks.copy(), blocks.copy()
    transpose_lanes(loop)
    assert transpose_lanes.or_else is not None
    transpose_lanes.or_else(plain)
    assert np.array_equal(loop, plain)
    matrix, row = np.full(4 * N * LANES, P - 1, dtype=np.uint32), residues(rng, 4 * N * LANES)
    scratch = np.empty(N * LANES, dtype=np.uint64)
    row[:9] = P - 1
    one, other = np.empty_like(blocks), np.empty_like(blocks)
    functional._columns(matrix, row, scratch, one)
    functional._plain_columns(matrix, row, scratch, other)
    assert np.array_equal(one, other)
    coefficients, values = np.full((COUNT, 5000), P - 1, dtype=np.uint32), np.full(5000, P - 1, dtype=np.uint32)
    sums, again = np.full(COUNT, P - 1, dtype=np.uint64), np.full(COUNT, P - 1, dtype=np.uint64)
    functional.dots(coefficients, values, sums)
    functional._plain_dots(coefficients, values, again)
    assert sums.tolist() == again.tolist() == [(P - 1 + 5000) % P] * COUNT


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="rank"):
        Functional(KEY, 5, 10)
    with pytest.raises(ValueError, match="elements"):
        Functional(KEY, 3, 10).of([], [np.zeros(10, dtype=np.uint32)])
    with pytest.raises(ValueError, match="rank"):
        Functional(KEY, 3, 10).of_commitment(commit(np.zeros(1, dtype=np.uint32), np.zeros(6 * N, dtype=np.uint32), 4))


@pytest.mark.parametrize(("rank", "side"), [(1, 3), (2, 0), (1, 34)])
@pytest.mark.parametrize("elements", [600, CHUNK - 2000, CHUNK - 20, CHUNK + 5])
def test_with_a_sketch_the_value_is_that_of_both_commitments_whatever_the_sketch(
    rank: int, side: int, elements: int
) -> None:
    rng = np.random.default_rng(elements)
    split, place = elements + randomness_length(3), elements - 40
    vector = residues(rng, split + sketches.randomness_length(rank))
    values, noise = rng.integers(-1000, 1000, N), vector[split:]
    first = commit(vector[:elements], vector[elements:split], 3)
    second = sketches.commit(values, vector[place : place + (side or 5)], noise, rank)
    found = Functional(KEY, 3, elements, Sketched(rank, place, side))
    assert found.length == vector.size
    assert found.of([], [vector])[0].tolist() == found.of_commitment(first, second).tolist()
    for changed in (split, vector.size - 1, *((place, place + side - 1) if side else ())):
        other = vector.copy()
        other[changed] = (int(other[changed]) + 1) % P
        assert not np.array_equal(found.of([], [other])[0], found.of_commitment(first, second))
    with pytest.raises(ValueError, match="goes with another"):
        found.of_commitment(first)
    other_rank = sketches.commit(values, vector[:1], residues(rng, sketches.randomness_length(3 - rank)), 3 - rank)
    with pytest.raises(ValueError, match="of rank"):
        found.of_commitment(first, other_rank)
