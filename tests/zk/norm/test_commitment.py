"""The sketch's commitment against its definition, its sum, and its encoding."""

from __future__ import annotations

import numpy as np
import pytest

from mpc.ntt import PSI, bit_reverse
from mpc.ring import P, Vector
from zk.norm import commitment
from zk.norm.commitment import SketchCommitment, add, commit, draw_randomness, matrix, randomness_length
from zk.norm.layout import Witness
from zk.norm.sketch import Sketch

ZETA = np.array([pow(PSI, 2 * bit_reverse(t) + 1, P) for t in range(512)], dtype=object)


def operands(seed: int, rank: int, side: int) -> tuple[Sketch, Vector, Vector]:
    rng = np.random.default_rng(seed)
    v = rng.integers(-(2**27), 2**27, 512)
    beside = rng.integers(0, 2**16, side, dtype=np.uint32)
    return v, beside, draw_randomness(bytes([seed]) * 32, rank)


@pytest.mark.parametrize(("rank", "side"), [(1, 0), (1, 4), (2, 34)])
def test_it_is_the_sum_that_its_definition_says(rank: int, side: int) -> None:
    v, beside, s = operands(1, rank, side)
    made, public = commit(v, beside, s, rank), matrix(rank)
    blocks = s.reshape(-1, 512)
    for t in (0, 5, 511):
        powers = np.array([pow(int(ZETA[t]), i, P) for i in range(512)], dtype=object)
        values = [int(block.astype(object) @ powers) % P for block in blocks]
        for i in range(rank + 1):
            expected = sum(int(public.ring[i, j, t]) * value for j, value in enumerate(values))
            expected += int(v.astype(object) @ powers) if i == rank else 0
            assert made.ring[i, t] == expected % P
    for row in range(side):
        assert made.plain[row] == (int(public.plain[row].astype(object) @ s.astype(object)) + int(beside[row])) % P


def test_it_is_linear() -> None:
    parts = [operands(seed, 1, 3) for seed in (1, 2, 3)]
    v, side, s = (sum(column[1:], column[0]) for column in zip(*parts, strict=True))
    assert add([commit(*part, 1) for part in parts]) == commit(v, side, s, 1)
    assert int(s.max()) > 3


def test_randomness_has_two_bits_and_all_of_them() -> None:
    for rank in (1, 2):
        s = draw_randomness(bytes(32), rank)
        assert s.size == randomness_length(rank)
        np.testing.assert_allclose(np.bincount(s) / s.size, [0.25] * 4, atol=0.03)


def test_the_encoding_is_strict() -> None:
    made = commit(*operands(1, 1, 3), 1)
    data = made.to_bytes()
    assert len(data) == 4 * (1024 + 3)
    assert SketchCommitment.from_bytes(data, 1, 3) == made
    assert hash(SketchCommitment.from_bytes(data, 1, 3)) == hash(made)
    for wrong in (data[:-1], data + b"\0", data[:-4], data + bytes(4), b""):
        with pytest.raises(ValueError, match="bytes, not"):
            SketchCommitment.from_bytes(wrong, 1, 3)
    with pytest.raises(ValueError, match="not below p"):
        SketchCommitment.from_bytes(data[:-4] + P.to_bytes(4, "little"), 1, 3)
    assert SketchCommitment(made.elements, 2) != made


@pytest.mark.parametrize(("rows", "side", "length"), [(511, 3, 3072), (512, 35, 3072), (512, 3, 3071)])
def test_operands_of_another_length_are_refused(rows: int, side: int, length: int) -> None:
    with pytest.raises(ValueError, match="rank 1 takes"):
        commit(
            np.zeros(rows, dtype=np.int64), np.zeros(side, dtype=np.uint32), np.zeros(length, dtype=np.uint32), rank=1
        )


def test_a_rank_s_matrix_is_fixed() -> None:
    assert commitment.matrix(1).ring.shape == (2, 6, 512)
    assert commitment.matrix(2).plain.shape == (34, 4096)
    assert not np.array_equal(commitment.matrix(1).plain[0], commitment.matrix(1).plain[1])


def test_a_witness_prints_nothing_of_itself() -> None:
    witness = Witness(np.full(512, 77, dtype=np.int64), np.full(3072, 3, dtype=np.uint32), 41, (1,))
    assert repr(witness) == "Witness()"
