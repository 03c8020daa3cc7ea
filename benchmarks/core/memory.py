"""Peak memory, each in a fresh process that runs nothing else (Linux: the peak is reset through /proc).

*Client.* A real round of three clients runs in the parent, which remembers what the first client was sent. The
measured process replays a small recording to compile and warm everything, makes the float32 update, resets its peak,
and replays the large recording: the real client from joining to its masked input, and no other party. Peak minus
memory in use before is the growth.

*Commitment.* The measured process commits to a short vector, makes the long one, resets its peak, and commits to it.
The public matrix is several times as large as the vector; it must not show.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.federation import FEWEST_CLIENTS, Federation, RecordedRound, Recording, update
from benchmarks.report.report import Row, Target
from mpc.ring import ELEMENT_BYTES
from zk import commitment

CLIENT_PARAMS: Final = 10_000_000
COMMIT_PARAMS: Final = 100_000_000
_WARM_PARAMS: Final = 1 << 18
_RANK: Final = 3
_MB: Final = 1_000_000
_ALLOCATION: Final = {-3: 1 << 16, -1: 0}
"""glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, in bytes (malloc.h)."""
_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
MEASURABLE: Final = _CLEAR.exists()
"""Whether this system has what ``growth`` takes."""


def _status_bytes(name: str, status: Path = _STATUS) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{status} has no {name}: peak memory is measured on Linux only")
    return 1024 * int(found.group(1))


def _children() -> set[Path]:
    """The status files of the processes that this one has started and that still run."""
    children = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # others' processes come and go
            text = status.read_text()
            if f"\nPPid:\t{os.getpid()}\n" in text and "\nVmHWM:" in text:
                children.add(status)
    return children


def growth(operation: Callable[[], object]) -> int:
    """Bytes by which this process's resident memory exceeds at most, during the call, what it was before.

    Processes that the call starts and leaves running count with their own peaks. Unlike getrusage's high-water mark,
    this one can be reset and does not survive from the parent process.
    """
    known = _children()
    _CLEAR.write_text("5")
    before = _status_bytes("VmRSS")
    operation()
    started = sum(_status_bytes("VmHWM", status) for status in _children() - known)
    return _status_bytes("VmHWM") - before + started


def give_back() -> None:
    """From now on large arrays are taken from the system one by one and given back at once (glibc), as in a process
    that has freed nothing yet: what is only used again would not show in ``growth``.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for option, value in _ALLOCATION.items():
            library.mallopt(option, value)
        library.malloc_trim(0)


def _record(params: int) -> Recording:
    local = RecordedRound(Federation.of(FEWEST_CLIENTS, params), update(params))
    local.run()
    return local.recording()


def _client_growth(warm: Recording, recording: Recording, params: int) -> int:
    warm.replay(update(_WARM_PARAMS))
    values = update(params)
    return growth(lambda: recording.replay(values))


def _commit_growth(params: int) -> int:
    randomness = np.ones(commitment.randomness_length(_RANK), dtype=np.uint32)
    commitment.commit(np.ones(_WARM_PARAMS, dtype=np.uint32), randomness, _RANK)
    values = np.ones(params, dtype=np.uint32)
    return growth(lambda: commitment.commit(values, randomness, _RANK))


def in_fresh_process(measure: Callable[..., int], *arguments: object) -> float:
    """What ``measure`` returns, in megabytes, from a process that runs nothing else."""
    # Not forked: a fork starts with all of the parent's memory.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result() / _MB


def rows(client_params: int = CLIENT_PARAMS, commit_params: int = COMMIT_PARAMS) -> list[Row]:
    """Both measurements. The sizes are fixed for the suite; tests use smaller ones."""
    client = in_fresh_process(_client_growth, _record(_WARM_PARAMS), _record(client_params), client_params)
    commit = in_fresh_process(_commit_growth, commit_params)
    client_mb, commit_mb = ELEMENT_BYTES * client_params / _MB, ELEMENT_BYTES * commit_params / _MB
    return [
        Row(
            key="memory.client",
            name=f"client: peak growth at {client_params:,} parameters",
            unit="MB",
            median=client,
            derived=_MB * client / client_params,
            derived_unit="B/param",
            peer="the float32 update",
            peer_median=client_mb,
            ratio=client / client_mb,
            targets=(Target("ratio", 4.0),),
            note="joining to masked input, over a warm process that holds the update",
        ),
        Row(
            key="memory.commit",
            name=f"commit: peak growth at {commit_params:,} parameters",
            unit="MB",
            median=commit,
            peer="the committed vector",
            peer_median=commit_mb,
            ratio=commit / commit_mb,
            targets=(Target("median", 8.0),),
            note="the matrix is made on the fly, never stored",
        ),
    ]
