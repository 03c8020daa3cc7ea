"""The work on long vectors, and a simulation, by an executor's workers, beside the same in this process, in turn."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

import secure_agg
from benchmarks.federation import update
from benchmarks.results import Row
from benchmarks.timing import interleaved
from mpc.masks import Mask
from mpc.ring import P
from secure_agg.executing import IN_PROCESS, Executor, vectors
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import Policy
from zk import commitment

_CONTEXT: Final = hashlib.sha256(b"benchmark").digest()
_RANK: Final = 3
_CLIENTS: Final = 10
_BATCH: Final = 16


def rows(params: int, streams: int, executor: Executor, repeat: int) -> Iterator[Row]:
    """Masks, hash, sums and decoding of one vector, all of it handed over.

    Args:
        params: its coordinates.
        streams: masks that are added to it.
        executor: with workers.
    """
    executor.least, executor.handing, usual = 1, 0, (executor.least, executor.handing)
    try:
        yield from _handed(params, streams, executor, repeat)
    finally:
        executor.least, executor.handing = usual


def _handed(params: int, streams: int, executor: Executor, repeat: int) -> Iterator[Row]:
    rng = np.random.default_rng(2)
    vector = rng.integers(0, P, params, dtype=np.uint32)
    small = rng.integers(0, 1 << 16, params, dtype=np.uint32)
    s = rng.integers(0, 1 << 16, commitment.randomness_length(_RANK), dtype=np.uint32)
    terms = [Mask(hashlib.sha256(b"%d" % i).digest(), 1) for i in range(streams)]
    policy = Policy.default(_CLIENTS, bits=16)
    codec = FixedPoint(policy, 1)
    sums = np.concatenate((np.full(params, _CLIENTS * codec.half, np.uint32), np.array([_CLIENTS], np.uint32)))
    sums = np.concatenate((sums, np.zeros(codec.limbs + codec.counts - 1, np.uint32)))

    def add_up(where: Executor) -> None:
        total = vectors.Sum(np.zeros(params, np.uint32))
        for _ in range(_BATCH):
            total.add(where, _CONTEXT, vector)
        if total.total.size != params:
            raise ValueError("a sum of another length")

    def mask(where: Executor) -> None:
        vectors.add_masks(where, _CONTEXT, vector, terms)

    def hashed(where: Executor) -> None:
        vectors.commit(where, _CONTEXT, small, s, _RANK)

    def decode(where: Executor) -> None:
        codec.decode(sums, _CLIENTS, ((params,),), where, _CONTEXT)

    work: dict[str, tuple[str, Callable[[Executor], None]]] = {
        "masks": (f"{streams} streams of masks", mask),
        "hash": ("the lattice hash", hashed),
        "sums": (f"{_BATCH} vectors added up", add_up),
        "decode": ("decoding a sum", decode),
    }
    for key, (name, operation) in work.items():
        both = {"here": functools.partial(operation, IN_PROCESS), "there": functools.partial(operation, executor)}
        seen = interleaved(both, repeat)
        yield Row.timed(
            f"scale.{key}", f"{name}, {params:,} coordinates: {executor!r}", seen["there"],
            peer=("in this process, all cores", seen["here"]),
        )  # fmt: skip


def simulation(clients: int, params: int, executor: Executor, repeat: int) -> Row:
    """A whole round of ``aggregate``, its clients with the workers."""
    values = update(params)
    updates = {f"client-{i:04d}": [values] for i in range(clients)}
    seen = interleaved(
        {
            "here": functools.partial(secure_agg.aggregate, updates, executor=IN_PROCESS),
            "there": functools.partial(secure_agg.aggregate, updates, executor=executor),
        },
        repeat,
    )
    return Row.timed(
        "scale.simulation", f"a simulation, {clients} clients × {params:,}: {executor!r}", seen["there"],
        peer=("in this process, all cores", seen["here"]),
    )  # fmt: skip
