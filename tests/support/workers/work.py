"""Work for an executor's workers, some of which ends them, and a guest."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import secure_agg
from secure_agg.executing.pool import Desk


def squares(start: int, stop: int) -> npt.NDArray[np.int64]:
    return np.arange(start, stop) ** 2


def double(start: int, stop: int, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return 2 * values


def where(start: int, stop: int) -> int:
    return os.getpid()


def fail(start: int, stop: int) -> None:
    raise secure_agg.VerificationError("it is not so", phase="unmask", culprit="c001")


def unpicklable(start: int, stop: int) -> Any:
    return lambda: 0


def die_once(start: int, stop: int, marker: str) -> int:
    """Ends its worker, as if killed from outside, the first time that it is called for this marker."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return stop - start


def die_elsewhere(start: int, stop: int, home: int) -> int:
    """Ends every worker; done at home it returns."""
    if os.getpid() != home:
        os.kill(os.getpid(), signal.SIGKILL)
    return stop - start


class Counter:
    """A guest with a state."""

    def __init__(self, start: int) -> None:
        self.value = start

    def add(self, number: int) -> int:
        self.value += number
        return self.value


class Guests:
    """A guest that looks around."""

    def others(self) -> int:
        """How many other guests are with this worker."""
        return sum(len(each._guests) for each in gc.get_objects() if isinstance(each, Desk)) - 1
