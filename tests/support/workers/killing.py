"""Workers that are killed between two calls, and rounds whose sum is known to the last bit."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import secure_agg
from secure_agg.executing import Executor, Guest, Shard
from secure_agg.executing.pool import Pool

CLIP, BITS = 8.0, 16
HALF = 2 ** (BITS - 1) - 1


class Killing(Executor):
    """Another executor, one of whose workers is killed before some of the calls.

    Attributes:
        calls: so far, of shards' maps and of guests.
        killed: processes.
    """

    def __init__(self, pool: Pool, before: Collection[int]) -> None:
        self.pool, self.before = pool, frozenset(before)
        self.workers, self.least, self.handing = pool.workers, pool.least, pool.handing
        self.calls = 0
        self.killed: list[int] = []
        self._lock = threading.Lock()

    def step(self) -> None:
        with self._lock:
            self.calls += 1
            if self.calls in self.before and (pids := self.pool.pids()):
                self.killed.append(pids[self.calls % len(pids)])
                os.kill(self.killed[-1], signal.SIGKILL)

    def map(self, work: Callable[..., Any], shards: Sequence[Shard]) -> list[Any]:
        self.step()
        return self.pool.map(work, shards)

    def host(self, make: Callable[..., Any], *arguments: Any) -> Guest:
        return _Killing(self, self.pool.host(make, *arguments))


class _Killing(Guest):
    def __init__(self, executor: Killing, guest: Guest) -> None:
        self._executor, self._guest = executor, guest

    def call(self, method: str, *arguments: Any) -> Any:
        self._executor.step()
        return self._guest.call(method, *arguments)

    def leave(self) -> None:
        self._guest.leave()


def on_the_grid(clients: int, params: int) -> tuple[dict[str, list[npt.NDArray[Any]]], dict[str, npt.NDArray[Any]]]:
    """Updates that are whole steps of the codec, so that nothing is rounded, and the integers that they become."""
    rng = np.random.default_rng(clients * params)
    steps = {f"c{i:03d}": rng.integers(-1000, 1001, params) for i in range(clients)}
    return {name: [each * (CLIP / HALF)] for name, each in steps.items()}, {
        name: each + HALF for name, each in steps.items()
    }


def exact_round(executor: Executor | str, clients: int = 5, params: int = 70_001, **options: Any) -> None:
    """A whole round, whose sum is numpy's, integer by integer."""
    updates, integers = on_the_grid(clients, params)
    result = secure_agg.aggregate(updates, clip=CLIP, bits=BITS, executor=executor, **options)
    wanted = np.sum([integers[name] for name in result.participants], axis=0)
    assert np.array_equal(result.evidence.sums[:params], wanted)
    assert len(result.participants) == clients - len(options.get("dropouts", {}))
    mean = (wanted - len(result.participants) * HALF) / len(result.participants) * (CLIP / HALF)
    np.testing.assert_allclose(result.average[0], mean, rtol=1e-12, atol=1e-15)
    secure_agg.verify(result.evidence)
