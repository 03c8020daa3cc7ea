"""Long vectors shard by shard: the same bits as in one piece, in both rings, whatever the length."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.workers import work

from mpc import masks
from mpc.keystream import CHUNK
from mpc.masks import Mask
from mpc.ntt import N
from mpc.ring import P
from secure_agg.executing import IN_PROCESS, Executor, InProcess, Processes, Shard, vectors
from secure_agg.executing import pool as pools
from zk import commitment
from zk.commitment import Commitment

CONTEXT = b"c" * 32
LENGTHS = (1, 513, CHUNK, CHUNK + 1, 3 * CHUNK - 7)


class Cut(InProcess):
    """As many shards as an executor with these workers makes, in this process."""

    def __init__(self, workers: int) -> None:
        self.workers, self.least = workers, 1


@pytest.fixture(scope="module", params=[2, 3, 7, "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param != "processes":
        yield Cut(request.param)
        return
    with Processes(2, least=1, handing=0) as pool:
        yield pool


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(57)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_masks_are_the_same(dtype: Any, length: int, executor: Executor, rng: np.random.Generator) -> None:
    vector = rng.integers(0, P, length).astype(dtype)
    terms = [Mask(rng.bytes(32), (-1) ** i) for i in range(5)]
    whole, cut = vector.copy(), vector.copy()
    masks.apply(whole, terms)
    vectors.add_masks(executor, CONTEXT, cut, terms)
    assert np.array_equal(whole, cut)


@pytest.mark.parametrize("length", [*LENGTHS, commitment.GROUP - N, 8 * commitment.GROUP])
@pytest.mark.parametrize("rank", [3, 4])
def test_the_hash_is_the_same(rank: int, length: int, executor: Executor, rng: np.random.Generator) -> None:
    x = rng.integers(0, P, length).astype(np.uint32)
    s = rng.integers(0, P, commitment.randomness_length(rank)).astype(np.uint32)
    assert vectors.commit(executor, CONTEXT, x, s, rank) == commitment.commit(x, s, rank)


def test_hashes_of_shards_add_up_wherever_it_is_cut(rng: np.random.Generator) -> None:
    x = rng.integers(0, P, 3 * commitment.GROUP - 700).astype(np.uint32)
    s = rng.integers(0, P, commitment.randomness_length(3)).astype(np.uint32)
    groups = commitment.groups_for(x.size, 3)
    for cut in range(1, groups):
        parts = [
            Commitment(commitment.hash_groups(commitment.blocks_of(x, s, *part), part[0], 3))
            for part in ((0, cut), (cut, groups))
        ]
        assert commitment.add(parts) == commitment.commit(x, s, 3)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_sums_are_numpys(dtype: Any, length: int, executor: Executor, rng: np.random.Generator) -> None:
    given = [rng.integers(0, P, length).astype(dtype) for _ in range(9)]
    total = vectors.Sum(np.zeros(length, dtype=dtype))
    for values in given:
        total.add(executor, CONTEXT, values)
    wanted = np.sum(given, axis=0, dtype=np.uint64)
    assert np.array_equal(total.total, wanted % P if dtype == np.uint32 else wanted)
    total.add(IN_PROCESS, CONTEXT, given[0])
    assert int(total.total[0]) == (int(wanted[0]) + int(given[0][0])) % (P if dtype == np.uint32 else 1 << 64)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("units", [1, 4, 100])
def test_a_cut_has_every_unit_once(units: int, workers: int) -> None:
    parts = vectors.split(units, 10, 1, Cut(workers))
    assert [unit for part in parts for unit in range(*part)] == list(range(units))
    assert len(parts) == min(units, workers)


def test_short_vectors_are_not_cut() -> None:
    executor = Cut(4)
    executor.least = 100
    assert vectors.split(99, 1, 1, executor) == [(0, 99)]
    assert len(vectors.split(250, 1, 1, executor)) == 2
    assert len(vectors.split(10_000, 1, 1, executor)) == 4


def test_work_that_costs_less_than_handing_it_over_is_done_here() -> None:
    executor = Cut(4)
    executor.handing = 10
    assert vectors.split(100, 1, vectors.HASHING, executor) == [(0, 100)]
    assert len(vectors.split(100, 1, 11 * vectors.STREAMING, executor)) == 4


def test_workers_of_no_use_cost_no_round(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(pools, "__version__", "0.0.0")
    with Processes(2, least=1, handing=0) as pool:
        total = vectors.Sum(np.zeros(10, np.uint32))
        for _ in range(4):
            total.add(pool, CONTEXT, np.ones(10, np.uint32))
        assert total.total.tolist() == [4] * 10
    assert "a worker has secure-agg" in caplog.text


@pytest.mark.slow
def test_work_whose_workers_are_all_lost_is_done_here(caplog: pytest.LogCaptureFixture) -> None:
    with Processes(2) as pool:
        shards = [Shard(CONTEXT, i, i + 3, (os.getpid(),)) for i in range(2)]
        assert vectors.shared(pool, work.die_elsewhere, shards) == [3, 3]
    assert "all shards are done in this process" in caplog.text
