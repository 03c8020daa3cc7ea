"""Functionals of t_1: linear, right on what opens C', and the same in both forms of the kernel."""

from __future__ import annotations

import numpy as np
import pytest

from mpc.keystream import CHUNK, KeyStream
from mpc.ring import P
from zk import sketch_functional
from zk.commitment import Commitment
from zk.norm import commitment
from zk.norm.sketch import BLOCK, FOLDED, GROUP_COPIES, GROUP_WORDS, SIGNS, TURNS, sketch, sketch_key
from zk.sketch_functional import SketchRowsFunctional

HASH = Commitment(np.zeros(3 * 512, dtype=np.uint32))
KEY, R, CENTRE = bytes(range(32)), sketch_key(b"session"), 127


def made(rank: int, values: int, between: int = 700) -> SketchRowsFunctional:
    length = values + between + commitment.randomness_length(rank)
    return SketchRowsFunctional(KEY, R, rank, values, length, CENTRE)


@pytest.mark.parametrize(("rank", "values"), [(1, 1), (1, 2048), (2, 5000), (1, CHUNK + 100), (1, 3 * CHUNK)])
def test_its_value_of_a_vector_is_that_of_the_sketch_that_was_committed_to(rank: int, values: int) -> None:
    rng = np.random.default_rng(values)
    functional = made(rank, values)
    vector = rng.integers(0, 2 * CENTRE + 1, functional.length, dtype=np.uint32)
    noise = vector[-commitment.randomness_length(rank) :]
    noise %= 4
    sketched = sketch(R, vector[:values], CENTRE)
    right = commitment.commit(sketched, np.zeros(2, np.uint32), noise, rank)
    assert functional.of_commitment(HASH, right).tolist() == functional.of([], [vector])[0].tolist()
    sketched[511] += 1
    wrong = commitment.commit(sketched, np.zeros(2, np.uint32), noise, rank)
    assert (functional.of_commitment(HASH, wrong) != functional.of([], [vector])[0]).all()


def test_masks_are_vectors_and_it_is_linear_in_them() -> None:
    functional, keys = made(1, CHUNK - 100), [bytes(32), b"\1" * 32]
    vectors = []
    for key in keys:
        stream, vector = KeyStream(key), np.empty(functional.length, dtype=np.uint32)
        for chunk, start in enumerate(range(0, functional.length, CHUNK)):
            stream.residues(chunk, vector[start : start + CHUNK])
        vectors.append(vector)
    total = ((vectors[0].astype(np.uint64) + vectors[1]) % P).astype(np.uint32)
    first, second, one, other, both = functional.of(keys, [*vectors, total]).astype(np.int64)
    assert (first.tolist(), second.tolist()) == (one.tolist(), other.tolist())
    assert ((first + second) % P).tolist() == both.tolist()


def test_both_forms_of_the_kernel_give_the_same() -> None:
    rng = np.random.default_rng(3)
    words = rng.integers(0, 1 << 32, SIGNS + TURNS, dtype=np.uint32)
    parts = rng.integers(-P, P, (5, GROUP_COPIES, BLOCK))
    found = []
    for form in (sketch_functional._gather, sketch_functional._plain_gather):
        out = np.zeros((5, FOLDED, BLOCK + GROUP_WORDS), dtype=np.int64)
        form(parts, words, out)
        out[:, :, :GROUP_WORDS] += out[:, :, BLOCK:]
        found.append(out[:, :, :BLOCK])
    assert (found[0] == found[1]).all()


def test_what_has_another_shape_is_refused() -> None:
    functional = made(1, 10)
    with pytest.raises(ValueError, match="has not"):
        functional.of([], [np.zeros(3, dtype=np.uint32)])
    with pytest.raises(ValueError, match="no sketch's commitment"):
        functional.of_commitment(HASH, None)
    with pytest.raises(ValueError, match="no room"):
        SketchRowsFunctional(KEY, R, 1, 10, 12, CENTRE)
