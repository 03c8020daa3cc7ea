"""Plain FedAvg, the baseline of whole rounds: float32 updates travel in clear and are averaged with numpy."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.measure.cells import AGGREGATOR, CLIENT, Cost
from benchmarks.timing import timed

_EACH: Final = 5


def _usual(operation: Callable[[], object]) -> float:
    return statistics.median(timed(operation) for _ in range(_EACH))


class FedAvg:
    """One round of it, with the same updates and the same survivors; each method is one repetition."""

    def __init__(self, updates: npt.NDArray[np.float32]) -> None:
        """``updates``: one a row."""
        self._updates = updates
        self._messages = [row.tobytes() for row in updates]
        self._result = b""

    def send(self) -> None:
        """A client's message."""
        self._messages[0] = self._updates[0].tobytes()

    def average(self) -> None:
        """The aggregator: every message read and added, the mean serialised."""
        total = np.zeros(self._updates.shape[1], dtype=np.float64)
        for message in self._messages:
            total += np.frombuffer(message, dtype=np.float32)
        self._result = (total / len(self._messages)).astype(np.float32).tobytes()

    def receive(self) -> None:
        """A client reads the result."""
        np.frombuffer(self._result, dtype=np.float32).copy()

    def sample(self) -> dict[str, float]:
        """Seconds of sending, averaging and receiving; they are short, so each is a median of several."""
        return {operation.__name__: _usual(operation) for operation in (self.send, self.average, self.receive)}

    def costs(self, samples: Sequence[Mapping[str, float]]) -> tuple[Cost, ...]:
        """What a party of each role does, from ``sample``'s samples."""
        send, average, receive = (
            tuple(sample[phase] for sample in samples) for phase in ("send", "average", "receive")
        )
        size = float(len(self._messages[0]))
        return (
            Cost(role=CLIENT, phase="send", seconds=send, sent=size),
            Cost(role=CLIENT, phase="receive", seconds=receive, received=size),
            Cost(role=AGGREGATOR, phase="average", seconds=average),
        )
