"""Spreads independent chunks of work over the machine's cores.

The kernels and AES release Python's global lock, so plain threads do; a process would have to copy the vectors.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_owner = 0  # threads do not survive a fork: a child process makes a pool of its own
_limit: int | None = None


def cores() -> int:
    """Number of cores this process may use."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return found if _limit is None else min(found, _limit)


def limit(most: int) -> None:
    """Use no more cores than these from now on: for a process beside others that share the machine's."""
    global _limit, _pool
    with _lock:
        _limit, _pool = max(1, most), None


def _executor() -> ThreadPoolExecutor:
    global _pool, _pool_owner
    with _lock:
        if _pool is None or _pool_owner != os.getpid():
            _pool, _pool_owner = ThreadPoolExecutor(cores(), thread_name_prefix="mpc"), os.getpid()
        return _pool


def map_ranges(work: Callable[[int, int], _T], chunks: int, *, minimum: int = 2) -> list[_T]:
    """Split ``range(chunks)`` into contiguous ranges, one per core, and call ``work(start, stop)`` on each.

    Fewer than ``minimum`` chunks per core are not worth a thread and run in the caller's. Results come back in range
    order; the first exception is raised.
    """
    workers = max(1, min(cores(), chunks // minimum))
    if workers == 1:
        return [work(0, chunks)]
    bounds = [chunks * i // workers for i in range(workers + 1)]
    pool = _executor()
    futures = [pool.submit(work, bounds[i], bounds[i + 1]) for i in range(1, workers)]
    first = work(bounds[0], bounds[1])
    return [first, *(future.result() for future in futures)]
