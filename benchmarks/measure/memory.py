"""Resident memory: by how much a step grows it at most (Linux: the peak is reset through /proc)."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import multiprocessing
import os
import re
import resource
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

_MB: Final = 1_000_000
_ALLOCATION: Final = {-3: 1 << 16, -1: 0}
"""glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, in bytes (malloc.h)."""
_STATUS: Final = Path("/proc/self/status")
_PROCESSES: Final = Path("/proc")
_TASKS: Final = Path("/proc/self/task")
_CLEAR: Final = Path("/proc/self/clear_refs")
MEASURABLE: Final = _CLEAR.exists()
"""Whether this system has what ``growth`` takes."""


def status_bytes(name: str, status: Path = _STATUS) -> int:
    """A figure of a process's status, of this one's by default.

    Raises:
        ValueError: the system does not have it.
    """
    found = re.search(rf"^{name}:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{status} has no {name}: peak memory is measured on Linux only")
    return 1024 * int(found.group(1))


def reset_peak() -> int:
    """Let the peak begin anew.

    Returns:
        What is resident now, in bytes.
    """
    _CLEAR.write_text("5")
    return status_bytes("VmRSS")


def peak() -> int:
    """The most that was resident since ``reset_peak``, in bytes."""
    return status_bytes("VmHWM")


def _started() -> Iterable[Path]:
    """The folders of the processes that this one may have started: all there are, if the system does not list them."""
    lists = [task / "children" for task in _TASKS.iterdir()]
    if not lists[0].exists():
        return _PROCESSES.glob("[0-9]*")
    found = list[Path]()
    for each in lists:
        with contextlib.suppress(OSError):  # the thread is over, and its processes are another's
            found += [_PROCESSES / number for number in each.read_text().split()]
    return found


def children() -> set[Path]:
    """The folders in /proc of the processes that this one has started and that still run."""
    found = set()
    for folder in _started():
        with contextlib.suppress(OSError):  # others' processes come and go
            text = (folder / "status").read_text()
            if f"\nPPid:\t{os.getpid()}\n" in text and "\nVmHWM:" in text:
                found.add(folder)
    return found


def children_seconds() -> float:
    """Processor seconds of all processes that this one has started, whether or not they still run."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for folder in children():
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime: proc(5)
    return total


def growth(operation: Callable[[], object]) -> int:
    """Bytes by which this process's resident memory exceeds at most, during the call, what it was before.

    Processes that the call starts and leaves running count with their own peaks. Unlike getrusage's high-water mark,
    this one can be reset and does not survive from the parent process.
    """
    known = children()
    before = reset_peak()
    operation()
    started = sum(status_bytes("VmHWM", folder / "status") for folder in children() - known)
    return peak() - before + started


@functools.cache
def _library() -> Any:
    return ctypes.CDLL(None)


def give_back() -> None:
    """From now on large arrays are taken from the system one by one and given back at once (glibc), as in a process
    that has freed nothing yet: what is only used again would not show in ``growth``.
    """
    if hasattr(_library(), "mallopt"):
        for option, value in _ALLOCATION.items():
            _library().mallopt(option, value)
        trim()


def trim() -> None:
    """Give the system what has been freed so far (glibc): pages of it that are used again then count again."""
    if hasattr(_library(), "malloc_trim"):
        _library().malloc_trim(0)


def in_fresh_process(measure: Callable[..., int], *arguments: object) -> float:
    """What ``measure`` returns, in megabytes, from a process that runs nothing else."""
    # Not forked: a fork starts with all of the parent's memory.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result() / _MB
