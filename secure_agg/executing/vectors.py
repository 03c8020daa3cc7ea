"""The work of a round on long vectors, shard by shard: masks, hashes, and sums of what comes one by one.

Every function gives the same bits with every executor. A mask's stream, the hash's matrix and a sum all have numbered
pieces, and a shard is a run of whole ones.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from mpc import masks, ring
from mpc.keystream import KEY_BYTES
from mpc.masks import Mask
from mpc.ring import Vector
from secure_agg.errors import ExecutorError
from secure_agg.executing.executor import IN_PROCESS, Executor, Shard
from zk import commitment
from zk.commitment import Commitment

_log = logging.getLogger("secure_agg.executing.vectors")
_T = TypeVar("_T")

Carried = npt.NDArray[Any]
"""``uint32`` elements of Z_p, or ``uint64`` words."""

ADDING: Final = 1.0
DECODING: Final = 2.0
HASHING: Final = 8.0
STREAMING: Final = 1.0
"""What a coordinate of each kind of work costs, of masks for each stream: in additions, some 0.35 ns on one core."""
_BATCH: Final = 2
"""Vectors that wait for each worker until they are added up."""


def split(units: int, unit: int, cost: float, executor: Executor) -> list[tuple[int, int]]:
    """Ranges of whole units, for all workers alike; fewer where they would be too short to be worth it, one where the
    work costs less than handing it over.

    Args:
        units: of the whole.
        unit: coordinates in each.
        cost: of each coordinate.
    """
    if cost <= executor.handing:
        return [(0, units)]
    parts = max(1, min(executor.workers, units, units * unit // executor.least))
    bounds = [units * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(bounds))


def shared(executor: Executor, work: Callable[..., _T], shards: Sequence[Shard]) -> list[_T]:
    """``executor.map``; here what is one shard only, and all of it where workers are lost again and again or are of no
    use: they cost time and no round.
    """
    if len(shards) < 2:
        return IN_PROCESS.map(work, shards)
    try:
        return executor.map(work, shards)
    except ExecutorError as error:
        _log.warning("%s: all shards are done in this process", error.args[0])
        return IN_PROCESS.map(work, shards)


def add(total: Carried, values: Carried) -> None:
    """``total += values`` in their ring, in place: modulo p or modulo 2^64."""
    if total.dtype == np.uint64:
        np.add(total, values, out=total)
    else:
        ring.add_into(total, values)


# --- masks ----------------------------------------------------------------------------------------------------


def add_masks(executor: Executor, context: bytes, vector: Carried, terms: Sequence[Mask]) -> None:
    """``vector += sum of sign · PRG(key)``, in place: ``mpc.masks.apply``. Workers see the streams' keys."""
    size = masks.chunk_size(vector.dtype)
    parts = split(-(-vector.size // size), size, STREAMING * len(terms), executor)
    if len(parts) < 2:
        masks.apply(vector, terms)
        return
    keys = np.frombuffer(b"".join(term.key for term in terms), dtype=np.uint8)
    signs = np.array([term.sign for term in terms], dtype=np.int8)
    given = [(min(vector.size, stop * size) - start * size, vector.dtype.str, keys, signs) for start, stop in parts]
    shards = [Shard(context, *part, arguments) for part, arguments in zip(parts, given, strict=True)]
    for (start, stop), found in zip(parts, shared(executor, _masks, shards), strict=True):
        add(vector[start * size : stop * size], found)


def _masks(
    start: int, stop: int, length: int, dtype: str, keys: npt.NDArray[np.uint8], signs: npt.NDArray[np.int8]
) -> Carried:
    """What masks add up to in the chunks [start, stop) of a vector, ``length`` elements."""
    part = np.zeros(length, dtype=dtype)
    terms = [
        Mask(key.tobytes(), int(sign)) for key, sign in zip(keys.reshape(-1, KEY_BYTES), signs.tolist(), strict=True)
    ]
    masks.apply(part, terms, first=start)
    return part


# --- the hash -------------------------------------------------------------------------------------------------


def commit(executor: Executor, context: bytes, x: Vector, s: Vector, rank: int) -> Commitment:
    """h(x ‖ s): ``zk.commitment.commit``. The hash is a sum over blocks, so shards' hashes add up to it."""
    parts = split(commitment.groups_for(x.size, rank), commitment.GROUP, HASHING, executor)
    if len(parts) < 2:
        return commitment.commit(x, s, rank)
    shards = [Shard(context, *part, (commitment.blocks_of(x, s, *part), rank)) for part in parts]
    return commitment.add([Commitment(elements) for elements in shared(executor, _hash, shards)])


def _hash(start: int, stop: int, blocks: Vector, rank: int) -> Vector:
    """What the groups of blocks [start, stop) add to a hash."""
    return commitment.hash_groups(blocks, start, rank)


# --- sums -----------------------------------------------------------------------------------------------------


class Sum:
    """A sum of vectors that come one by one. A few wait until they are worth being handed over; what ``total`` gives
    has all of them.
    """

    def __init__(self, total: Carried) -> None:
        """``total``: zeros, or a first vector; it is added to."""
        self._total = total
        self._waiting: list[Carried] = []
        self._executor: Executor = IN_PROCESS
        self._context = b""

    def add(self, executor: Executor, context: bytes, values: Carried) -> None:
        """Add one of the same length. It may be kept for a while, and must not change meanwhile."""
        self._executor, self._context = executor, context
        if len(split(self._total.size, 1, ADDING, executor)) < 2:
            add(self._total, values)
            return
        self._waiting.append(values)
        if len(self._waiting) >= _BATCH * executor.workers:
            self._add_waiting()

    @property
    def total(self) -> Carried:
        """The sum so far; may be changed in place."""
        self._add_waiting()
        return self._total

    def _add_waiting(self) -> None:
        if not self._waiting:
            return
        parts = split(self._total.size, 1, ADDING, self._executor)
        shards = [
            Shard(self._context, start, stop, tuple(values[start:stop] for values in self._waiting))
            for start, stop in parts
        ]
        for (start, stop), found in zip(parts, shared(self._executor, _add_up, shards), strict=True):
            add(self._total[start:stop], found)
        self._waiting = []


def _add_up(start: int, stop: int, *values: Carried) -> Carried:
    """The coordinates [start, stop) of a sum."""
    total = values[0].copy()
    for each in values[1:]:
        add(total, each)
    return total
